"""A cluster for end-to-end tests of `resizer run` as a process: control plane and scripted driver, the rest real."""

import asyncio
import contextlib
import copy
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.client import Client
from resizer.devcluster.endpoint import CLAIMS, STORAGE_CLASSES, VOLUMES
from tests.control_plane import ControlPlane, control_plane
from tests.scripted_driver import Plan, ScriptedDriver

GROW_ARGUMENTS = ("--retry-interval-start=200ms", "--retry-interval-max=2s", "-v=5", "--log-format=json")
WITHIN_S = 60.0
"""How long to wait before a test is failed. No goal: a machine that starts many programs at once may be that slow."""
HTTP = "--http-endpoint=127.0.0.1:0"
"""Serve metrics and probes on a free port; `Rig.http` finds it in the log."""

STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "fast"},
    "provisioner": "scripted.csi.example.com",
    "allowVolumeExpansion": True,
}


class Rig:
    """One control plane, one scripted driver, and as many `resizer run` processes as a test wants."""

    def __init__(self, plane: ControlPlane, driver: ScriptedDriver, folder: Path) -> None:
        self.plane = plane
        self.client: Client = plane.client
        self.driver = driver
        self.folder = folder
        self.socket = folder / "csi.sock"
        self.kubeconfig = folder / "kubeconfig"
        self.processes: list[asyncio.subprocess.Process] = []

    @property
    def server(self) -> ApiServer:
        """The development API server; only for tests that run on it alone."""
        return self.plane.server

    async def start_resizer(
        self, *arguments: str, kubeconfig: Path | None = None, sockets: Sequence[Path] = (), **environment: str
    ) -> asyncio.subprocess.Process:
        """Start `resizer run` on this cluster; its log goes to the folder."""
        log = self._log_path(len(self.processes)).open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "resizer.cli.main",
            "run",
            f"--kubeconfig={kubeconfig or self.kubeconfig}",
            *(f"--csi-address={path}" for path in sockets or [self.socket]),
            *GROW_ARGUMENTS,
            *arguments,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )
        log.close()
        self.processes.append(process)
        return process

    def _log_path(self, number: int) -> Path:
        return self.folder / f"resizer-{number:03}.log"

    def logs(self) -> str:
        """Everything the processes have logged so far."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("resizer-*.log")))

    def log_text(self, process: asyncio.subprocess.Process) -> str:
        """Everything this process has written so far."""
        return self._log_path(self.processes.index(process)).read_text(errors="replace")

    def log_of(self, process: asyncio.subprocess.Process, event: str = "") -> list[dict[str, Any]]:
        """The log lines of this process, of one event if it is named."""
        lines = (line for line in self.log_text(process).splitlines() if line.startswith("{") and line.endswith("}"))
        return [line for line in map(json.loads, lines) if not event or line["event"] == event]

    async def wait_log(
        self,
        process: asyncio.subprocess.Process,
        event: str,
        *,
        count: int = 1,
        timeout_s: float = WITHIN_S,
        **fields: Any,
    ) -> dict[str, Any]:
        """Wait until this process has logged such an event so often; return the last of them."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            lines = self.log_of(process, event)
            found[:] = [line for line in lines if fields.items() <= line.items()]
            return len(found) >= count

        await self.until(is_there, f"{event} {fields} in the log of {process.pid}", timeout_s=timeout_s)
        return found[-1]

    async def until(self, holds: Callable[[], bool], what: str, *, timeout_s: float = WITHIN_S) -> None:
        """Wait until this holds; else fail with what was waited for, and the logs."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():  # noqa: ASYNC110 - what is waited for happens in other processes
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"never happened: {what}\n{self.logs()[-6000:]}") from None

    async def http(
        self, process: asyncio.subprocess.Process, path: str, *, timeout_s: float = WITHIN_S
    ) -> tuple[int, str]:
        """GET a path of a process that was started with HTTP: status and text."""
        port = (await self.wait_log(process, "http.serving"))["port"]
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
            session.get(f"http://127.0.0.1:{port}{path}") as response,
        ):
            return response.status, await response.text()

    async def wait_http(
        self, process: asyncio.subprocess.Process, path: str, status: int, *, timeout_s: float = WITHIN_S
    ) -> str:
        """Wait until a path answers with this status; return the text."""
        answer = 0, "nothing"
        try:
            async with asyncio.timeout(timeout_s):
                while answer[0] != status:
                    await asyncio.sleep(0.02)
                    answer = await self.http(process, path)
        except TimeoutError:
            raise AssertionError(f"{path} never answered {status}, last {answer}\n{self.logs()[-6000:]}") from None
        return answer[1]

    async def stop(self, process: asyncio.subprocess.Process, number: int = signal.SIGTERM) -> int:
        """Send this signal and wait for the end; return the exit code."""
        process.send_signal(number)
        async with asyncio.timeout(WITHIN_S):
            return await process.wait()

    def seed(self, name: str = "data", *, requested: str = "5Gi", capacity: str = "3Gi", driver: str = "") -> None:
        """Create claim and volume behind the socket, without status (see `bind`)."""
        claim = self.server.create("", "persistentvolumeclaims", claim_body(name, requested))
        driver = driver or self.driver.plan.name
        body = volume_body(name, capacity, driver=driver, claim_uid=claim["metadata"]["uid"])
        self.server.create("", "persistentvolumes", body)

    async def bind(self, name: str = "data", *, capacity: str = "3Gi") -> None:
        """Give the seeded claim the status of a bound one (a create drops status, as on a real server)."""
        status = {"phase": "Bound", "capacity": {"storage": capacity}, "accessModes": ["ReadWriteOnce"]}
        await self.client.patch_status(CLAIMS, name, status, namespace="default")

    async def place(self, name: str = "data", *, size: str = "3Gi", driver: str = "") -> None:
        """Create a bound claim `name` in `default` and its volume `pv-<name>`, as a provisioner would have."""
        claim = await self.client.create(CLAIMS, claim_body(name, size))
        driver = driver or self.driver.plan.name
        body = volume_body(name, size, driver=driver, claim_uid=claim["metadata"]["uid"])
        await self.client.create(VOLUMES, body)
        await self.bind(name, capacity=size)

    async def edit(self, name: str = "data", size: str = "5Gi") -> None:
        """Ask for more, as a person does."""
        wish = {"spec": {"resources": {"requests": {"storage": size}}}}
        await self.client.patch(CLAIMS, name, wish, namespace="default")

    async def claim(self, name: str = "data") -> dict[str, Any]:
        return await self.client.get(CLAIMS, name, namespace="default")

    async def volume(self, name: str = "data") -> dict[str, Any]:
        return await self.client.get(VOLUMES, f"pv-{name}")

    async def wait_claim(
        self, holds: Callable[[dict[str, Any]], bool], name: str = "data", *, timeout_s: float = WITHIN_S
    ) -> dict[str, Any]:
        """Wait until the claim is as `holds` wants it, and return it."""
        claim = await self.claim(name)
        try:
            async with asyncio.timeout(timeout_s):
                while not holds(claim):
                    await asyncio.sleep(0.01)
                    claim = await self.claim(name)
        except TimeoutError:
            raise AssertionError(f"claim never got there: {claim.get('status')}\n{self.logs()[-6000:]}") from None
        return claim


def claim_body(name: str, requested: str) -> dict[str, Any]:
    """A claim in `default` that names its volume."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": requested}},
            "volumeName": f"pv-{name}",
            "storageClassName": "fast",
        },
    }


