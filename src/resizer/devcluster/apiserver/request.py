"""From a method, a path and a query to what is asked: verb, resource, namespace, name, subresource."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from resizer.devcluster.apiserver.catalogue import Catalogue
from resizer.devcluster.apiserver.failure import ApiError, method_not_allowed, unknown_path
from resizer.devcluster.apiserver.resource import Resource

_NAMED_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_NAMESPACE_PARTS = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a request asks for, in the words of authorisation and audit.

    `path` is set for requests that concern no resource (discovery, health), and then `plural` is empty.
    """

    verb: str
    group: str = ""
    version: str = ""
    plural: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class PageNotFoundError(Exception):
    """A path outside the API: answered in plain text, as a real server does."""


def parse_path(method: str, path: str, query: Mapping[str, str], catalogue: Catalogue) -> Attributes:
    """Read a request line; raise PageNotFoundError where no API is."""
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return Attributes(verb=method.lower(), path=path)
    if (group, version) not in catalogue.versions:
        raise PageNotFoundError
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in _NAMESPACE_PARTS:
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        raise unknown_path()
    plural, name, subresource = [*rest, "", ""][:3]
    return Attributes(
        verb=_verb(method, query, named=bool(name)),
        group=group,
        version=version,
        plural=plural,
        subresource=subresource,
        namespace=namespace,
        name=name,
    )


def _verb(method: str, query: Mapping[str, str], *, named: bool) -> str:
    if method == "POST":
        return "create"
    verb = (_NAMED_VERBS if named else _COLLECTION_VERBS).get(method)
    if verb is None:
        raise method_not_allowed()
    return "watch" if verb in {"list", "get"} and query.get("watch", "") in {"1", "true"} else verb


def find_resource(attributes: Attributes, catalogue: Catalogue) -> Resource:
    """Find the resource of a request; refuse a scope or a subresource that it does not have."""
    resource = catalogue.find(attributes.group, attributes.version, attributes.plural)
    if resource is None or (attributes.subresource and attributes.subresource not in resource.subresources):
        raise unknown_path()
    if attributes.namespace and not resource.namespaced:
        raise unknown_path()
    single = attributes.name or attributes.verb == "create"
    if resource.namespaced and not attributes.namespace and single:
        raise method_not_allowed() if not attributes.name else unknown_path()
    if attributes.verb == "create" and attributes.name and not attributes.subresource:
        raise method_not_allowed()
    return resource


_UINT = re.compile(r"[0-9]{1,20}")


def parse_revision(text: str) -> int:
    """Read a resourceVersion; what is none is worded as Go words it."""
    if not text:
        return 0
    if _UINT.fullmatch(text) is None:
        raise ValueError(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def revision_of_list(text: str) -> int:
    """Read the resourceVersion of a list."""
    try:
        return parse_revision(text)
    except ValueError as error:
        raise ApiError(400, "BadRequest", f"invalid resource version: {error}") from error


def revision_of_watch(text: str) -> int:
    """Read the resourceVersion of a watch, whose refusal a real server words and numbers differently."""
    try:
        return parse_revision(text)
    except ValueError as error:
        raise ApiError(500, "", str(error)) from error
