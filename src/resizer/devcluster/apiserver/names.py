"""Which names an object may have."""

from __future__ import annotations

import re

from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.resource import Document, Resource

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN.pattern}')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    f"'{_LABEL.pattern}')"
)


def check_name(resource: Resource, meta: Document) -> list[Cause]:
    """Check the name of a new object. RBAC objects may have any name that fits into a path."""
    name = meta.get("name")
    if not name:
        return [Cause.required("metadata.name", "name or generateName is required")]
    if resource.group == "rbac.authorization.k8s.io":
        wrong = name in {".", ".."} or "/" in name or "%" in name
        return [Cause.invalid("metadata.name", f'"{name}"', "may not contain '/' or '%'")] if wrong else []
    if resource.plural == "namespaces":
        fits, text, most = _LABEL.fullmatch(name), _LABEL_TEXT, 63
    else:
        fits, text, most = _SUBDOMAIN.fullmatch(name), _SUBDOMAIN_TEXT, 253
    if fits is None:
        return [Cause.invalid("metadata.name", f'"{name}"', text)]
    if len(name) > most:
        return [Cause.invalid("metadata.name", f'"{name}"', f"must be no more than {most} characters")]
    return []
