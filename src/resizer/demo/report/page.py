"""The report's page: one HTML file with its pictures inside, which can be mailed, and needs no network to be read."""

import base64
from html import escape
from pathlib import Path
from typing import Final

from resizer.demo.display import duration_text
from resizer.demo.workload.outcome import MysqlResult, Run
from resizer.demo.workload.table import comparison_lines, growth_rows, honest_sentence, rows_line, watched_line
from resizer.model.quantity import format_bytes

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #8884; text-align: right; }
th:first-child, td:first-child { text-align: left; font-weight: normal; }
img { max-width: 100%; background: #fff; }
.good { color: #2f7d4f; } .bad { color: #c4432b; }
.note { color: #6b7280; }
"""


def render_page(result: MysqlResult, *, shown: int, pictures: dict[str, Path]) -> str:
    """Return the page. `shown` is the run whose figures and pictures are shown, `pictures` by heading."""
    run = result.runs[shown]
    parts = [
        f"<h1>A database while its volume grows from {format_bytes(result.size_bytes)}</h1>",
        f"<p>{escape(_what(result))}</p>",
        _verdict(result),
    ]
    if run.growths:
        which = f" (run {shown + 1} of {len(result.runs)}, the one in the middle)" if len(result.runs) > 1 else ""
        parts += [f"<h2>Each growth{which}</h2>", _growths(run)]
    parts += [f"<p>{escape(rows_line(run))}.</p>", f"<p>{escape(watched_line(run))}.</p>"]
    if len(result.runs) > 1:
        parts += ["<h2>All runs</h2>", _all_runs(result)]
    for heading, path in pictures.items():
        parts.append(_picture(heading, path))
        if heading.startswith("Too small") and result.comparison is not None:
            parts += [f"<p>{escape(line)}</p>" for line in comparison_lines(result.comparison)]
    parts += ["<h2>What this machine can show</h2>", f'<p class="note">{escape(honest_sentence(result))}</p>']
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(result.claim)} grows</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _what(result: MysqlResult) -> str:
    return (
        f"{result.database} on claim {result.claim}, filesystem {result.filesystem} on a loop device; "
        f"{result.database_reason}. {_pace(result)} "
        f"Windows of {result.window_s:g} s: one before each edit, one around it, one after."
    )


def _pace(result: MysqlResult) -> str:
    if result.pace:
        return f"Queries are paced: {result.pace} transactions of 20 a second at most, and a stall is not made up for."
    return "Queries come as fast as they are answered."


def _verdict(result: MysqlResult) -> str:
    if result.ok:
        return '<p class="good">Every growth reached the filesystem, no client saw an error, no row was lost.</p>'
    return '<p class="bad">Not everything is as it should be: see below.</p>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>\n<tr>{top}</tr>\n" + "\n".join(lines) + "\n</table>"


def _growths(run: Run) -> str:
    head = ["", *(f"to {format_bytes(one.asked_bytes)}" for one in run.growths)]
    return _table(head, [[label, *cells] for label, cells in growth_rows(run)])


def _all_runs(result: MysqlResult) -> str:
    assert result.medians is not None
    sizes = [format_bytes(one.asked_bytes) for one in result.runs[0].growths]
    head = ["run", *(f"{size}: {what}" for size in sizes for what in ("seen after", "queries kept")), "errors"]
    rows = []
    for number, run in enumerate(result.runs, 1):
        kept = [one.disturbance.kept_share if one.disturbance else 0.0 for one in run.growths]
        seen = [one.seen_after_s for one in run.growths]
        rows.append([str(number), *_cells(seen, kept), str(run.errors)])
    errors = sum(run.errors for run in result.runs)
    rows.append(["median", *_cells(result.medians.seen_after_s, result.medians.kept_share), str(errors)])
    return _table(head, rows)


def _cells(seen_s: list[float], kept: list[float]) -> list[str]:
    return [cell for at, share in zip(seen_s, kept, strict=True) for cell in (duration_text(at), f"{share:.1%}")]


def _picture(heading: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<h2>{escape(heading)}</h2>\n<img alt="{escape(heading)}" src="data:image/png;base64,{data}">'
