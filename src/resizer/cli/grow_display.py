"""What a person sees of a run: progress bars on a terminal, one line a change everywhere else."""

from typing import Final, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from resizer.cli.grow_plan import Entry
from resizer.model.quantity import format_bytes

_STEPS: Final = {"Asked": 1, "Controller": 2, "ControllerRefused": 2, "NodePending": 3, "Node": 4, "NodeRefused": 4}
_ALL: Final = 5


class Lines:
    """One line a change on standard output."""

    def asked(self, entry: Entry) -> None:
        """Tell that it asks for its new size."""
        already, has = (" already", "has") if entry.is_asked else ("", "had")
        before = f"{has} {format_bytes(entry.claim.capacity_bytes)}"
        if entry.claim.capacity_bytes < entry.from_bytes and not entry.is_asked:
            before = f"asked for {format_bytes(entry.from_bytes)}, {before}"
        typer.echo(f"{entry.claim.key}: asks{already} for {entry.to_text} ({before})")

    def moved(self, entry: Entry, phase: str) -> None:
        """Tell the phase."""
        typer.echo(f"{entry.claim.key}: {phase}")

    def grown(self, entry: Entry) -> None:
        """Tell that it has its new size."""
        typer.echo(f"{entry.claim.key}: has {entry.to_text}")

    def failed(self, entry: Entry, why: str) -> None:
        """Tell why not."""
        typer.echo(f"{entry.claim.key}: {why}", err=True)


class Bars:
    """A bar for each claim under way, and one for the whole. A context manager."""

    def __init__(self, console: Console, *, claims: int) -> None:
        name = TextColumn("{task.description}", markup=False)
        phase = TextColumn("{task.fields[phase]}", markup=False)
        self._progress = Progress(name, BarColumn(), phase, TimeElapsedColumn(), console=console)
        self._total = self._progress.add_task(f"{claims} claims", total=claims, phase="")
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def asked(self, entry: Entry) -> None:
        """Begin the claim's bar."""
        label = f"{entry.claim.key} {format_bytes(entry.from_bytes)} -> {entry.to_text}"
        self._tasks[entry.claim.key] = self._progress.add_task(label, total=_ALL, completed=1, phase="Asked")

    def moved(self, entry: Entry, phase: str) -> None:
        """Move the claim's bar."""
        self._progress.update(self._tasks[entry.claim.key], completed=_STEPS.get(phase, 1), phase=phase)

    def grown(self, entry: Entry) -> None:
        """Complete the claim's bar."""
        self._progress.update(self._tasks[entry.claim.key], completed=_ALL, phase="grown")
        self._progress.advance(self._total)

    def failed(self, entry: Entry, why: str) -> None:
        """Say why not, above the bars."""
        if entry.claim.key in self._tasks:
            self._progress.update(self._tasks[entry.claim.key], phase="failed")
        self._progress.console.print(f"{entry.claim.key}: {why}", markup=False, highlight=False)
        self._progress.advance(self._total)
