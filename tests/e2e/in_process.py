"""`resizer run` within the test's own process: its log lines, its pages, and what a kubelet would do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from structlog.testing import capture_logs

from resizer.app import run_pipeline
from resizer.devcluster.endpoint import CLAIMS, PODS
from resizer.settings import load_settings
from tests.e2e.rig import Rig


class Pipeline:
    """`resizer run` within the test's own process, for its log and its pages."""

    def __init__(self, port: int, lines: list) -> None:
        self.port = port
        self._lines = lines

    def log(self, event: str, **fields) -> list:
        """The log lines of one event."""
        return [line for line in self._lines if line["event"] == event and fields.items() <= line.items()]

    async def get(self, path: str) -> tuple[int, str]:
        """GET a path."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()

    async def wait_get(self, path: str, holds) -> tuple[int, str]:
        """Wait until the answer of a path is as `holds` wants it."""
        async with asyncio.timeout(10):
            while not holds(answer := await self.get(path)):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.02)
        return answer

    async def wait_log(self, event: str, **fields) -> dict:
        """Wait until such a line was logged."""
        async with asyncio.timeout(10):
            while not self.log(event, **fields):  # noqa: ASYNC110 - a list is filled by whoever logs
                await asyncio.sleep(0.01)
        return self.log(event, **fields)[-1]


@contextlib.asynccontextmanager
async def pipeline_in_process(rig: Rig, **settings: Any) -> AsyncIterator[Pipeline]:
    """Run the pipeline with leader election and HTTP until the block ends."""
    chosen = {
        "kubeconfig": str(rig.kubeconfig),
        "csi_address": str(rig.socket),
        "http_endpoint": "127.0.0.1:0",
        "retry_interval_start": "100ms",
        "retry_interval_max": "1s",
        "leader_election": True,
        **settings,
    }
    stop = asyncio.Event()
    with capture_logs() as lines:
        running = asyncio.create_task(run_pipeline(load_settings(chosen), stop=stop))
        try:
            pipeline = Pipeline(0, lines)
            pipeline.port = (await pipeline.wait_log("http.serving"))["port"]
            yield pipeline
        finally:
            stop.set()
            await running


async def running_pod(rig: Rig) -> None:
    """Have a pod `db` run on node-1 that mounts the claim `data`."""
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    spec = {"nodeName": "node-1", "containers": [{"name": "db", "image": "db"}], "volumes": volumes}
    await rig.client.create(PODS, {"metadata": {"name": "db", "namespace": "default"}, "spec": spec})
    await rig.client.patch_status(PODS, "db", {"phase": "Running"}, namespace="default")


async def act_as_node(rig: Rig, claim: dict, size: str) -> None:
    """Finish a claim as the kubelet does."""
    done = {"capacity": {"storage": size}, "allocatedResourceStatuses": None, "conditions": None}
    await rig.client.patch_status(CLAIMS, claim["metadata"]["name"], done, namespace="default")
