"""From what a client sent to what is stored: types checked, quantities canonical, empty things dropped.

A real server decodes into Go structs and encodes again, which loses unknown fields, nulls and empty lists, and
brings quantities into canonical form. Here a few declared paths per kind have the same effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from resizer.devcluster.apiserver.failure import DecodeError
from resizer.devcluster.apiserver.resource import Document, Resource
from resizer.model.quantity import MalformedQuantityError, parse_quantity

QUANTITY_TEXT = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"  # wire text
)
_META_MAPS = ("labels", "annotations")
_META_OMITTED = ("labels", "annotations", "finalizers", "ownerReferences")
_META_FIELDS = frozenset(
    [
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ]
)
_KEPT_EMPTY = frozenset({"rules", "items", "subjects"})


def normalise(resource: Resource, doc: Document) -> None:
    """Bring a document into the form in which it is stored; raise DecodeError if it does not fit its type."""
    doc["kind"], doc["apiVersion"] = resource.kind, resource.api_version
    _check_metadata(doc)
    for name in ("spec", "status"):
        if name in resource.fields and not isinstance(doc.get(name, {}), dict):
            raise DecodeError(
                f"json: cannot unmarshal {_kind_of(doc[name])} into Go struct field {resource.kind}.{name}"
            )
    _drop_nothing(doc)
    for path in resource.rules.quantities:
        _canonicalise(doc, path)
    for path in resource.rules.conditions:
        for holder, key in _holders(doc, _steps(path)):
            if not isinstance(holder[key], list):
                raise DecodeError(f"json: cannot unmarshal {_kind_of(holder[key])} into Go struct field .{path}")
            holder[key] = [_condition(item) for item in holder[key]]
    for path in resource.rules.omitted_when_empty:
        for holder, key in list(_holders(doc, _steps(path))):
            if not holder[key]:
                del holder[key]


def ordered(doc: Document) -> Document:
    """Put kind, apiVersion and metadata first: every encoded object of a resource then begins alike."""
    first = {"kind": doc["kind"], "apiVersion": doc["apiVersion"], "metadata": doc["metadata"]}
    return {**first, **{key: value for key, value in doc.items() if key not in first}}


def unknown_fields(resource: Resource, doc: Document, *, drop: bool) -> list[str]:
    """List the fields that the type does not have, and take them out if asked to."""
    places = [("", resource.fields | {"kind", "apiVersion", "metadata"}), ("metadata", _META_FIELDS)]
    places += [(path, _names(names)) for path, names in resource.rules.known.items()]
    found = []
    for path, known in places:
        node: Any = doc
        for step in _steps(path) if path else ():
            node = node.get(step) if isinstance(node, dict) else None
        if isinstance(node, dict):
            wrong = [key for key in node if key not in known]
            found += [f"{path}.{key}" if path else key for key in wrong]
            for key in wrong if drop else ():
                del node[key]
    return found


def _check_metadata(doc: Document) -> None:
    meta = doc.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise DecodeError(
            f"json: cannot unmarshal {_kind_of(meta)} into Go struct field .metadata of type v1.ObjectMeta"
        )
    for name in _META_MAPS:
        for value in (meta.get(name) or {}).values():
            if value is not None and not isinstance(value, str):
                where = f"ObjectMeta.metadata.{name}"
                raise DecodeError(
                    f"json: cannot unmarshal {_kind_of(value)} into Go struct field {where} of type string"
                )
    for name in _META_OMITTED:
        if name in meta and not meta[name]:
            del meta[name]
    meta.pop("managedFields", None)
    meta.pop("selfLink", None)


def _kind_of(value: Any) -> str:
    names: dict[type, str] = {
        bool: "bool",
        int: "number",
        float: "number",
        str: "string",
        list: "array",
        dict: "object",
    }
    return names.get(type(value), "null")


def _drop_nothing(doc: Document) -> None:
    """Drop nulls and empty lists at any depth."""
    for key in [key for key, value in doc.items() if value is None or (value == [] and key not in _KEPT_EMPTY)]:
        del doc[key]
    for value in doc.values():
        if isinstance(value, dict):
            _drop_nothing(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    _drop_nothing(item)


def _canonicalise(doc: Document, path: str) -> None:
    for holder, key in list(_holders(doc, _steps(path))):
        holder[key] = canonical_text(holder[key])


def canonical_text(value: Any) -> str:
    """Return the canonical text of a quantity given as text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DecodeError(QUANTITY_TEXT)
    try:
        return parse_quantity(str(value)).canonical
    except MalformedQuantityError as error:
        raise DecodeError(QUANTITY_TEXT) from error


@lru_cache(maxsize=256)
def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _holders(node: Any, steps: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    """Yield each (container, key) that a path leads to; `*` is every key, `[]` every element.

    A container of the wrong type on the way does not fit the kind: DecodeError.
    """
    step, rest = steps[0], steps[1:]
    if not isinstance(node, list if step == "[]" else dict):
        wanted = "an array" if step == "[]" else "an object"
        raise DecodeError(f"json: cannot unmarshal {_kind_of(node)} into Go value: want {wanted} at {step}")
    keys: list[Any] = list(range(len(node))) if step == "[]" else list(node) if step == "*" else [step]
    for key in keys:
        if step in {"*", "[]"} or key in node:
            if rest:
                yield from _holders(node[key], rest)
            else:
                yield node, key


def _condition(item: Any) -> Document:
    if not isinstance(item, dict):
        raise DecodeError(f"json: cannot unmarshal {_kind_of(item)} into Go struct field .status.conditions")
    first = {"type": "", "status": "", "lastProbeTime": None, "lastTransitionTime": None}
    return {**first, **item}
