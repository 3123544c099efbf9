"""A real Prometheus and a real Alertmanager (Debian's packages) beside the program, on free ports, in a test's folder.

    async with running_prometheus(folder, targets={"resizer": port}, rules=[path], alertmanager=port) as prometheus:
        await prometheus.wait_scraped(count=3)
        series = await prometheus.query("up")

Both are asked over their own HTTP interfaces; nothing of them is simulated. They are killed when the block ends.
"""

import asyncio
import contextlib
import shutil
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

PROGRAMS = ("prometheus", "prometheus-alertmanager")
_missing = [name for name in PROGRAMS if shutil.which(name) is None]
NEEDS_PROMETHEUS = pytest.mark.skipif(
    bool(_missing), reason=f"{' and '.join(_missing)} missing (Debian packages of these names)"
)
START_WITHIN_S = 20.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """A running server, asked over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """Series of an instant query; an error of the server fails the test."""
        return await self._ask("query", {"query": expr})

    async def query_range(self, expr: str, *, since_s: float, step_s: float = 1.0) -> list[dict[str, Any]]:
        """Series of a range query from `since_s` (Unix seconds) to now."""
        span = {"start": str(since_s), "end": str(time.time()), "step": str(step_s)}
        return await self._ask("query_range", {"query": expr, **span})

    async def wait(self, expr: str, *, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """Wait until this query has an answer."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (series := await self.query(expr)):  # noqa: ASYNC110 -- another program's state
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"no data for {expr}") from None
        return series

    async def _ask(self, path: str, form: Mapping[str, str]) -> list[dict[str, Any]]:
        async with self._session.post(f"{self.url}/api/v1/{path}", data=form) as response:
            answer = await response.json()
        assert answer["status"] == "success", (form["query"], answer)
        return answer["data"]["result"]


@contextlib.asynccontextmanager
async def running_prometheus(
    folder: Path, *, targets: Mapping[str, int], rules: Sequence[Path] = (), alertmanager: int | None = None
) -> AsyncIterator[Prometheus]:
    """Scrape 127.0.0.1 at these ports, by job, once a second, and evaluate the rules as often."""
    port = free_port()
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [
            {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{at}"]}]}
            for job, at in targets.items()
        ],
    }
    if alertmanager is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]}
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    arguments = (
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",
        "--log.level=warn",
    )
    url = f"http://127.0.0.1:{port}"
    async with (
        _running("prometheus", arguments, folder, ready=f"{url}/-/ready"),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
    ):
        yield Prometheus(url, session)


@contextlib.asynccontextmanager
async def running_alertmanager(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[int]:
    """Run an Alertmanager with this configuration; yields its port."""
    port = free_port()
    path = folder / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    arguments = (
        f"--config.file={path}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=warn",
    )
    async with _running("prometheus-alertmanager", arguments, folder, ready=f"http://127.0.0.1:{port}/-/ready"):
        yield port


@contextlib.asynccontextmanager
async def _running(program: str, arguments: Sequence[str], folder: Path, *, ready: str) -> AsyncIterator[None]:
    log = folder / f"{program}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=out, stderr=out, cwd=folder)
    try:
        await _wait_ready(process, ready, log)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _wait_ready(process: asyncio.subprocess.Process, url: str, log: Path) -> None:
    def written() -> str:
        return log.read_text(errors="replace")[-3000:]

    try:
        async with asyncio.timeout(START_WITHIN_S), aiohttp.ClientSession() as session:
            while True:
                assert process.returncode is None, written()
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(url) as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{url} never became ready: {written()}") from None
