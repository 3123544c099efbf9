"""The patch types: JSON merge patch (RFC 7386), JSON patch (RFC 6902) and strategic merge patch.

Each function changes the document that it is given, which belongs to the caller. The strategic merge needs to know
which lists are merged by which key; in the kinds served here the field's name decides that, with few exceptions
(`MERGE_KEYS`, from the patchMergeKey tags of the API types).
"""

from __future__ import annotations

from typing import Any

from resizer.devcluster.apiserver.failure import ApiError, bad_request
from resizer.devcluster.apiserver.resource import Document

MERGE_KEYS: dict[str, str] = {
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "hostAliases": "ip",
    "podIPs": "ip",
    "hostIPs": "ip",
    "topologySpreadConstraints": "topologyKey",
    "ownerReferences": "uid",
    "secrets": "name",
    "addresses": "type",
    "drivers": "name",
    "validations": "expression",
}
"""Lists of objects that are merged element by element, and the field that tells the elements apart."""

MERGED_SETS = frozenset({"finalizers"})
"""Lists of plain values that are merged as sets."""

_ORDER = "$setElementOrder/"
_DELETE_SET = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"


def merge(doc: Document, patch: Document) -> Document:
    """Apply a JSON merge patch: null removes, an object is merged, anything else replaces."""
    for key, value in patch.items():
        if value is None:
            doc.pop(key, None)
        elif isinstance(value, dict):
            below = doc.get(key)
            doc[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            doc[key] = value
    return doc


def strategic_merge(doc: Document, patch: Document) -> Document:
    """Apply a strategic merge patch."""
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if _RETAIN in patch:
        kept = set(patch[_RETAIN])
        for key in [key for key in doc if key not in kept]:
            del doc[key]
    for key, value in patch.items():
        if not key.startswith("$"):
            _strategic_field(doc, key, value)
    for key, value in patch.items():
        if key.startswith(_DELETE_SET):
            name = key.removeprefix(_DELETE_SET)
            doc[name] = [item for item in doc.get(name) or [] if item not in value]
        elif key.startswith(_ORDER):
            _reorder(doc, key.removeprefix(_ORDER), value)
    return doc


def _strategic_field(doc: Document, key: str, value: Any) -> None:
    have = doc.get(key)
    if value is None:
        doc.pop(key, None)
    elif isinstance(value, dict):
        doc[key] = strategic_merge(have if isinstance(have, dict) else {}, value)
    elif isinstance(value, list) and key in MERGED_SETS:
        old = have if isinstance(have, list) else []
        doc[key] = old + [item for item in value if item not in old]
    elif isinstance(value, list) and _merge_key(key, value) is not None:
        doc[key] = _merge_list(have if isinstance(have, list) else [], value, str(_merge_key(key, value)))
    else:
        doc[key] = value


def _merge_key(key: str, value: list[Any]) -> str | None:
    """Find what tells the elements apart; ports are the one list whose key depends on the type around it."""
    if key == "ports":
        return "containerPort" if any("containerPort" in item for item in value) else "port"
    name = MERGE_KEYS.get(key)
    return name if name and all(isinstance(item, dict) for item in value) else None


def _merge_list(have: list[Any], patch: list[Any], name: str) -> list[Any]:
    """Merge lists of objects by key. An element that misses the key is refused, as the real server does."""
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    result = list(have)
    for item in patch:
        if name not in item:
            raise ApiError(500, "", f"map: {item} does not contain declared merge key: {name}")
        index = next((i for i, old in enumerate(result) if old.get(name) == item[name]), None)
        if item.get("$patch") == "delete":
            if index is not None:
                del result[index]
        elif index is None:
            result.append(strategic_merge({}, item))
        else:
            result[index] = strategic_merge(result[index], item)
    return result


def _reorder(doc: Document, name: str, order: list[Any]) -> None:
    have = doc.get(name)
    if not isinstance(have, list):
        return
    key = _merge_key(name, [item for item in order if isinstance(item, dict)])
    wanted = [item.get(key) if isinstance(item, dict) else item for item in order]

    def rank(item: Any) -> int:
        mark = item.get(key) if isinstance(item, dict) else item
        return wanted.index(mark) if mark in wanted else len(wanted)

    have.sort(key=rank)


def json_patch(doc: Document, operations: list[Any]) -> Document:
    """Apply a JSON patch; a test that fails or a path that is not there refuses the whole of it."""
    root: dict[str, Any] = {"": doc}
    for operation in operations:
        try:
            _apply(root, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            text = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", text, details={}) from error
    result = root[""]
    if not isinstance(result, dict):
        raise bad_request("the patched document is no object")
    return result


def _apply(root: Document, operation: Any) -> None:
    kind, path = operation["op"], _steps(operation["path"])
    if kind == "test":
        if _find(root, path) != operation["value"]:
            raise ValueError(operation["path"])
    elif kind == "remove":
        _take(root, path)
    elif kind == "replace":
        _take(root, path)
        _put(root, path, operation["value"])
    elif kind == "add":
        _put(root, path, operation["value"])
    elif kind in {"move", "copy"}:
        source = _steps(operation["from"])
        value = _take(root, source) if kind == "move" else _copied(_find(root, source))
        _put(root, path, value)
    else:
        raise ValueError(kind)


def _steps(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise ValueError(pointer)
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]


def _find(root: Any, path: list[str]) -> Any:
    for step in path:
        root = root[int(step)] if isinstance(root, list) else root[step]
    return root


def _take(root: Document, path: list[str]) -> Any:
    parent = _find(root, path[:-1])
    return parent.pop(int(path[-1])) if isinstance(parent, list) else parent.pop(path[-1])


def _put(root: Document, path: list[str], value: Any) -> None:
    parent, last = _find(root, path[:-1]), path[-1]
    if isinstance(parent, list):
        index = len(parent) if last == "-" else int(last)
        if index > len(parent):
            raise IndexError(last)
        parent.insert(index, value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise TypeError(last)


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(below) for key, below in value.items()}
    return [_copied(below) for below in value] if isinstance(value, list) else value
