"""The figures, by matplotlib: what the article's figure showed, with numbers on its axes. Nothing is measured here.

matplotlib comes with the extra `report` and is imported when a report is written, never before.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resizer.demo.timeline import STAGES
from resizer.demo.workload.curves import Curves
from resizer.demo.workload.figures import quantile_series, rate_series
from resizer.demo.workload.outcome import Run
from resizer.model.quantity import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GIB: Final = 1024**3
_MIB: Final = 1024**2
_BLUE: Final = "#1f6feb"
_RED: Final = "#c4432b"
_GREEN: Final = "#2f7d4f"
_GREY: Final = "#6b7280"
_STEP_S: Final = 0.25
_FINE_STEP_S: Final = 0.1
_DPI: Final = 110


def new_figure(*, rows: int, columns: int = 1, height: float, **options: Any) -> tuple["Figure", Any]:
    """Return a figure without a display, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        axis.set_axisbelow(True)
        axis.grid(visible=True, color="#e5e7eb", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: "Figure", path: Path) -> Path:
    """Write it as PNG; the same figures make the same file."""
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    return path


def _mark(axis: "Axes", curves: Curves) -> None:
    for at in curves.edited_s:
        axis.axvline(at - curves.began_s, color=_RED, linewidth=1, linestyle="--")


def draw_size(curves: Curves, run: Run, path: Path) -> Path:
    """Filesystem size and data bytes over time: as Prometheus saw them, or by statvfs where there was none."""
    figure, axes = new_figure(rows=2, height=5.5, sharex=True)
    top, bottom = axes[0][0], axes[1][0]
    size, data, source = _size_and_data(curves)
    top.step(*size, where="post", color=_BLUE, linewidth=2)
    top.set_ylabel("filesystem, GiB")
    top.set_ylim(0, max(size[1], default=1) * 1.15)
    top.set_title(f"The filesystem under the database, and what it holds (by {source})", loc="left", fontsize=11)
    for at, growth in zip(curves.edited_s, run.growths, strict=True):
        words = f"edit to {format_bytes(growth.asked_bytes)}: seen after {growth.seen_after_s * 1000:.0f} ms"
        place = (at - curves.began_s, growth.filesystem_after_bytes / _GIB)
        top.annotate(words, place, xytext=(-6, 4), textcoords="offset points", fontsize=8, color=_RED, ha="right")
    bottom.plot(*data, color=_GREEN, linewidth=2)
    bottom.set_ylabel("data, MiB")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("seconds")
    for axis in (top, bottom):
        _mark(axis, curves)
    return save(figure, path)


Line = tuple[list[float], list[float]]


def _size_and_data(curves: Curves) -> tuple[Line, Line, str]:
    watched = curves.watched
    if watched.get("size") and watched.get("data"):
        size = _relative(watched["size"], curves, unit=_GIB)
        return size, _relative(watched["data"], curves, unit=_MIB), "Prometheus"
    points = [(at, float(space.size_bytes)) for at, space in curves.space.samples]
    used = [(at, float(space.size_bytes - space.free_bytes)) for at, space in curves.space.samples]
    return _relative(points, curves, unit=_GIB), _relative(used, curves, unit=_MIB), "statvfs"


def _relative(points: Iterable[tuple[float, float]], curves: Curves, *, unit: int) -> Line:
    pairs = [(at - curves.began_s, value / unit) for at, value in points]
    return [at for at, _ in pairs], [value for _, value in pairs]


def draw_queries(curves: Curves, run: Run, path: Path) -> Path:
    """Queries a second and latency over time, and below each growth enlarged."""
    count = max(1, len(run.growths))
    figure, axes = new_figure(rows=4, columns=count, height=9)
    for row in (0, 1):
        for spare in axes[row]:
            spare.remove()
    grid = axes[2][0].get_gridspec()
    rate, latency = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, :])
    span = (curves.began_s, curves.ended_s)
    _draw_rate(rate, curves, span=span, step_s=_STEP_S)
    rate.set_title("Queries a second; dashed: the claim is edited", loc="left", fontsize=11)
    _draw_latency(latency, curves, span=span, step_s=_STEP_S)
    latency.set_title("Latency of a transaction of 20 statements", loc="left", fontsize=11)
    latency.legend(loc="upper right", fontsize=8, ncols=2, frameon=False)
    for number, (at, growth) in enumerate(zip(curves.edited_s, run.growths, strict=True)):
        near = (at - 2, at + 2)
        _draw_rate(axes[2][number], curves, span=near, step_s=_FINE_STEP_S)
        axes[2][number].set_title(f"2 s around the edit to {format_bytes(growth.asked_bytes)}", loc="left", fontsize=10)
        _draw_latency(axes[3][number], curves, span=near, step_s=_FINE_STEP_S)
        axes[3][number].set_xlabel("seconds")
    return save(figure, path)


