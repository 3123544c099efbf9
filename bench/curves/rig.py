"""Runs the programs of one point of a curve, and reads what each has cost from the kernel's books.

CPU is the time on a core that the scheduler has noted for each thread (`schedstat`, nanoseconds), which neighbours on
the machine disturb far less than seconds on the clock. The same line tells how long a thread was ready and waited for
a core: a program whose main thread runs or waits all the time is the bottleneck, however busy the machine is with
others. Every program ends with its block, also on Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import process
from bench.curves.drivers import ready_path, socket_path
from bench.curves.world import orders_path
from bench.process import BenchError, Program, python

_START_S = 300.0
_QUIET_S = 0.5
_QUIET_CPU_S = 0.015
_MOST_LINE_BYTES = 1 << 24


def cpu_s(pid: int) -> float:
    """CPU time of all living threads of a process so far, in seconds."""
    total_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that ends now
            total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def busy_s(pid: int) -> float:
    """Seconds that a process' main thread (its event loop) has run or has waited for a core."""
    running_ns, waiting_ns, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return (int(running_ns) + int(waiting_ns)) / 1e9


def machine_s() -> float:
    """CPU time that all cores have spent on anything, in seconds."""
    fields = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """What one program has used, in seconds."""

    cpu: float = 0.0
    busy: float = 0.0

    def minus(self, before: Used) -> Used:
        """What it has used since."""
        return Used(self.cpu - before.cpu, self.busy - before.busy)


@dataclass(frozen=True)
class Cost:
    """What the programs and the whole machine have used between two looks, in seconds."""

    wall: float
    resizer: Used
    api_server: Used
    driver: Used
    machine: float

    def shares(self) -> dict[str, float]:
        """Percent of one core, by program; and what everybody else on the machine took."""
        parts = {"resizer": self.resizer, "api_server": self.api_server, "driver": self.driver}
        ours = sum(used.cpu for used in parts.values())
        return {
            **{f"{name}_cpu_percent": round(100 * used.cpu / self.wall, 2) for name, used in parts.items()},
            **{f"{name}_busy_percent": round(100 * used.busy / self.wall, 2) for name, used in parts.items()},
            "others_cpu_percent": round(100 * max(self.machine - ours, 0) / self.wall, 2),
        }


class Rig:
    """API server and drivers, running; resizers come and go."""

    def __init__(self, folder: Path, server: Program, drivers: Program, driver_count: int) -> None:
        self.driver_count = driver_count
        self._folder = folder
        self._server = server
        self._drivers = drivers
        self._resizer: Program | None = None
        self._said: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def tell(self, **order: Any) -> dict[str, Any]:
        """Give the world one order and wait for its answer."""
        if self._said is None:
            path = str(orders_path(self._folder))
            self._said = await asyncio.open_unix_connection(path, limit=_MOST_LINE_BYTES)
        reader, writer = self._said
        writer.write(json.dumps(order).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
        if not line:
            self._server.check()
            raise BenchError("the API server of the curves hung up")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._said is not None:
            self._said[1].close()

    @contextlib.asynccontextmanager
    async def running_resizer(self, *options: str) -> AsyncIterator[Program]:
        """Run the resizer for the block; it is there at once, not when it is ready."""
        sockets = [f"--csi-address={socket_path(self._folder, n)}" for n in range(self.driver_count)]
        kubeconfig = f"--kubeconfig={self._folder / 'kubeconfig'}"
        command = python("-m", "resizer.cli.main", "run", kubeconfig, "--log-format=json", *sockets, *options)
        async with process.running(*command, log=self._folder / "resizer.log") as program:
            self._resizer = program
            try:
                yield program
            finally:
                self._resizer = None
            program.check()

    def look(self) -> Cost:
        """Read the books: what each program has used since its start."""
        resizer = Used() if self._resizer is None else _used(self._resizer.pid)
        return Cost(time.monotonic(), resizer, _used(self._server.pid), _used(self._drivers.pid), machine_s())

    def since(self, before: Cost) -> Cost:
        """What has been used since that look."""
        now = self.look()
        return Cost(
            now.wall - before.wall,
            now.resizer.minus(before.resizer),
            now.api_server.minus(before.api_server),
            now.driver.minus(before.driver),
            now.machine - before.machine,
        )

    async def wait_quiet(self) -> None:
        """Wait until the resizer has nothing left to do (events go out after the growth they tell of)."""
        assert self._resizer is not None
        most_s = _QUIET_CPU_S + 0.01 * self.driver_count * _QUIET_S
        while True:
            self._resizer.check()
            before = cpu_s(self._resizer.pid)
            await asyncio.sleep(_QUIET_S)
            if cpu_s(self._resizer.pid) - before < most_s:
                return


def _used(pid: int) -> Used:
    return Used(cpu_s(pid), busy_s(pid))


@contextlib.asynccontextmanager
async def running(*, claims: int, drivers: int = 1) -> AsyncIterator[Rig]:
    """Run an API server with so many claims, and the drivers."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-curves-")))
        here, numbers = ("--folder", str(folder)), ("--claims", str(claims), "--drivers", str(drivers))
        world = python("-m", "bench.curves.world", *here, *numbers)
        server = await stack.enter_async_context(process.running(*world, log=folder / "world.log"))
        given = python("-m", "bench.curves.drivers", *here, "--count", str(drivers))
        served = await stack.enter_async_context(process.running(*given, log=folder / "drivers.log"))
        await _wait_ready(folder, server, served)
        rig = Rig(folder, server, served, drivers)
        stack.callback(rig.close)
        yield rig


async def _wait_ready(folder: Path, *programs: Program) -> None:
    ends = time.monotonic() + _START_S
    while not (orders_path(folder).exists() and ready_path(folder).exists()):
        for program in programs:
            program.check()
        if time.monotonic() > ends:
            raise BenchError(f"API server and drivers did not start within {_START_S:.0f} s; try fewer --points")
        await asyncio.sleep(0.05)
