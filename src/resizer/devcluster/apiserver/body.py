"""Request bodies: JSON or YAML in, documents out, with refusals worded as Go's decoder words them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

from resizer.devcluster.apiserver import protobuf
from resizer.devcluster.apiserver.failure import bad_request, unsupported_media_type
from resizer.devcluster.apiserver.resource import Document, Resource

PATCH_TYPES = {
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/json-patch+json": "json",
    "application/apply-patch+yaml": "apply",
}

_decode = msgspec.json.Decoder().decode
_BYTE = re.compile(r"\(byte (\d+)\)")


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: timestamps stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def media_type(header: str) -> str:
    """Return the media type of a Content-Type header without its parameters."""
    return header.partition(";")[0].strip().lower()


def read_object(resource: Resource, data: bytes, content_type: str) -> Document:
    """Read the object that a create or an update sends."""
    if content_type == "application/yaml":
        return _object(_read_yaml(data))
    if content_type == protobuf.MEDIA_TYPE:
        return protobuf.read(data)
    if content_type not in {"application/json", "", "application/octet-stream"}:
        raise unsupported_media_type()
    try:
        return _object(_decode(data))
    except msgspec.DecodeError as error:
        text = data.decode(errors="replace")
        what = f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind"
        raise bad_request(f"{what}; json parse error: {_go_words(str(error), text)} ({text})") from error


def read_patch(data: bytes, content_type: str) -> tuple[str, Any]:
    """Read a patch: its type (merge, strategic, json, apply) and its content."""
    kind = PATCH_TYPES.get(content_type)
    if kind is None:
        raise unsupported_media_type()
    try:
        patch = _decode(data)
    except msgspec.DecodeError as error:
        if kind != "apply":
            raise bad_request(
                f"error decoding patch: {_go_words(str(error), data.decode(errors='replace'))}"
            ) from error
        patch = _read_yaml(data)
    if kind == "json":
        if not isinstance(patch, list):
            raise bad_request("error decoding patch: a JSON patch is a list of operations")
        return kind, patch
    return kind, _object(patch)


def read_options(data: bytes, content_type: str) -> Document:
    """Read the DeleteOptions of a delete, which may have no body at all."""
    if not data.strip():
        return {}
    if content_type == protobuf.MEDIA_TYPE:
        return protobuf.read(data)
    try:
        return _object(_read_yaml(data) if content_type == "application/yaml" else _decode(data))
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding delete options: {error}") from error


def _object(value: Any) -> Document:
    if not isinstance(value, dict):
        raise bad_request("the request body is no JSON object")
    return value


def _read_yaml(data: bytes) -> Any:
    try:
        return yaml.load(data, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from error


def _go_words(error: str, text: str) -> str:
    """Say what is wrong with JSON in the words of Go's decoder, as far as they can be told."""
    found = _BYTE.search(error)
    at = int(found[1]) if found else len(text)
    if "truncated" in error or at >= len(text):
        return "unexpected end of JSON input"
    where = (
        "looking for beginning of object key string"
        if "keys must be strings" in error
        else ("looking for beginning of value")
    )
    return f"invalid character '{text[at]}' {where}"
