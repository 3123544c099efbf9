"""In which form an answer goes out: plain objects, tables for kubectl, metadata only; JSON or YAML.

The plain form costs nothing: it joins bytes that the store encoded once. The other forms decode each object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import yaml

from resizer.devcluster.apiserver import event, table
from resizer.devcluster.apiserver.failure import not_acceptable
from resizer.devcluster.apiserver.resource import Document, Resource
from resizer.devcluster.apiserver.store import Version, decode, encode

Shape = Literal["plain", "table", "metadata"]

_JSON = frozenset({"*/*", "application/*", "application/json"})
_YAML = frozenset({"application/yaml", "text/yaml"})


@dataclass(frozen=True, slots=True)
class Form:
    """What the client accepts best among what this server writes."""

    shape: Shape = "plain"
    yaml: bool = False

    @property
    def content_type(self) -> str:
        """The media type of an answer in this form."""
        return "application/yaml" if self.yaml else "application/json"

    def encode(self, body: bytes) -> bytes:
        """Bring a JSON body into the form's notation."""
        return yaml.safe_dump(decode(body), sort_keys=False).encode() if self.yaml else body


PLAIN = Form()


def negotiate(accept: str) -> Form:
    """Read an Accept header: the first media type that this server can write wins; 406 if there is none."""
    if not accept or accept == "application/json":
        return PLAIN
    for part in accept.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        wanted = dict(piece.partition("=")[::2] for piece in parameters)
        if media not in _JSON | _YAML:
            continue
        shape = _shape(wanted.get("as", ""), wanted.get("g", ""))
        if shape is not None:
            return Form(shape, media in _YAML)
    raise not_acceptable()


def _shape(name: str, group: str) -> Shape | None:
    if not name:
        return "plain"
    if group != "meta.k8s.io":
        return None
    if name == "Table":
        return "table"
    return "metadata" if name.startswith("PartialObjectMetadata") else None


class Presenter:
    """Writes objects, lists and watch events of one resource in one form.

    `include` is what a table's rows hold of their object: Metadata, Object or None.
    """

    def __init__(self, resource: Resource, form: Form, *, include: str = "Metadata") -> None:
        self._resource = resource
        self._form = form
        self._include = include
        self._converts = bool(resource.stored_as)
        self._plain = form.shape == "plain" and not self._converts
        self._head_sent = False

    def one(self, raw: bytes) -> bytes:
        """Write one object."""
        if self._plain:
            return raw
        doc = self._converted(raw)
        if self._form.shape == "table":
            meta = {"resourceVersion": doc["metadata"].get("resourceVersion", "")}
            return encode(table.build(self._resource, [doc], meta, include=self._include))
        return encode(_metadata_only(doc) if self._form.shape == "metadata" else doc)

    def many(self, versions: Sequence[Version], meta: Document) -> bytes:
        """Write a list, with its metadata (resourceVersion, continue, remainingItemCount)."""
        if self._form.shape == "table":
            docs = [self._converted(version.raw) for version in versions]
            return encode(table.build(self._resource, docs, meta, include=self._include))
        kind, api = f"{self._resource.kind}List", self._resource.api_version
        if self._form.shape == "metadata":
            kind, api = "PartialObjectMetadataList", "meta.k8s.io/v1"
        return b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[%s]}\n' % (
            kind.encode(),
            api.encode(),
            encode(meta),
            b",".join(self._items(versions)),
        )

    def event(self, kind: bytes, raw: bytes) -> bytes:
        """Write one watch event; a table sends its columns with the first one only."""
        if self._plain:
            return b'{"type":"%s","object":%s}\n' % (kind, raw)
        if self._form.shape == "table" and kind != b"BOOKMARK":
            doc = self._converted(raw)
            built = table.build(self._resource, [doc], {}, include=self._include, columns=not self._head_sent)
            self._head_sent = True
            return b'{"type":"%s","object":%s}\n' % (kind, encode(built))
        return b'{"type":"%s","object":%s}\n' % (kind, raw if kind == b"BOOKMARK" else self.one(raw))

    def bookmark(self, revision: int, *, ends_initial: bool = False) -> bytes:
        """Write a bookmark."""
        meta: Document = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_initial:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        doc: Document = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": meta}
        doc.update(self._resource.bookmark)
        if self._form.shape == "table":
            doc = table.build(self._resource, [], {"resourceVersion": str(revision)}, include="None", columns=False)
        elif self._form.shape == "metadata":
            doc = _metadata_only(doc)
        return self.event(b"BOOKMARK", encode(doc))

    def _items(self, versions: Sequence[Version]) -> list[bytes]:
        if self._plain:
            # Every object begins with kind and apiVersion, which the items of a list do not carry.
            cut = len(self._resource.prefix)
            return [b"{" + version.raw[cut:] for version in versions]
        if self._form.shape == "metadata":
            return [encode(_metadata_only(self._converted(version.raw))) for version in versions]
        docs = [self._converted(version.raw) for version in versions]
        return [encode({k: v for k, v in doc.items() if k not in {"kind", "apiVersion"}}) for doc in docs]

    def _converted(self, raw: bytes) -> Document:
        doc = decode(raw)
        return event.from_core(doc) if self._converts else doc


def _metadata_only(doc: Document) -> Document:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": doc["metadata"]}
