"""Where a benchmark takes place: a filled API server, a scripted driver and the resizer, each a process of its own.

async with running_rig(Seed(claims=1000)) as rig, rig.resizer(ours()) as resizer:
    ...
    resizer.program.cpu_s(); await rig.requests()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bench.contender import Contender
from bench.objects import Seed
from bench.process import Program, python, running, until
from bench.server import MEASURED_USER
from resizer.devcluster.client import Client


@dataclass(frozen=True, slots=True)
class Resizer:
    """The resizer that is measured, and what it says of itself."""

    program: Program
    url: str

    async def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        async with aiohttp.ClientSession() as session:
            await until(lambda: _is_ok(session, f"{self.url}/readyz"), "the resizer is ready", self.program)

    async def buckets(self, metric: str) -> dict[float, float]:
        """Return a histogram without labels: upper bound to count."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        samples = families[metric].samples
        return {float(s.labels["le"]): s.value for s in samples if s.name == f"{metric}_bucket"}


class Rig:
    """The parts around the resizer, running."""

    def __init__(self, folder: Path, client: Client, programs: tuple[Program, ...]) -> None:
        self.client = client
        self.folder = folder
        self._programs = programs

    @contextlib.asynccontextmanager
    async def resizer(self, contender: Contender, *flags: str, lifted: bool = True) -> AsyncIterator[Resizer]:
        """Run what is measured for the block, from the moment it is started."""
        port = free_port()
        command = (
            *contender.command,
            f"--kubeconfig={self.folder / 'resizer.kubeconfig'}",
            f"--csi-address={self.folder / 'csi.sock'}",
            f"--http-endpoint=127.0.0.1:{port}",
            *contender.flags(lifted=lifted),
            *flags,
        )
        log, environment = self.folder / "resizer.log", dict(contender.environment)
        async with running(*command, log=log, env=environment) as program:
            yield Resizer(program, f"http://127.0.0.1:{port}")
            program.check()

    def check(self) -> None:
        """Raise BenchError if the server or the driver has ended."""
        for program in self._programs:
            program.check()

    async def forget_requests(self) -> None:
        """Count the requests from now on."""
        await self.client.call("DELETE", "/admin/audit")

    async def requests(self, **wanted: str) -> list[dict[str, Any]]:
        """Return what the measured program has asked the server, as the server's audit has it."""
        found = await self.client.call("GET", "/admin/audit", query={"user": MEASURED_USER, **wanted})
        return list(found["records"])


@contextlib.asynccontextmanager
async def running_rig(seed: Seed, **plan: Any) -> AsyncIterator[Rig]:
    """Start server and driver; the driver's plan (tests/scripted_driver.py) grows without the node unless it says."""
    async with contextlib.AsyncExitStack() as stack:
        _remove_leftovers(Path(tempfile.gettempdir()))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{os.getpid()}-")))
        written = folder / "plan.json"
        written.write_text(json.dumps({"node_expansion_required": False, **plan}))
        asked = python("-m", "bench.server", "--folder", str(folder), "--seed", json.dumps(asdict(seed)))
        server = await stack.enter_async_context(running(*asked, log=folder / "server.log"))
        endpoint = f"unix://{folder / 'csi.sock'}"
        asked = python("-m", "tests.scripted_driver", "--endpoint", endpoint, "--plan", str(written))
        driver = await stack.enter_async_context(running(*asked, log=folder / "driver.log"))
        kubeconfig = folder / "admin.kubeconfig"

        async def are_there() -> bool:
            return await asyncio.to_thread(lambda: kubeconfig.exists() and (folder / "csi.sock").exists())

        await until(are_there, "API server and driver are there", server, driver)
        client = await stack.enter_async_context(Client.from_kubeconfig(kubeconfig, connections=50))
        yield Rig(folder, client, (server, driver))


def _remove_leftovers(parent: Path) -> None:
    """Remove the folders of benchmarks that were killed: each has its process' number in its name."""
    for folder in parent.glob("bench-[0-9]*-*"):
        number = folder.name.split("-")[1]
        if number.isdigit() and not _is_running(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _is_ok(session: aiohttp.ClientSession, url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get(url) as answer:
            return answer.status == 200
    return False


def free_port() -> int:
    """Return a TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
