"""The table: goal and verdict beside each figure. Pure: figures in, text out."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.rows import ROWS, Row

PEER = "peer."
"""What the name of a figure begins with when it is the peer's."""


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the runs that have it."""
    keys = dict.fromkeys(key for run in runs for key in run)
    return {key: statistics.median(run[key] for run in runs if key in run) for key in keys}


def rows_of(figures: Mapping[str, float]) -> list[Row]:
    """Return the rows of which there is a figure."""
    return [row for row in ROWS if row.key in figures]


def missed(figures: Mapping[str, float]) -> list[Row]:
    """Return the rows whose goal is not reached."""
    return [row for row in rows_of(figures) if row.is_met_by(figures[row.key]) is False]


def table(figures: Mapping[str, float]) -> str:
    """Write figures, goals and verdicts, and the peer's figures if there are any."""
    has_peer = any(key.startswith(PEER) for key in figures)
    lines = [("", "figure", "goal", "", *(("peer",) if has_peer else ()))]
    for row in rows_of(figures):
        goal = "" if row.goal is None else f"{row.sign} {row.goal:g}"
        verdict = {True: "ok", False: "MISSED", None: ""}[row.is_met_by(figures[row.key])]
        beside = figures.get(PEER + row.key)
        peer = "" if beside is None else figure(row, beside)
        lines.append((row.title, figure(row, figures[row.key]), goal, verdict, *((peer,) if has_peer else ())))
    return aligned(lines)


def comparison(before: Mapping[str, float], after: Mapping[str, float], *, names: tuple[str, str]) -> str:
    """Write two commits' figures side by side, with their ratio (after / before)."""
    lines = [("", *names, "ratio", "")]
    for row in ROWS:
        if row.key in before and row.key in after:
            old, new = before[row.key], after[row.key]
            ratio = f"{new / old:.2f}" if old else "-"
            lines.append((row.title, figure(row, old), figure(row, new), ratio, row.verdict(old, new)))
    return aligned(lines)


def figure(row: Row, value: float) -> str:
    """Write one figure with its unit."""
    return f"{value:,.{row.digits}f} {row.unit}".strip()


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Write lines of cells: the first to the left, the others to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Iterable[int]) -> str:
    parts = [f"{c:<{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(parts).rstrip()


def document(runs: Sequence[Mapping[str, float]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Build the JSON form: what was measured where, medians, goals, and every run."""
    figures = medians(runs)
    rows = {
        row.key: {
            "title": row.title.strip(),
            "value": figures[row.key],
            "unit": row.unit,
            "goal": row.goal,
            "sign": row.sign,
            "met": row.is_met_by(figures[row.key]),
            "runs": [run[row.key] for run in runs if row.key in run],
            "peer": figures.get(PEER + row.key),
        }
        for row in rows_of(figures)
    }
    return {**about, "rows": rows}
