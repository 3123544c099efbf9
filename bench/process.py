"""Programs that a benchmark runs, and what they use: one guard for all benchmarks.

A program gets a session of its own, so that Ctrl-C is for the benchmark alone, which then ends its programs in the
order in which their blocks end. Should the benchmark itself be killed, Linux sends them SIGTERM. What they print goes
to a file, and its last lines into the error when one ends by itself.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG: Final = 1
_GRACE_S: Final = 40.0
"""Longest that a program may take to end: the driver lets go of its mounts meanwhile."""
_WAIT_S: Final = 120.0
"""Longest wait for one thing; a real kubelet was measured to take 82 s to grow a filesystem."""
_TAIL: Final = 12
"""Lines that are shown of what a program printed."""


class BenchError(Exception):
    """A benchmark cannot go on; the text says why."""


class Program:
    """A program that is running."""

    def __init__(self, process: asyncio.subprocess.Process, name: str, log: Path) -> None:
        self.pid = process.pid
        self._process = process
        self.name = name
        self._log = log

    def check(self) -> None:
        """Raise BenchError if it has ended by itself."""
        if self._process.returncode is not None:
            raise BenchError(f"{self.name} ended with {self._process.returncode}; {self.last_words()}")

    def last_words(self) -> str:
        """Return the end of what it has printed, as an error's text goes on."""
        return "\n  ".join(("its last words:", *self._log.read_text(errors="replace").splitlines()[-_TAIL:]))

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()

    def cpu_s(self) -> float:
        """User and system time so far, in seconds."""
        return cpu_s(self.pid)

    def waited_s(self) -> float | None:
        """Time for which its main thread was ready and others had the processors; None where that is not counted."""
        with contextlib.suppress(OSError):
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        return None

    def rss_mb(self) -> float:
        """Resident memory now, in MB."""
        return rss_mb(self.pid)

    def peak_mb(self) -> float:
        """Most resident memory so far, or since `forget_peak`, in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))

    def forget_peak(self) -> None:
        """Count the most resident memory from now on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6


@contextlib.asynccontextmanager
async def running(*command: str, log: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Program]:
    """Run a program for the block, with this environment added to ours."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        yield Program(process, " ".join(Path(word).name for word in command[:4]), log)
    finally:
        await _end(process)


async def until(
    holds: Callable[[], Awaitable[bool]],
    what: str,
    *programs: Program,
    look_every_s: float = 0.01,
    within_s: float = _WAIT_S,
) -> None:
    """Wait until this holds, as long as these programs run: files, mounts and other processes tell nobody.

    Raises BenchError, with what the programs printed last, if one of them ends or it does not hold in time.
    """
    try:
        async with asyncio.timeout(within_s):
            while not await holds():
                for program in programs:
                    program.check()
                await asyncio.sleep(look_every_s)
    except TimeoutError as error:
        said = "".join(f"\n{program.name}, {program.last_words()}" for program in programs)
        raise BenchError(f"waited {within_s:.0f} s in vain until {what}{said}") from error


def python(*arguments: str) -> tuple[str, ...]:
    """Return the command line that runs a module or a file with this interpreter."""
    return (sys.executable, *arguments)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # ended by itself
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _GRACE_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