def volume_body(name: str, capacity: str, *, driver: str, claim_uid: str) -> dict[str, Any]:
    """The volume of that claim."""
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "default", "name": name}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pv-{name}"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": capacity},
            "storageClassName": "fast",
            "persistentVolumeReclaimPolicy": "Delete",
            "csi": {"driver": driver, "volumeHandle": f"pv-{name}", "fsType": "ext4"},
            "claimRef": {**claim, "uid": claim_uid},
        },
        "status": {"phase": "Bound"},
    }


def is_grown_to(size: str) -> Callable[[dict[str, Any]], bool]:
    """The claim has this capacity, and nothing of a resize is left on it."""

    def holds(claim: dict[str, Any]) -> bool:
        status = claim["status"]
        return (
            status["capacity"]["storage"] == size
            and not status.get("allocatedResourceStatuses")
            and not status.get("conditions")
        )

    return holds


def awaits_node(size: str) -> Callable[[dict[str, Any]], bool]:
    """The controller's part is done for this size: the node's turn."""

    def holds(claim: dict[str, Any]) -> bool:
        status = claim["status"]
        return (
            status.get("allocatedResources", {}).get("storage") == size
            and status.get("allocatedResourceStatuses", {}).get("storage") == "NodeResizePending"
        )

    return holds


@contextlib.asynccontextmanager
async def running_rig(
    folder: Path, plan: Plan | None = None, *, plane: str = "development", bookmark_every_s: float = 60.0
) -> AsyncIterator[Rig]:
    """Run a control plane and a scripted driver; processes started in the rig are killed at the end."""
    driver = ScriptedDriver(plan or Plan(node_expansion_required=False))
    async with control_plane(plane, folder, bookmark_every_s=bookmark_every_s) as cluster:
        rig = Rig(cluster, driver, folder)
        cluster.write_kubeconfig(rig.kubeconfig)
        await cluster.client.create(STORAGE_CLASSES, copy.deepcopy(STORAGE_CLASS))
        async with driver.serve(f"unix://{rig.socket}"):
            try:
                yield rig
            finally:
                for process in rig.processes:
                    if process.returncode is None:
                        process.send_signal(signal.SIGKILL)
                        await process.wait()
