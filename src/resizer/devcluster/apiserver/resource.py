"""What the server knows of one resource: its names, its scope, its subresources and the rules of its kind.

`catalogue` lists all of them; everything else is written once, for any resource. A kind with habits of its own
(defaults, validation, what a status write may touch) brings a `Rules` object; most get by with the base class,
which does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from resizer.devcluster.apiserver.cause import Cause

Document = dict[str, Any]
"""A decoded JSON object. Never shared: whoever holds one may change it."""

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Rules:
    """The habits of one kind. Every hook is synchronous and changes only the documents that it is given.

    `quantities` are the paths whose values are resource quantities (`*` stands for every key of a map, `[]` for
    every element of a list); they are brought into canonical form on each write. `omitted_when_empty` are maps
    that vanish when nothing is left in them. `conditions` are paths of condition lists, whose elements always
    carry type, status and the two times. `known` names the fields below a path, for the kinds that people write by
    hand: others are dropped, or refused under strict validation.
    """

    quantities: tuple[str, ...] = ()
    omitted_when_empty: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    known: ClassVar[Mapping[str, str]] = {}

    def default(self, doc: Document) -> None:
        """Fill in what the type itself defaults, on every write."""

    def prepare_create(self, doc: Document, now: str) -> None:
        """Set what a new object starts with, whatever the client sent (its status, for one)."""

    def prepare_update(self, new: Document, old: Document) -> None:
        """Undo what an update of the main resource may not touch."""

    def prepare_status(self, new: Document, old: Document, now: str) -> None:
        """Undo what a write of the status subresource may not touch, beyond spec."""

    def validate(self, doc: Document) -> list[Cause]:
        """Check an object as such, on create and on update."""
        del doc
        return []

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Check a change of the main resource."""
        del new, old
        return []

    def validate_status(self, new: Document, old: Document) -> list[Cause]:
        """Check a change of the status."""
        del new, old
        return []


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `kubectl get`. The description is part of the wire format: a client may show it."""

    name: str
    value: Callable[[Document], Any]
    description: str = ""
    priority: int = 0
    type: str = "string"
    format: str = ""

    def definition(self) -> Document:
        """Describe the column."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource of the API.

    `fields` are the top-level fields beside kind, apiVersion and metadata. `selectable` maps the field selectors
    that this resource answers to (beyond name and namespace) to the path of the value. `bookmark` is what the
    object of a bookmark holds beside its metadata. `finalizer` is put on every new object. `graceful` objects
    (pods) are marked when deleted, and go when their node lets them.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    fields: frozenset[str] = frozenset({"spec", "status"})
    finalizer: str = ""
    generation: bool = False
    graceful: bool = False
    returns_deleted: bool = False
    needs_version: bool = False
    selectable: Mapping[str, str] = field(default_factory=dict)
    strict_fields_text: bool = False
    bookmark: Mapping[str, Any] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    columns: tuple[Column, ...] = ()
    stored_as: str = ""

    @property
    def api_version(self) -> str:
        """`v1` or `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified_plural(self) -> str:
        """The plural as messages name it: `leases.coordination.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind as messages name it: `Lease.coordination.k8s.io`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def prefix(self) -> bytes:
        """The bytes that every encoded object of this resource begins with."""
        return f'{{"kind":"{self.kind}","apiVersion":"{self.api_version}",'.encode()

    @property
    def has_status(self) -> bool:
        """Whether status is a subresource of its own."""
        return "status" in self.subresources
