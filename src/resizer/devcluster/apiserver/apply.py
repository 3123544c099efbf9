"""Server-side apply, as far as one manager at a time needs it.

A manager's last applied configuration is remembered; what it no longer contains is removed, the rest is merged in
by the rules of a strategic merge. Ownership between managers is not tracked, so there are no conflicts: the last
one wins, as with `--force-conflicts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resizer.devcluster.apiserver.patch import strategic_merge
from resizer.devcluster.apiserver.resource import Document

if TYPE_CHECKING:
    from resizer.devcluster.apiserver.engine import Engine
    from resizer.devcluster.apiserver.target import Target, WriteOptions, Written

_MOST_REMEMBERED = 10_000


class Applied:
    """Remembers what each manager applied to each object."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, str], Document] = {}

    def apply(self, engine: Engine, target: Target, content: Document, options: WriteOptions, manager: str) -> Written:
        """Create the object or merge the configuration into it."""
        collection = engine.store.collection(target.resource)
        wanted = {key: value for key, value in content.items() if key != "status" or target.subresource}
        have = collection.objects.get(target.key)
        if have is None:
            body = _copy(wanted)
            body.setdefault("metadata", {}).setdefault("name", target.name)
            written = engine.create(target, body, options)
        else:
            last = self._last.get((have.uid, target.subresource, manager), {})

            def change(doc: Document) -> Document:
                return strategic_merge(_without(doc, last, wanted), _copy(wanted))

            written = engine.patch(target, change, options)
        if not options.dry_run and written.uid:
            if len(self._last) >= _MOST_REMEMBERED:
                self._last.pop(next(iter(self._last)))
            self._last[written.uid, target.subresource, manager] = _copy(wanted)
        return written


def _without(doc: Document, last: Document, wanted: Document) -> Document:
    """Remove from a document the map entries that were applied last time and are not wanted any more."""
    for key, value in last.items():
        if key not in wanted:
            doc.pop(key, None)
        elif isinstance(value, dict) and isinstance(wanted[key], dict) and isinstance(doc.get(key), dict):
            _without(doc[key], value, wanted[key])
    return doc


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(below) for key, below in value.items()}
    return [_copy(below) for below in value] if isinstance(value, list) else value
