"""Draw a dashboard's panels with matplotlib, from what Prometheus answered: for the documents.

It is no rendering by Grafana and says so in the picture: same queries, same data, another pen.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from msgspec import Struct

NOTE: Final = "drawn by matplotlib from the answers of a real Prometheus, not by Grafana"
_COLUMN_IN: Final = 0.75
_ROW_IN: Final = 0.42
_UNITS: Final = {"bytes": "GiB", "binBps": "GiB/s", "percentunit": "%", "s": "s", "cps": "/s", "reqps": "/s"}
_LEGEND_AT_MOST: Final = 6

Span = tuple[float, float]
"""From when to when, Unix seconds."""


class Answer(Struct, frozen=True):
    """What one query of a panel returned: the legend's pattern, and series as Prometheus writes them."""

    legend: str
    series: list[dict[str, Any]]


def draw(dashboard: Mapping[str, Any], answers: Mapping[int, Sequence[Answer]], path: Path) -> int:
    """Write the picture of a dashboard and return its size in bytes; `answers` are by panel id."""
    mpl.use("agg")
    panels = list(dashboard["panels"])
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + 2
    times = [float(at) for found in answers.values() for a in found for s in a.series for at, _ in s.get("values", ())]
    span = min(times), max(times)
    figure = Figure(figsize=(24 * _COLUMN_IN, height * _ROW_IN), dpi=70)
    figure.text(0.01, 1 - 1 / height, f"{dashboard['title']}  ({NOTE})", fontsize=13, va="center")
    for panel in panels:
        at = panel["gridPos"]
        top, bottom = 1 - (at["y"] + 2) / height, 1 - (at["y"] + at["h"] + 2) / height
        if panel["type"] == "row":
            figure.text(0.01, (top + bottom) / 2, panel["title"], fontsize=12, weight="bold", va="center")
            continue
        margin = 1.1 / height
        box = (at["x"] / 24 + 0.035, bottom + margin, at["w"] / 24 - 0.045, top - bottom - 2 * margin)
        axes = figure.add_axes(box)
        axes.set_title(panel["title"], fontsize=10, loc="left")
        _DRAWERS[panel["type"]](axes, panel, answers[panel["id"]], span)
    figure.savefig(path, metadata={"Software": None})
    return path.stat().st_size


def _lines(axes: Axes, panel: Mapping[str, Any], answers: Sequence[Answer], span: Span) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    curves = [(_legend(answer.legend, series), series["values"]) for answer in answers for series in answer.series]
    curves.sort(key=lambda curve: -max(_scaled(value, unit) for _, value in curve[1]))
    for number, (legend, values) in enumerate(curves):
        points = {round(float(at) - span[0]): _scaled(value, unit) for at, value in values}
        seconds = range(round(span[1] - span[0]) + 1)  # a second without an answer is a gap, not a slope
        label = legend if number < _LEGEND_AT_MOST else None
        axes.plot(seconds, [points.get(second, math.nan) for second in seconds], lw=1.2, label=label)
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, span[1] - span[0])
    axes.set_ylabel(_UNITS.get(unit, ""), fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6.5, loc="upper left", framealpha=0.6)


def _heat(axes: Axes, _panel: Mapping[str, Any], answers: Sequence[Answer], span: Span) -> None:
    ordered = sorted(answers[0].series, key=lambda series: float(series["metric"]["le"]))
    times = sorted({float(at) for series in ordered for at, _ in series["values"]})
    rows, below = [], dict.fromkeys(times, 0.0)
    for series in ordered:
        here = {float(at): _finite(value) for at, value in series["values"]}
        rows.append([max(0.0, here.get(at, 0.0) - below[at]) for at in times])
        below = {at: here.get(at, below[at]) for at in times}
    extent = (times[0] - span[0], times[-1] - span[0], 0, len(rows))
    axes.imshow(rows, aspect="auto", origin="lower", cmap="Oranges", extent=extent)
    axes.set_yticks(range(1, len(rows) + 1), [series["metric"]["le"] for series in ordered], fontsize=5)
    axes.set_ylabel("s, at most", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)


def _figure(axes: Axes, panel: Mapping[str, Any], answers: Sequence[Answer], _span: Span) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    value = _scaled(answers[0].series[0]["value"][1], unit)
    text = f"{value:.{panel['fieldConfig']['defaults']['decimals']:.0f}f} {_UNITS.get(unit, '')}"
    axes.text(0.5, 0.5, text, fontsize=17, ha="center", va="center")
    axes.set_axis_off()


def _table(axes: Axes, panel: Mapping[str, Any], answers: Sequence[Answer], _span: Span) -> None:
    names: dict[str, str] = panel["transformations"][0]["options"]["renameByName"]
    axes.set_axis_off()
    cells = [
        [f"{float(s['value'][1]):.0f} s" if name == "Value" else s["metric"].get(name, "") for name in names]
        for s in answers[0].series[:8]
    ]
    table = axes.table(cellText=cells, colLabels=list(names.values()), loc="upper center", cellLoc="left")
    table.auto_set_font_size(value=False)
    table.set_fontsize(9)


def _legend(pattern: str, series: Mapping[str, Any]) -> str:
    for name, value in series["metric"].items():
        pattern = pattern.replace("{{" + name + "}}", value)
    return pattern


def _finite(value: str) -> float:
    return float(value) if math.isfinite(float(value)) else 0.0


def _scaled(value: str, unit: str) -> float:
    return float(value) * {"bytes": 2.0**-30, "binBps": 2.0**-30, "percentunit": 100.0}.get(unit, 1.0)


_DRAWERS: Final = {"timeseries": _lines, "heatmap": _heat, "stat": _figure, "table": _table}