def _draw_rate(axis: "Axes", curves: Curves, *, span: tuple[float, float], step_s: float) -> None:
    per = curves.queries_per_transaction
    times, rates = rate_series(curves.queries, begin_s=span[0], end_s=span[1], step_s=step_s, per=per)
    axis.plot([at - curves.began_s for at in times], rates, color=_BLUE, linewidth=1.3)
    axis.set_ylim(0, max(rates, default=1) * 1.15 or 1)
    axis.set_ylabel("queries/s")
    _finish(axis, curves, span)


def _draw_latency(axis: "Axes", curves: Curves, *, span: tuple[float, float], step_s: float) -> None:
    for share, color, label in ((0.95, _GREEN, "p95"), (0.99, _RED, "p99")):
        times, values = quantile_series(curves.queries, begin_s=span[0], end_s=span[1], step_s=step_s, share=share)
        milliseconds = [value * 1000 for value in values]
        axis.plot([at - curves.began_s for at in times], milliseconds, color=color, linewidth=1.1, label=label)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("ms")
    _finish(axis, curves, span)


def _finish(axis: "Axes", curves: Curves, span: tuple[float, float]) -> None:
    axis.set_xlim(span[0] - curves.began_s, span[1] - curves.began_s)
    axis.grid(visible=True, color="#e5e7eb", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    _mark(axis, curves)


def draw_stages(run: Run, path: Path) -> Path:
    """The stages of each growth on a line of time."""
    figure, axes = new_figure(rows=len(run.growths), height=2.9 * len(run.growths))
    for row, growth in zip(axes, run.growths, strict=True):
        axis = row[0]
        reached = [(stage, growth.stages_s[stage] * 1000) for stage in STAGES if stage in growth.stages_s]
        places = list(range(len(reached)))[::-1]
        starts = [0.0, *(at for _, at in reached[:-1])]
        widths = [at - start for (_, at), start in zip(reached, starts, strict=True)]
        axis.barh(places, widths, left=starts, color=_BLUE, height=0.55)
        axis.set_yticks(places, [stage for stage, _ in reached], fontsize=8)
        for place, (_, at) in zip(places, reached, strict=True):
            axis.annotate(f"{at:.1f} ms", (at, place), xytext=(4, -3), textcoords="offset points", fontsize=8)
        seen_ms = growth.seen_after_s * 1000
        axis.axvline(seen_ms, color=_GREEN, linewidth=1.2)
        axis.annotate(
            f"the database sees it: {seen_ms:.1f} ms",
            (seen_ms, 0),
            xytext=(-4, 0),
            textcoords="offset points",
            fontsize=8,
            color=_GREEN,
            ha="right",
        )
        axis.set_title(f"From the edit to {format_bytes(growth.asked_bytes)}", loc="left", fontsize=11)
        axis.set_xlim(0, max([seen_ms, *(at for _, at in reached)]) * 1.15)
    axes[-1][0].set_xlabel("milliseconds after the edit")
    return save(figure, path)


def draw_comparison(compared: dict[str, Curves], path: Path) -> Path:
    """Two filesystems that are too small, side by side: one is left alone, one grows at 80 %."""
    figure, axes = new_figure(rows=1, columns=len(compared), height=3.8, sharey=True)
    titles = ("Left alone: the inserts end", "Edited at 80 %: they go on")
    for axis, title, curves in zip(axes[0], titles, compared.values(), strict=False):
        samples = curves.space.samples
        times = [at - curves.began_s for at, _ in samples]
        sizes = [space.size_bytes / _MIB for _, space in samples]
        used = [(space.size_bytes - space.free_bytes) / _MIB for _, space in samples]
        _draw_space(axis, times, sizes, used)
        refused_at_s = curves.fill.refused_at_s
        if refused_at_s is not None:
            axis.axvline(refused_at_s - curves.began_s, color=_RED, linewidth=1.4)
            axis.annotate(
                "disk full",
                (refused_at_s - curves.began_s, max(sizes)),
                xytext=(-5, 8),
                textcoords="offset points",
                color=_RED,
                ha="right",
                fontsize=9,
            )
        _mark(axis, curves)
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xlabel("seconds")
    axes[0][0].set_ylabel("MiB")
    axes[0][0].legend(loc="lower right", fontsize=8, frameon=False)
    return save(figure, path)


def _draw_space(axis: "Axes", times: Sequence[float], sizes: Sequence[float], used: Sequence[float]) -> None:
    axis.step(times, sizes, where="post", color=_BLUE, linewidth=2, label="filesystem")
    axis.fill_between(times, used, color=_GREEN, alpha=0.25)
    axis.plot(times, used, color=_GREEN, linewidth=1.5, label="used")
    axis.set_ylim(0, max(sizes, default=1) * 1.2)
