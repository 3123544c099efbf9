"""Label and field selectors: parsed once for a request, then asked of every object.

A selector looks only at the labels and fields that the store keeps beside an object's bytes, so that filtering
decodes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from resizer.devcluster.apiserver.failure import bad_request
from resizer.devcluster.apiserver.resource import Resource
from resizer.devcluster.apiserver.store import Version

Test = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s!=,()]*)$")
_EXISTS = re.compile(r"^(?P<no>!?)\s*(?P<key>[^\s!=,()]+)$")
_FIELD = re.compile(r"^(?P<key>[^!=]+?)(?P<op>==|=|!=)(?P<value>.*)$", re.DOTALL)
_COMMA = re.compile(r",(?![^(]*\))")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource a request is about."""

    namespace: str = ""
    labels: tuple[Test, ...] = ()
    fields: tuple[Test, ...] = ()

    @property
    def filters(self) -> bool:
        """Whether anything but the namespace is asked for."""
        return bool(self.labels or self.fields)

    def matches(self, version: Version) -> bool:
        """Ask whether an object belongs to the selection."""
        if self.namespace and version.key[0] != self.namespace:
            return False
        for test in self.labels:
            if not test(version.labels):
                return False
        return all(test(version.fields) for test in self.fields) if self.fields else True


def parse_selection(resource: Resource, *, namespace: str, labels: str, fields: str) -> Selection:
    """Parse the two selectors of a request; raise the 400 that the API server would answer."""
    return Selection(namespace, _parse_labels(labels), _parse_fields(resource, fields))


def _parse_labels(text: str) -> tuple[Test, ...]:
    parts = [part.strip() for part in _COMMA.split(text)] if text.strip() else []
    return tuple(_label_test(part) for part in parts)


def _label_test(part: str) -> Test:
    if match := _SET.match(part):
        values = {value.strip() for value in match["values"].split(",")}
        return _membership(match["key"], values, wanted=match["op"] == "in")
    if match := _EQUAL.match(part):
        return _membership(match["key"], {match["value"]}, wanted=match["op"] != "!=")
    if match := _EXISTS.match(part):
        key, absent = match["key"], bool(match["no"])
        return lambda have: (key in have) is not absent
    raise bad_request(f"unable to parse requirement: found '{part}', expected: identifier, '!', in, notin, =, ==, !=")


def _membership(key: str, values: set[str], *, wanted: bool) -> Test:
    # An object without the label satisfies "is not" but never "is".
    if wanted:
        return lambda have: have.get(key) in values
    return lambda have: have.get(key) not in values


def _parse_fields(resource: Resource, text: str) -> tuple[Test, ...]:
    return tuple(_field_test(resource, part) for part in text.split(",") if part)


def _field_test(resource: Resource, part: str) -> Test:
    match = _FIELD.match(part)
    if match is None:
        raise bad_request(f"invalid field selector: '{part}'; can't understand '{part}'")
    key = match["key"]
    known = (
        key in resource.selectable or key == "metadata.name" or (key == "metadata.namespace" and resource.namespaced)
    )
    if not known:
        raise _unknown_field(resource, key)
    if resource.stored_as:
        key = resource.selectable.get(key, key)
    return _membership(key, {match["value"]}, wanted=match["op"] != "!=")


def _unknown_field(resource: Resource, key: str) -> Exception:
    # Kinds with field selectors of their own word this differently from the rest.
    if resource.selectable:
        return bad_request(f"field label not supported: {key}")
    known = '"metadata.name", "metadata.namespace"' if resource.namespaced else '"metadata.name"'
    return bad_request(f'"{key}" is not a known field selector: only {known}')
