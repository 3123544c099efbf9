"""What runs in the demo's pods: the writer, one process a pod, started and stopped by the kubelet-like part.

With backend `image` nothing is mounted, so nothing could write to the filesystem: no process is started then, and
the report says "offline" in its place.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from resizer.demo import writer
from resizer.demo.choice import Choice

_STOP_TIMEOUT_S: Final = 20.0
_INTERVAL_S: Final = 0.005


class WriterReport(msgspec.Struct, frozen=True):
    """What a writer has said last."""

    appends: int = 0
    errors: int = 0
    first_error: str = ""
    longest_pause_s: float = 0.0

    def joined(self, other: "WriterReport") -> "WriterReport":
        """Both together, as of two pods of one claim after one another."""
        return WriterReport(
            self.appends + other.appends,
            self.errors + other.errors,
            self.first_error or other.first_error,
            max(self.longest_pause_s, other.longest_pause_s),
        )


class _Running:
    """A writer's process and the task that reads what it says."""

    def __init__(self, claim: str, process: asyncio.subprocess.Process) -> None:
        self.claim = claim
        self.process = process
        self.report = WriterReport()
        self.reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Keep the last report until the process ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            with contextlib.suppress(msgspec.DecodeError):
                self.report = msgspec.json.decode(line, type=WriterReport)
        await self.process.wait()


class Pods:
    """The containers of all pods; `Containers` of the development cluster. `claims` is how many share the disk."""

    def __init__(self, *, is_mounted: bool, claims: int = 1) -> None:
        self._is_mounted = is_mounted
        self._interval_s = _INTERVAL_S * claims
        self._running: dict[str, _Running] = {}
        self._ended: dict[str, WriterReport] = {}
        self.paths: dict[str, Path] = {}

    @classmethod
    def factory(cls, *, claims: int) -> Callable[[Choice, Path], "Pods"]:
        """Return what makes them once it is known what is mounted."""
        return lambda choice, _: cls(is_mounted=choice.backend == "loop", claims=claims)

    async def start(self, pod: dict[str, Any], volumes: dict[str, Path]) -> None:
        """Start the pod's writer on its one volume."""
        uid = pod["metadata"]["uid"]
        ((claim, path),) = volumes.items()
        self.paths[claim] = path
        if not self._is_mounted or uid in self._running:
            return
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            writer.__file__,
            str(path / "data"),
            str(self._interval_s),
            str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            cwd="/",
        )
        running = _Running(claim, process)
        running.reading = asyncio.create_task(running.read())
        self._running[uid] = running

    async def stop(self, uid: str) -> None:
        """Stop the pod's writer, let it read its records back, and keep its last report."""
        running = self._running.pop(uid, None)
        if running is None:
            return
        assert running.reading is not None
        with contextlib.suppress(ProcessLookupError):
            running.process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await running.reading
        except TimeoutError:
            running.process.kill()
            await running.process.wait()
        report = running.report
        if running.process.returncode != 0:
            text = f"the writer ended with {running.process.returncode}"
            report = report.joined(WriterReport(errors=1, first_error=text))
        self._ended[running.claim] = self._ended.get(running.claim, WriterReport()).joined(report)

    async def stop_all(self) -> None:
        """Stop every writer."""
        async with asyncio.TaskGroup() as group:
            for uid in list(self._running):
                group.create_task(self.stop(uid))

    def report(self, claim: str) -> WriterReport | None:
        """How the writer on that claim does, or did; None where nothing is mounted."""
        if not self._is_mounted:
            return None
        report = self._ended.get(claim, WriterReport())
        for running in self._running.values():
            if running.claim == claim:
                report = report.joined(running.report)
        return report
