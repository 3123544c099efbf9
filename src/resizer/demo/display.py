"""What a person sees: a line for each stage as it is reached, then the tables. Nothing here decides anything.

With `--json` everything but the one object at the end is silent. Lines go out the moment they are known; on a
terminal the growth under way is a live table.
"""

from typing import Final

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from resizer.demo.result import Result
from resizer.demo.timeline import MEANING, STAGES, Timeline
from resizer.model.quantity import format_bytes

_GIB: Final = 1024**3


def duration_text(seconds: float) -> str:
    """A duration as short as it can be read."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def size_text(size_bytes: int) -> str:
    """A size in GiB with three digits, as whole as it is."""
    whole, rest = divmod(size_bytes, _GIB)
    return f"{whole} GiB" if not rest else f"{size_bytes / _GIB:.3f} GiB"


class Display:
    """Writes to one console; quiet when the result is to be JSON."""

    def __init__(self, console: Console, *, is_quiet: bool, is_single: bool) -> None:
        self._console = console
        self._is_quiet = is_quiet
        self._is_single = is_single
        self._live: Live | None = None
        self._shown: Timeline | None = None

    def note(self, text: str) -> None:
        """Say one line."""
        if not self._is_quiet:
            self._console.print(Text(text), soft_wrap=True)

    def begin(self, text: str, timeline: Timeline | None) -> None:
        """Announce a growth; `timeline` is the one to show live, None when there are many."""
        self.note(text)
        self._shown = timeline
        if timeline is not None and self._console.is_terminal and not self._is_quiet:
            self._live = Live(self._stages(timeline), console=self._console, refresh_per_second=20)
            self._live.start()
        elif timeline is not None:
            self.stage(timeline, STAGES[0])

    def stage(self, timeline: Timeline, stage: str) -> None:
        """Show that a stage is reached."""
        if timeline is not self._shown:
            return
        if self._live is not None:
            self._live.update(self._stages(timeline))
        else:
            self.note(f"  {stage:18}{'+' + duration_text(timeline.times_s[stage]):>10}   {MEANING[stage]}")

    def end(self) -> None:
        """Leave the live table as it stands."""
        if self._live is not None:
            self._live.stop()
        self._live, self._shown = None, None

    @staticmethod
    def _stages(timeline: Timeline) -> Table:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for stage in STAGES:
            reached = timeline.times_s.get(stage)
            mark = "·" if reached is None else "+" + duration_text(reached)
            style = "dim" if reached is None else "green"
            table.add_row(Text(stage, style=style), Text(mark, style=style, justify="right"), MEANING[stage])
        return table

    def result(self, result: Result) -> None:
        """Print the tables of a run, or its one JSON object."""
        if self._is_quiet:
            self._console.file.write(msgspec.json.encode(result).decode() + "\n")
            self._console.file.flush()
            return
        if self._is_single:
            self._console.print(_single_table(result))
        else:
            self._console.print(_many_table(result))
            self._most_at_once(result)
        for line in _writer_lines(result):
            self.note(line)
        self._console.print(Text(_explanation(result), style="dim"), soft_wrap=True)
        for growth in result.growths:
            if growth.fault:
                self._console.print(Text(f"{growth.claim}: {growth.fault}", style="red"), soft_wrap=True)

    def _most_at_once(self, result: Result) -> None:
        for line in result.metrics:
            self._console.print(Text(line), soft_wrap=True)
        for stage, count in sorted(result.inflight_most.items()):
            self.note(f"most claims in stage {stage} at one moment: {count}")


def _writer_lines(result: Result) -> list[str]:
    if result.writer is None:
        return ["writer: offline. With backend image nothing is mounted, so nothing can write"]
    writer = result.writer
    who = "writer" if result.claims == 1 else f"{result.claims} writers"
    errors = f"errors {writer.errors}" + (f" ({writer.first_error})" if writer.first_error else "")
    records = f"{writer.appends} records of 4 KiB, each with fsync, all read back at the end"
    return [f"{who}: {records}; {errors}; longest pause {duration_text(writer.longest_pause_s)}"]


def _single_table(result: Result) -> Table:
    """One column a growth."""
    table = Table(title=f"{result.filesystem}, backend {result.backend}")
    table.add_column("")
    for growth in result.growths:
        table.add_column(f"to {format_bytes(growth.asked_bytes)}", justify="right")
    rows = [
        ("asked", [size_text(growth.asked_bytes) for growth in result.growths]),
        ("granted", [size_text(growth.granted_bytes) for growth in result.growths]),
        ("device", [size_text(growth.device_bytes) for growth in result.growths]),
        (f"before, by {result.measured_by}", [size_text(growth.filesystem_before_bytes) for growth in result.growths]),
        (f"after, by {result.measured_by}", [size_text(growth.filesystem_after_bytes) for growth in result.growths]),
    ]
    for label, cells in rows:
        table.add_row(label, *cells)
    table.add_section()
    for stage in STAGES[1:]:
        times = [growth.stages_s.get(stage) for growth in result.growths]
        table.add_row(stage, *("-" if time is None else duration_text(time) for time in times))
    if any(growth.pod_restarts for growth in result.growths):
        table.add_row("restarts of the pod", *(str(growth.pod_restarts) for growth in result.growths))
    table.add_section()
    table.add_row("really grown", *("no" if growth.fault else "yes" for growth in result.growths))
    return table


def _many_table(result: Result) -> Table:
    """One row a size."""
    table = Table(title=f"{result.claims} claims, {result.filesystem}, backend {result.backend}")
    for column in ("asked", "grown", "first done", "median", "last done", f"least by {result.measured_by}"):
        table.add_column(column, justify="right")
    for asked in dict.fromkeys(growth.asked_bytes for growth in result.growths):
        growths = [growth for growth in result.growths if growth.asked_bytes == asked]
        times = sorted(growth.seconds for growth in growths)
        table.add_row(
            size_text(asked),
            f"{sum(not growth.fault for growth in growths)} of {result.claims}",
            *(duration_text(time) for time in (times[0], times[len(times) // 2], times[-1])),
            size_text(min(growth.filesystem_after_bytes for growth in growths)),
        )
    return table


def _explanation(result: Result) -> str:
    if result.measured_by == "superblock":
        return "The superblock counts everything; image and superblock are compared with what the claim was granted."
    return (
        "statvfs leaves out what a filesystem keeps for itself (XFS its log, ext4 its inode tables): the device is "
        "compared exactly, and of each growth statvfs must show 97 % or more."
    )
