"""How growths are printed: a table as kubectl's, or JSON, YAML, names. Text of others is bounded and harmless.

Sizes are canonical quantities in the table and bytes in JSON and YAML; unknown is `-` there and null here.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from resizer.cli.status_session import LINE
from resizer.explain.progress import Row
from resizer.explain.span import span
from resizer.model.quantity import format_bytes
from resizer.model.text import printable

FORMATS: Final = ("", "wide", "json", "yaml", "name")
_COLUMNS: Final = ("NAMESPACE", "NAME", "DRIVER", "FROM", "TO", "PHASE", "AGE", "RETRIES", "NEXT", "REASON")
_WIDE: Final = ("VOLUME", "MESSAGE")
_USUAL: Final = (12, 16, 16, 6, 6, 17, 6, 7, 6, 16)
"""Widths to begin with when rows are still to come."""


class Table:
    """Lines up rows; widths only grow, so that what `-w` adds stays below its heads."""

    def __init__(self, *, wide: bool, live: bool = False) -> None:
        self._heads = (*_COLUMNS, *_WIDE) if wide else _COLUMNS
        usual = (*_USUAL, 0, 0) if live else (0,) * len(self._heads)
        self._widths = [max(len(head), width) for head, width in zip(self._heads, usual, strict=False)]

    def head(self) -> str:
        """Return the heads. After `lines` has seen the first rows, they are as wide as these."""
        return self._line(self._heads)

    def lines(self, rows: Iterable[Row], *, now_s: float) -> list[str]:
        """Return one line a row."""
        cells = [self._cells(row, now_s) for row in rows]
        for line in cells:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, line, strict=True)]
        return [self._line(line) for line in cells]

    def _line(self, cells: Sequence[str]) -> str:
        *first, last = zip(cells, self._widths, strict=True)
        return "   ".join([*(cell.ljust(width) for cell, width in first), last[0]])

    def _cells(self, row: Row, now_s: float) -> tuple[str, ...]:
        cells = (
            row.namespace,
            row.name,
            row.driver or "-",
            format_bytes(row.from_bytes),
            format_bytes(row.to_bytes),
            row.phase,
            span(now_s - row.since_s) if row.since_s else "-",
            str(row.failures),
            span(row.next_s - now_s) if row.next_s > now_s else "-",
            row.class_ or "-",
        )
        more = (row.volume or "-", row.message or "-")
        shown = (*cells, *more) if len(self._heads) > len(cells) else cells
        return tuple(printable(cell, limit=LINE) for cell in shown)


def document_of(row: Row) -> dict[str, Any]:
    """Return a row for programs."""
    return {
        "namespace": row.namespace,
        "name": row.name,
        "driver": row.driver or None,
        "volume": row.volume or None,
        "fromBytes": row.from_bytes,
        "toBytes": row.to_bytes,
        "phase": row.phase,
        "since": time_of(row.since_s),
        "failures": row.failures,
        "nextTry": time_of(row.next_s),
        "class": row.class_ or None,
        "message": row.message or None,
    }


def time_of(at_s: float) -> str | None:
    """Write Unix seconds as Kubernetes does; None for 0."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at_s else None


def dump(found: Any, output: str) -> str:
    """Write a document as JSON or YAML; what is not ASCII is escaped, so that no terminal is driven by it."""
    if output == "json":
        return json.dumps(found, indent=2)
    return str(yaml.safe_dump(found, sort_keys=False)).rstrip("\n")
