"""The table at the end, for a person; the report has the same figures with their curves."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resizer.demo.display import duration_text, size_text
from resizer.demo.workload.outcome import Comparison, MysqlResult, Run, Side
from resizer.model.quantity import format_bytes


def print_result(console: Console, result: MysqlResult) -> None:
    """Print the figures of all runs, the comparison, and where the report lies."""
    for number, run in enumerate(result.runs, 1):
        console.print(_run_table(run, title=_title(result, number)))
        for line in _run_lines(run):
            console.print(Text(line), soft_wrap=True)
    if result.medians is not None and len(result.runs) > 1:
        console.print(_medians_table(result))
    if result.comparison is not None:
        for line in comparison_lines(result.comparison):
            console.print(Text(line), soft_wrap=True)
    console.print(Text(honest_sentence(result), style="dim"), soft_wrap=True)
    if result.report:
        console.print(Text(f"report: {result.report}"), soft_wrap=True)


def _title(result: MysqlResult, number: int) -> str:
    which = f", run {number} of {len(result.runs)}" if len(result.runs) > 1 else ""
    return f"{result.database}, {result.filesystem}, claim {result.claim}{which}"


def growth_rows(run: Run) -> list[tuple[str, list[str]]]:
    """The table's rows, a cell a growth; the report shows the same."""
    growths = run.growths
    felt = [one.disturbance for one in growths if one.disturbance is not None]
    return [
        ("edit to new size seen by the database", [duration_text(one.seen_after_s) for one in growths]),
        ("edit to claim done", [duration_text(one.done_after_s) for one in growths]),
        ("filesystem before, by statvfs", [size_text(one.filesystem_before_bytes) for one in growths]),
        ("filesystem after, by statvfs", [size_text(one.filesystem_after_bytes) for one in growths]),
        ("queries/s before", [f"{one.before.qps:,.0f}" for one in felt]),
        ("queries/s around the growth", [f"{one.around.qps:,.0f}" for one in felt]),
        ("queries/s after", [f"{one.after.qps:,.0f}" for one in felt]),
        ("queries/s in the second after the edit", [f"{one.first_second.qps:,.0f}" for one in felt]),
        ("kept: around / before", [f"{one.kept_share:.1%}" for one in felt]),
        ("p95 before / around", [_pair(one.before.p95_s, one.around.p95_s) for one in felt]),
        ("p99 before / around", [_pair(one.before.p99_s, one.around.p99_s) for one in felt]),
        (
            "longest wait of a client before / around",
            [_pair(one.before.longest_s, one.around.longest_s) for one in felt],
        ),
        ("really grown", [one.fault or "yes" for one in growths]),
    ]


def _pair(before_s: float, around_s: float) -> str:
    return f"{duration_text(before_s)} / {duration_text(around_s)}"


def _run_table(run: Run, *, title: str) -> Table:
    table = Table(title=title)
    table.add_column("")
    for growth in run.growths:
        table.add_column(f"to {format_bytes(growth.asked_bytes)}", justify="right")
    for label, cells in growth_rows(run):
        table.add_row(label, *cells)
    return table


def _run_lines(run: Run) -> list[str]:
    return [rows_line(run), watched_line(run)]


def rows_line(run: Run) -> str:
    """Errors and rows in one line."""
    errors = f"{run.errors} client errors" + (f" ({run.error_texts[0]})" if run.error_texts else "")
    rows = run.rows
    return (
        f"{errors}; {run.queries:,} queries; rows acknowledged {rows.acknowledged:,}, counted {rows.counted:,}, "
        f"damaged {rows.wrong}; {rows.verdict}; longest wait of a client in the whole run "
        f"{duration_text(run.longest_s)}"
    )


def watched_line(run: Run) -> str:
    """What Prometheus saw in one line."""
    seen = run.prometheus
    if not seen.targets:
        return seen.note
    firing = ", ".join(seen.alerts_firing) or "none"
    line = (
        f"Prometheus: {seen.targets_up} of {seen.targets} targets up, {seen.samples:,} samples, {seen.resizes} resizes "
        f"seen, {seen.alerts_loaded} alerts loaded, firing: {firing}"
    )
    return f"{line}; {seen.note}" if seen.note else line


def _medians_table(result: MysqlResult) -> Table:
    """All runs, a row each, and their median."""
    assert result.medians is not None
    table = Table(title="all runs")
    table.add_column("run")
    for growth in result.runs[0].growths:
        size = format_bytes(growth.asked_bytes)
        table.add_column(f"{size}: seen after", justify="right")
        table.add_column(f"{size}: queries kept", justify="right")
    table.add_column("errors", justify="right")
    for number, run in enumerate(result.runs, 1):
        cells = [
            cell
            for one in run.growths
            for cell in (
                duration_text(one.seen_after_s),
                f"{one.disturbance.kept_share:.1%}" if one.disturbance else "-",
            )
        ]
        table.add_row(str(number), *cells, str(run.errors))
    middle = [
        cell
        for seen_s, kept in zip(result.medians.seen_after_s, result.medians.kept_share, strict=True)
        for cell in (duration_text(seen_s), f"{kept:.1%}")
    ]
    table.add_section()
    table.add_row("median", *middle, str(sum(run.errors for run in result.runs)))
    return table


def comparison_lines(comparison: Comparison) -> list[str]:
    """What became of the two filesystems that were too small."""
    left, grown = comparison.left_alone, comparison.grown_in_time
    alone = f"left alone: {left.refusal} after {left.refused_after_s or 0:.1f} s ({left.disk_full_words})"
    in_time = (
        f"edited at {grown.edited_at_share:.0%}: {grown.refusal or 'no insert refused'}, "
        f"{grown.query_errors} queries failed"
    )
    lines = [f"{alone}; {_side_rows(left)}", f"{in_time}; {_side_rows(grown)}"]
    return [*lines, f"not as it should be: {comparison.fault}"] if comparison.fault else lines


def _side_rows(side: Side) -> str:
    return f"rows acknowledged {side.rows.acknowledged:,}, counted {side.rows.counted:,}; {side.rows.verdict}"


def honest_sentence(result: MysqlResult) -> str:
    """What this machine can show, and what it cannot."""
    return (
        "What this shows: that a growth is no event for the database, on this machine, which compares the rate with "
        "itself. What it cannot: how fast a database is (database, clients, driver and Prometheus share these "
        f"processors, and the disk is a sparse file in the page cache), how {format_bytes(result.size_bytes)} of real "
        "data behave (a few hundred MiB are written), or how long a storage back-end takes to grow a volume: a driver "
        "that calls a cloud takes seconds of its own, while the database goes on as it does here."
    )
