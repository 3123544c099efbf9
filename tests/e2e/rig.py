"""A cluster for end-to-end tests of `resizer run` as a process: API server and scripted driver here, the rest real."""

import asyncio
import contextlib
import copy
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.client import Client
from resizer.devcluster.endpoint import CLAIMS, VOLUMES
from tests.scripted_driver import Plan, ScriptedDriver

GROW_ARGUMENTS = ("--retry-interval-start=200ms", "--retry-interval-max=2s", "-v=5", "--log-format=json")


STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "fast"},
    "provisioner": "scripted.csi.example.com",
    "allowVolumeExpansion": True,
}


class Rig:
    """One API server, one scripted driver, and as many `resizer run` processes as a test wants."""

    def __init__(self, server: ApiServer, client: Client, driver: ScriptedDriver, folder: Path) -> None:
        self.server = server
        self.client = client
        self.driver = driver
        self.folder = folder
        self.socket = folder / "csi.sock"
        self.kubeconfig = folder / "kubeconfig"
        self.processes: list[asyncio.subprocess.Process] = []

    async def start_resizer(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """Start `resizer run` on this cluster; its log goes to the folder."""
        log = (self.folder / f"resizer-{len(self.processes)}.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "resizer.cli.main",
            "run",
            f"--kubeconfig={self.kubeconfig}",
            f"--csi-address={self.socket}",
            *GROW_ARGUMENTS,
            *arguments,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )
        log.close()
        self.processes.append(process)
        return process

    def logs(self) -> str:
        """Everything the processes have logged so far."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("resizer-*.log")))

    def seed(self, name: str = "data", *, requested: str = "5Gi", capacity: str = "3Gi", driver: str = "") -> None:
        """Create a bound claim `name` in `default` and its volume `pv-<name>`, as a provisioner would have."""
        volume, uid = f"pv-{name}", str(uuid.uuid4())
        claim = self.server.create(
            "",
            "persistentvolumeclaims",
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": "default", "uid": uid},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": requested}},
                    "volumeName": volume,
                    "storageClassName": "fast",
                },
            },
        )
        self.server.create(
            "",
            "persistentvolumes",
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": volume},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": capacity},
                    "storageClassName": "fast",
                    "persistentVolumeReclaimPolicy": "Delete",
                    "csi": {"driver": driver or self.driver.plan.name, "volumeHandle": volume, "fsType": "ext4"},
                    "claimRef": {
                        "apiVersion": "v1",
                        "kind": "PersistentVolumeClaim",
                        "namespace": "default",
                        "name": name,
                        "uid": claim["metadata"]["uid"],
                    },
                },
                "status": {"phase": "Bound"},
            },
        )

    async def bind(self, name: str = "data", *, capacity: str = "3Gi") -> None:
        """Give the seeded claim the status of a bound one (a create drops status, as on a real server)."""
        status = {"phase": "Bound", "capacity": {"storage": capacity}, "accessModes": ["ReadWriteOnce"]}
        await self.client.patch_status(CLAIMS, name, status, namespace="default")

    async def claim(self, name: str = "data") -> dict[str, Any]:
        return await self.client.get(CLAIMS, name, namespace="default")

    async def volume(self, name: str = "data") -> dict[str, Any]:
        return await self.client.get(VOLUMES, f"pv-{name}")

    async def wait_claim(
        self, holds: Callable[[dict[str, Any]], bool], name: str = "data", *, timeout_s: float = 15.0
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
async def running_rig(folder: Path, plan: Plan | None = None) -> AsyncIterator[Rig]:
    """Run an API server and a scripted driver; processes started in the rig are killed at the end."""
    driver = ScriptedDriver(plan or Plan(node_expansion_required=False))
    async with ApiServer.start() as server, Client(server.url, token=server.token, ca_pem=server.ca_pem) as client:
        rig = Rig(server, client, driver, folder)
        server.kubeconfig(rig.kubeconfig)
        server.create("storage.k8s.io", "storageclasses", copy.deepcopy(STORAGE_CLASS))
        async with driver.serve(f"unix://{rig.socket}"):
            try:
                yield rig
            finally:
                for process in rig.processes:
                    if process.returncode is None:
                        process.send_signal(signal.SIGKILL)
                        await process.wait()
