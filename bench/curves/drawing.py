"""Pictures of the curves: two or three panels each, measured points, units on every axis.

One style for all: the figure that a user feels on the left, those that explain it to the right of it; logarithmic
where the points are spread over decades.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from bench.curves.measurement import net_part

_PARTS = ("resizer", "api_server", "driver")
_LABELS = ("resizer", "API server", "driver")
_COLOURS = ("#1f5fa8", "#c8562b", "#4a8f3c", "#7a5ba6")
_STYLE: Any = {
    "font.size": 10,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


class Panel(NamedTuple):
    """One plot: which columns over which, and what they are called."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[tuple[str, str], ...]
    log_x: bool = True
    log_y: bool = False


_PAIRS = "claims cached, and as many volumes"
_AT_ONCE = "claims edited at once"
_LEASES = "drivers, each with its lease"
_EDITS = "foreign edits of cached claims per second"

_RSS = (("rss_mb", "resident"), ("peak_mb", "most ever"))
_COLD = (
    ("first_served_net_s", "first claim of the lists grown"),
    ("last_served_net_s", "last claim grown"),
    ("start_cpu_s", "CPU of the resizer"),
    ("start_api_server_cpu_s", "CPU of the API server"),
)
_WAIT = (("p50_net_s", "median claim"), ("p99_net_s", "99th percentile"))
_BUSY = tuple((f"{part}_busy_percent", label) for part, label in zip(_PARTS, _LABELS, strict=True))
_RSS_DRIVERS = (("idle_rss_mb", "idle"), ("rss_mb", "after 1,000 growths"))
_CPU = (("resizer_cpu_percent", "resizer"), ("api_server_cpu_percent", "API server"))

_COST = tuple((f"{part}_cpu_ms_per_resize", label) for part, label in zip(_PARTS, _LABELS, strict=True))

_PANELS: dict[str, tuple[str, tuple[Panel, ...]]] = {
    "claims": (
        "claims",
        (
            Panel("Memory of the process", _PAIRS, "MB", _RSS, log_x=False),
            Panel("Cold start", _PAIRS, "seconds", _COLD, log_y=True),
        ),
    ),
    "at-once": (
        "at_once",
        (
            Panel("From the edit to the grown claim", _AT_ONCE, "seconds", _WAIT, log_y=True),
            Panel("Event loops: running, or waiting for a core", _AT_ONCE, "% of the time", _BUSY),
            Panel("CPU of one growth, its events included", _AT_ONCE, "milliseconds", _COST),
        ),
    ),
    "drivers": (
        "drivers",
        (
            Panel("Memory of the process", _LEASES, "MB", _RSS_DRIVERS, log_x=False),
            Panel("CPU with nothing to do", _LEASES, "% of a core", (("idle_cpu_percent", ""),), log_x=False),
        ),
    ),
    "events": (
        "events_per_s",
        (
            Panel("CPU", _EDITS, "% of a core", _CPU, log_x=False),
            Panel("A lone growth meanwhile", _EDITS, "milliseconds", (("growth_p50_ms", "median"),), log_x=False),
        ),
    ),
}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw one curve's figures, as `command.measure` returned them, into a PNG."""
    column, panels = _PANELS[result["curve"]]
    points = [_derived(point) for point in result["points"]]
    machine = result["machine"]
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 4), layout="constrained")
        for panel, axis in zip(panels, axes, strict=True):
            _draw_panel(axis, panel, [p[column] for p in points], points)
        where = f"{machine['cores']} cores, Python {machine['python']}, {result['date']}"
        text = f"{where}, medians of {result['rounds']}, seconds net of waiting for a core"
        figure.supxlabel(text, fontsize=8, color="#666666", x=0.995, ha="right")
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _derived(point: dict[str, float]) -> dict[str, float]:
    """Add what is drawn and not kept: seconds net of waiting for a core that others had, and milliseconds."""
    seconds = {name: value for name, value in point.items() if name.endswith("_s")}
    net = net_part(point) if "resizer_busy_percent" in point else 1.0
    return {
        **point,
        **{f"{name[:-2]}_net_s": value * net for name, value in seconds.items()},
        **{f"{name[:-2]}_ms": value * 1e3 for name, value in seconds.items()},
    }


def _draw_panel(axis: Axes, panel: Panel, xs: list[float], points: list[dict[str, float]]) -> None:
    ends = [points[-1][name] for name, _ in panel.lines]
    for (name, label), colour in zip(panel.lines, _COLOURS, strict=False):
        ys = [p[name] for p in points]
        axis.plot(xs, ys, marker="o", markersize=4, color=colour, label=label)
        # Below its line where another one ends just above.
        above = -11 if any(ys[-1] < end < 1.1 * ys[-1] for end in ends) else 4
        axis.annotate(f"{ys[-1]:.3g}", (xs[-1], ys[-1]), xytext=(4, above), textcoords="offset points", color=colour)
    axis.set_title(panel.title, loc="left", fontsize=11)
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
    if panel.log_x:
        axis.set_xscale("log")
        shown = [x for before, x in zip([0, *xs], xs, strict=False) if x >= 1.9 * before]
        axis.set_xticks(shown, [f"{x:,.0f}" for x in shown])
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if panel.log_y:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_ylim(bottom=0)
    axis.margins(x=0.08)
    if len(panel.lines) > 1:
        axis.legend(loc="best")
