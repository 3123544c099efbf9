"""The status page at `/`: what `/debug/state` shows, as plain HTML. No script; everything from outside is escaped.

Pure: a JSON-ready dict in, a page out. A list of objects becomes a table, an object a list of names and values.
It reads well in a text browser. Moments, which are Unix seconds in the state, are shown as a person reads them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

MAX_ROWS: Final = 500
_MOMENTS: Final = ("since", "next_try")
_STYLE: Final = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:.5em 0}th,td{border:1px solid #bbb;padding:.2em .6em;text-align:left;"
    "vertical-align:top;overflow-wrap:break-word;max-width:40em}th{background:#eee}"
    "dt{font-weight:bold}dd{margin:0 0 .4em 1.5em}"
)


def render_page(state: Mapping[str, Any]) -> str:
    """Return the whole page for this state."""
    sections = "".join(f"<h2>{escape(_title(name))}</h2>\n{_render(value)}\n" for name, value in state.items())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Resizer</title><style>{_STYLE}</style></head>\n<body><h1>Resizer</h1>\n"
        "<p>What is being resized right now; the page is fetched again every 5 seconds. "
        '<a href="debug/state">The same as JSON</a>, <a href="metrics">metrics</a>, '
        '<a href="readyz?verbose">readiness</a>.</p>\n'
        f"{sections}</body></html>\n"
    )


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _render(value: Any) -> str:
    if isinstance(value, Mapping):
        return _render_mapping(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _render_list(value)
    return f"<p>{_cell(value)}</p>"


def _render_mapping(value: Mapping[str, Any]) -> str:
    if not value:
        return "<p>none</p>"
    return (
        "<dl>"
        + "".join(f"<dt>{escape(_title(str(k)))}</dt><dd>{_cell(v) or 'none'}</dd>" for k, v in value.items())
        + "</dl>"
    )


def _render_list(value: Sequence[Any]) -> str:
    if not value:
        return "<p>none</p>"
    rows = value[:MAX_ROWS]
    if not all(isinstance(row, Mapping) for row in rows):
        return "<ul>" + "".join(f"<li>{_cell(row)}</li>" for row in rows) + "</ul>" + _omitted(value)
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    head = "".join(f'<th scope="col">{escape(_title(name))}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_entry(name, row.get(name))}</td>" for name in columns) + "</tr>\n" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>" + _omitted(value)


def _entry(name: str, value: Any) -> str:
    """A cell of a column; in a column of moments the time in UTC."""
    if name in _MOMENTS and isinstance(value, float):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return _cell(value)


def _omitted(value: Sequence[Any]) -> str:
    return f"<p>and {len(value) - MAX_ROWS} more</p>" if len(value) > MAX_ROWS else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(k))}: {_cell(v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_cell(item) for item in value)
    return escape(str(value))
