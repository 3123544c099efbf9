"""A load on a database: a process of its own, and what it said of every transaction and every insert.

The loads write one line for each (see `query.lua`, `fill.lua`, `sqlite_load.py`, which speak alike), with times of
the monotonic clock that this process reads too. What is kept here is raw; `figures` makes numbers of it.
"""

import asyncio
import contextlib
from array import array
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from resizer.demo.workload.program import kill_program, start_program

_END_WITHIN_S: Final = 20.0
_KEPT_ERRORS: Final = 20
_LAST_WORDS: Final = 200


class Log:
    """What a load has said. Times and durations in seconds, side by side; `acknowledged_rows` is the inserter's own."""

    def __init__(self) -> None:
        self.ended_s = array("d")
        self.took_s = array("d")
        self.acknowledged_rows = 0
        self.errors = 0
        self.error_texts: list[str] = []
        self.refused_at_s: float | None = None
        self.refusal = ""

    def take(self, line: str) -> None:
        """Take one line; any other than the four kinds is sysbench's own and left alone."""
        kind, _, rest = line.partition(" ")
        with contextlib.suppress(ValueError):  # not one of ours after all
            if kind == "q":
                at, took = rest.split()
                self._add(float(at), float(took))
            elif kind == "i":
                at, took, rows = rest.split()
                self._add(float(at), float(took))
                self.acknowledged_rows += int(rows)
            elif kind in {"e", "x"}:
                at, _, words = rest.partition(" ")
                self._fail(float(at), words, is_end=kind == "x")

    def _add(self, at: float, took: float) -> None:
        self.ended_s.append(at)
        self.took_s.append(took)

    def _fail(self, at: float, words: str, *, is_end: bool) -> None:
        self.errors += 1
        if len(self.error_texts) < _KEPT_ERRORS:
            self.error_texts.append(words)
        if is_end:
            self.refused_at_s, self.refusal = at, words


class Load:
    """A load that runs. `stopped` is set when its process has ended."""

    def __init__(self, process: Process, *, name: str, stop_file: Path, words: Path) -> None:
        """`words` is where the program's standard error goes."""
        self.log = Log()
        self.stopped = asyncio.Event()
        self._name = name
        self._words = words
        self._process = process
        self._stop_file = stop_file
        self._is_asked = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: Sequence[str], *, name: str, stop_file: Path, folder: Path) -> "Load":
        """Start the load's program; it ends when `stop_file` is there."""
        words = folder / f"{name}.err"
        with words.open("wb") as err:
            process = await start_program(command, folder=folder, out=PIPE, err=err)
        return cls(process, name=name, stop_file=stop_file, words=words)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.log.take(line.decode(errors="replace").rstrip("\n"))
        await self._process.wait()
        if not self._is_asked and self.log.refused_at_s is None:
            words = " ".join(self._words.read_text(errors="replace").split())[-_LAST_WORDS:]
            self.log.take(f"e 0 {self._name} ended by itself with {self._process.returncode}: {words}")
        self.stopped.set()

    async def stop(self) -> None:
        """Let the transaction under way finish, and end; by force when that takes too long."""
        self._is_asked = True
        self._stop_file.touch()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await asyncio.shield(self._reading)
        except TimeoutError:
            self.log.take(f"e 0 {self._name} did not end when asked")
            await self.kill()

    async def kill(self) -> None:
        """End it at once, if it runs."""
        self._is_asked = True
        await kill_program(self._process)
        await self._reading
