"""The storage engine: every object as its encoded bytes, one counter of versions, and a bounded history.

An object version is immutable: its JSON bytes, and the few values that selectors look at. Whoever wants to change
an object decodes a document of their own, changes it and hands it back, so no document is ever shared and nothing
is copied on the way out: lists and watch events are joined from bytes that were encoded once.

Each collection keeps the changes of the recent past. Watches read them by position, page tokens are served by
undoing them, and whatever has fallen off the end is answered with 410 by those who notice.

All of it is synchronous and knows nothing of sockets or tasks; whoever waits for changes registers a callback.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from resizer.devcluster.apiserver.resource import Document, Resource

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(dict[str, Any]).decode

FIRST_REVISION = 100
"""Where the counter starts: version 1 is what clients use for "certainly outdated"."""


class Version(msgspec.Struct, frozen=True, gc=False):
    """One version of one object."""

    key: Key
    revision: int
    uid: str
    raw: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]

    def document(self) -> Document:
        """Decode a document that belongs to the caller alone."""
        return decode(self.raw)


class Change(msgspec.Struct, frozen=True, gc=False):
    """One step of history. For DELETED, `current` is the last state with the version of the deletion."""

    revision: int
    type: ChangeType
    current: Version
    previous: Version | None


class CompactedError(Exception):
    """History does not reach back to the version asked for."""


class Collection:
    """All objects of one resource, and their recent history."""

    def __init__(self, resource: Resource, *, history: int) -> None:
        self.resource = resource
        self.objects: dict[Key, Version] = {}
        self.listeners: set[Callable[[], None]] = set()
        self._history = history
        self._changes: list[Change] = []
        self._first = 0
        self._sorted: list[Key] | None = []
        self.compacted = 0

    @property
    def end(self) -> int:
        """The position after the newest change."""
        return self._first + len(self._changes)

    def position_after(self, revision: int) -> int:
        """Find the position of the first change later than `revision`."""
        if revision < self.compacted:
            raise CompactedError
        return self._first + bisect_left(self._changes, revision + 1, key=lambda change: change.revision)

    def changes_from(self, position: int) -> list[Change]:
        """List the changes at and after a position; raise CompactedError if some of them are gone."""
        if position < self._first:
            raise CompactedError
        return self._changes[position - self._first :]

    def keys(self, namespace: str) -> list[Key]:
        """List keys in storage order, of one namespace or of all."""
        if self._sorted is None:
            self._sorted = sorted(self.objects)
        if not namespace:
            return self._sorted
        low = bisect_left(self._sorted, (namespace, ""))
        return self._sorted[low : bisect_left(self._sorted, (namespace + "\0", ""))]

    def snapshot(self, revision: int) -> dict[Key, Version]:
        """Return the objects as they were at an earlier version, by undoing what happened since."""
        past = dict(self.objects)
        for change in reversed(self.changes_from(self.position_after(revision))):
            if change.previous is None:
                past.pop(change.current.key, None)
            else:
                past[change.current.key] = change.previous
        return past

    def record(self, change: Change) -> None:
        """Apply one change and tell the listeners."""
        key = change.current.key
        if change.type == "DELETED":
            del self.objects[key]
            self._sorted = None
        else:
            if change.type == "ADDED":
                self._sorted = None
            self.objects[key] = change.current
        self._changes.append(change)
        if len(self._changes) >= 2 * self._history:
            self._drop(len(self._changes) - self._history)
        for listener in self.listeners:
            listener()

    def compact(self) -> None:
        """Forget all history, as if it had been compacted a moment ago."""
        self._drop(len(self._changes))

    def _drop(self, count: int) -> None:
        if count:
            self.compacted = self._changes[count - 1].revision
            self._first += count
            del self._changes[:count]


class Store:
    """Every collection, and the one counter of versions."""

    def __init__(self, resources: tuple[Resource, ...], *, history: int) -> None:
        self.revision = FIRST_REVISION
        self._collections = {
            (resource.group, resource.plural): Collection(resource, history=history)
            for resource in resources
            if not resource.stored_as
        }

    def __iter__(self) -> Iterator[Collection]:
        return iter(self._collections.values())

    def collection(self, resource: Resource) -> Collection:
        """Return where a resource is kept (events of both API groups share one place)."""
        group = "" if resource.stored_as else resource.group
        return self._collections[group, resource.stored_as or resource.plural]

    def named(self, plural: str, *, group: str = "") -> Collection:
        """Return a collection by name."""
        return self._collections[group, plural]

    def put(self, collection: Collection, key: Key, doc: Document) -> Version:
        """Write an object; the store sets its resourceVersion."""
        previous = collection.objects.get(key)
        self.revision += 1
        doc["metadata"]["resourceVersion"] = str(self.revision)
        version = self._version(collection, key, doc)
        kind: ChangeType = "ADDED" if previous is None else "MODIFIED"
        self._record(collection, kind, version, previous)
        return version

    def remove(self, collection: Collection, key: Key, doc: Document) -> Version:
        """Delete an object; `doc` is its last state, which watchers get with the version of the deletion."""
        previous = collection.objects[key]
        self.revision += 1
        doc["metadata"]["resourceVersion"] = str(self.revision)
        version = self._version(collection, key, doc)
        self._record(collection, "DELETED", version, previous)
        return version

    def put_raw(self, collection: Collection, key: Key, raw: bytes) -> Version:
        """Store bytes as they are, unchecked: for tests of what no sane server would send."""
        previous = collection.objects.get(key)
        self.revision += 1
        version = Version(key, self.revision, "", raw, {}, {"metadata.name": key[1], "metadata.namespace": key[0]})
        self._record(collection, "ADDED" if previous is None else "MODIFIED", version, previous)
        return version

    def compact(self) -> None:
        """Forget the history of every collection: older versions and page tokens are answered with 410."""
        for collection in self:
            collection.compact()

    def statistics(self) -> dict[str, Any]:
        """Say how much is held."""
        counts = {c.resource.qualified_plural: len(c.objects) for c in self if c.objects}
        return {"revision": self.revision, "objects": counts}

    def _record(self, collection: Collection, kind: ChangeType, version: Version, previous: Version | None) -> None:
        collection.record(Change(self.revision, kind, version, previous))

    def _version(self, collection: Collection, key: Key, doc: Document) -> Version:
        fields = {"metadata.name": key[1], "metadata.namespace": key[0]}
        for name, path in collection.resource.selectable.items():
            fields[name] = value_at(doc, path)
        meta = doc["metadata"]
        labels = dict(meta.get("labels") or {})
        return Version(key, self.revision, meta.get("uid", ""), encode(doc), labels, fields)


def value_at(doc: Document, path: str) -> str:
    """Return the text at a dotted path, or nothing."""
    found: Any = doc
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, bool):
        return "true" if found else "false"
    return "" if found is None else str(found)
