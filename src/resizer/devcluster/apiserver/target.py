"""What a request is about and what it asks for: the words between the HTTP edge and the engine."""

from __future__ import annotations

from dataclasses import dataclass

from resizer.devcluster.apiserver.resource import Resource
from resizer.devcluster.apiserver.store import Key


@dataclass(frozen=True, slots=True)
class Target:
    """The object, or the collection, that a request is about."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def key(self) -> Key:
        """Where the object is kept."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What the query of a write asks for."""

    dry_run: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a delete asks for; `grace_s` None means the object's own."""

    dry_run: bool = False
    uid: str = ""
    revision: str = ""
    grace_s: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """An object as an answer shows it. `gone` says that the write took it out of the store."""

    raw: bytes
    created: bool = False
    gone: bool = False
    uid: str = ""
