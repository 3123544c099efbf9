"""Driver, development cluster, pipeline in agent mode and node agents, all in this process.

The kubelet-like part mounts volumes and answers for pods, but does not look at them again: `sync_s` is an hour, and in
agent mode nobody nudges. What grows here was grown by an agent, unless a test nudges a pod itself.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
import yaml

from resizer.app import run_pipeline
from resizer.devcluster.client import (
    CLAIMS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    PODS,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
    VOLUMES,
    Client,
    Document,
)
from resizer.devcluster.cluster import Cluster
from resizer.devcluster.kubelet_growth import KubeletTiming
from resizer.driver.cleanup import cleanup
from resizer.driver.filesystem import superblock_size_bytes
from resizer.driver.service import DriverConfig, serve
from resizer.node.service import AgentOptions, run_agent
from resizer.settings import load_settings

DRIVER = "csi-qcfsplugin"
GIB = 1 << 30
NEVER = KubeletTiming(sync_s=3600.0)
NAMESPACE = "default"
MANIFEST = list(yaml.safe_load_all(Path("deploy/examples/node-agent.yaml").read_text()))


class Rig:
    """A running cluster with one driver; pipeline and agents run while their blocks do."""

    def __init__(self, cluster: Cluster, folder: Path, socket: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.socket = socket
        self.kubeconfig = folder / "kubeconfig"
        self.logs: list[structlog.typing.EventDict] = []
        cluster.server.kubeconfig(self.kubeconfig)

    @property
    def client(self) -> Client:
        return self.cluster.client

    def kubelet_dir(self, node: str = "node-1") -> Path:
        return self.cluster.kubelets[node].paths.root

    @contextlib.asynccontextmanager
    async def pipeline(self, **settings: Any) -> AsyncIterator[None]:
        chosen = {
            "csi_address": [str(self.socket)],
            "kubeconfig": str(self.kubeconfig),
            "node_mode": "agent",
            "shutdown_grace": "1s",
            "retry_interval_start": "20ms",
            "retry_interval_max": "400ms",
        }
        async with running(lambda stop: run_pipeline(load_settings(chosen | settings), stop=stop)):
            yield

    @contextlib.asynccontextmanager
    async def agent(self, node: str = "node-1", **more: Any) -> AsyncIterator[None]:
        chosen = {"csi_addresses": (str(self.socket),), "grace_s": 1.0, "kubeconfig": self.kubeconfig}
        await asyncio.to_thread(self.kubelet_dir(node).mkdir, parents=True, exist_ok=True)
        options = AgentOptions(node=node, kubelet_dir=self.kubelet_dir(node), **(chosen | more))
        async with running(lambda stop: run_agent(options, stop=stop)):
            yield

    # Objects.

    async def make(self, name: str = "data", *, pods: Sequence[str] = ("db",), fs: str = "ext4", **spec: Any) -> None:
        """A claim of 1Gi that these pods use, running."""
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": fs,
                "resources": {"requests": {"storage": "1Gi"}},
                **spec,
            },
        }
        await self.client.create(CLAIMS, body)
        await self.wait(lambda: self.claim(name)["status"]["phase"] == "Bound")
        for pod in pods:
            await self.start_pod(pod, name)

    async def start_pod(self, pod: str, claim: str, *, node: str = "") -> None:
        container: Document = {"name": "main", "image": "x"}
        found = await self.client.get(CLAIMS, claim, namespace=NAMESPACE)
        where = "volumeDevices" if found["spec"].get("volumeMode") == "Block" else "volumeMounts"
        path = {"devicePath": "/dev/x"} if where == "volumeDevices" else {"mountPath": "/x"}
        container[where] = [{"name": "data", **path}]
        spec: Document = {
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        }
        if node:
            spec["nodeName"] = node
        meta = {"name": pod, "namespace": NAMESPACE}
        await self.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        await self.wait(lambda: (self.pod(pod) or {}).get("status", {}).get("phase") == "Running")

    async def ask(self, size: str, name: str = "data") -> None:
        patch = {"spec": {"resources": {"requests": {"storage": size}}}}
        await self.client.patch(CLAIMS, name, patch, namespace=NAMESPACE)

    async def rights_of_the_manifest(self) -> Path:
        """Create the manifest's account, role and binding; return a kubeconfig that holds a token of that account."""
        kinds = {
            "ServiceAccount": SERVICE_ACCOUNTS,
            "ClusterRole": CLUSTER_ROLES,
            "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS,
        }
        for document in MANIFEST:
            if document["kind"] in kinds:
                await self.client.create(kinds[document["kind"]], document)
        path = SERVICE_ACCOUNTS.path("kube-system", "resizer-node", "token")
        made = await self.client.call("POST", path, body={"spec": {"expirationSeconds": 600}})
        kubeconfig = self.folder / "agent-kubeconfig"
        self.cluster.server.kubeconfig(kubeconfig, token=made["status"]["token"])
        return kubeconfig

    def claim(self, name: str = "data") -> Document:
        found = self.cluster.mirrors.claims.get(f"{NAMESPACE}/{name}")
        assert found is not None
        return found

    def pod(self, name: str) -> Document | None:
        return self.cluster.mirrors.pods.get(f"{NAMESPACE}/{name}")

    def volume(self, name: str = "data") -> Document:
        found = self.cluster.mirrors.volumes.get(self.claim(name)["spec"]["volumeName"])
        assert found is not None
        return found

    def published(self, name: str = "data", pod: str = "db", *, node: str = "node-1") -> Path:
        """Where the pod has the claim's volume."""
        found = self.pod(pod)
        assert found is not None
        paths, uid = self.cluster.kubelets[node].paths, found["metadata"]["uid"]
        place = paths.device if self.claim(name)["spec"].get("volumeMode") == "Block" else paths.mount
        return place(uid, self.volume(name)["metadata"]["name"])

    def filesystem_bytes(self, name: str = "data", pod: str = "db") -> int:
        """The size that really is there: by statvfs, by the superblock of an image, or of the device."""
        path = self.published(name, pod)
        if stat.S_ISBLK(path.stat().st_mode):
            with path.open("rb") as device:
                return device.seek(0, os.SEEK_END)
        image = path / "volume.img"
        if image.is_symlink():
            return superblock_size_bytes(image)
        status = os.statvfs(path)
        return status.f_blocks * status.f_frsize

    def state(self, name: str = "data") -> str:
        return str(self.claim(name)["status"].get("allocatedResourceStatuses", {}).get("storage", ""))

    def node_error(self, name: str = "data") -> str:
        conditions = self.claim(name)["status"].get("conditions", [])
        return next((one["message"] for one in conditions if one["type"] == "NodeResizeError"), "")

    def labels(self, name: str = "data") -> set[str]:
        return {k for k in self.claim(name)["metadata"].get("labels", {}) if k.startswith("csi-resizer.dev/node-")}

    def is_grown(self, size: str = "2Gi", name: str = "data") -> bool:
        status = self.claim(name)["status"]
        over = not status.get("allocatedResourceStatuses") and not status.get("conditions")
        return status["capacity"]["storage"] == size and over and not self.labels(name)

    def calls(self, method: str = "NodeExpandVolume") -> list[structlog.typing.EventDict]:
        """Calls that the driver has answered well."""
        return [e for e in self.logs if e["event"] == "rpc.done" and str(e.get("method", "")).endswith(method)]

    def logged(self, event: str) -> list[structlog.typing.EventDict]:
        return [entry for entry in self.logs if entry["event"] == event]

    async def wait(self, holds: Callable[[], bool], *, timeout_s: float = 15.0) -> None:
        """Wait until this holds; looked at on every change of a claim, a pod or a volume."""
        changed = asyncio.Event()
        mirrors = self.cluster.mirrors
        for mirror in (mirrors.claims, mirrors.pods, mirrors.volumes):
            mirror.subscribe(lambda _: changed.set())
        try:
            async with asyncio.timeout(timeout_s):
                while not _true(holds):
                    changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await changed.wait()
        except TimeoutError:
            claims = [(c["metadata"].get("labels"), c["status"]) for c in mirrors.claims.objects.values()]
            raise AssertionError(f"never came true; claims {claims}; last logged {self.logs[-6:]}") from None


def _true(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except (AssertionError, KeyError):
        return False  # the objects are on their way


@contextlib.asynccontextmanager
async def running(start: Callable[[asyncio.Event], Any]) -> AsyncIterator[None]:
    """Run a program beside the block and stop it cleanly at its end."""
    stop = asyncio.Event()
    task = asyncio.create_task(start(stop))
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@contextlib.asynccontextmanager
async def running_rig(
    folder: Path,
    *,
    backend: str = "image",
    protocol: str = "both",
    nodes: Sequence[str] = ("node-1",),
    timing: KubeletTiming = NEVER,
) -> AsyncIterator[Rig]:
    """Driver and cluster; everything is taken down with the block."""
    config = DriverConfig(
        endpoint=f"unix://{folder}/csi.sock",
        state_dir=folder / "driver",
        node_id=nodes[0],
        backend=backend,
        protocol=protocol,
        peer_nodes=tuple(nodes[1:]),
    )
    with structlog.testing.capture_logs() as logs:
        try:
            async with (
                serve(config) as driver,
                Cluster.start(
                    state_dir=folder, drivers=[f"unix://{driver.socket}"], nodes=nodes, timing=timing
                ) as cluster,
            ):
                rig = Rig(cluster, folder, driver.socket)
                rig.logs = logs
                for fs in ("xfs", "ext4", "btrfs"):
                    await cluster.client.create(
                        STORAGE_CLASSES,
                        {
                            "apiVersion": "storage.k8s.io/v1",
                            "kind": "StorageClass",
                            "metadata": {"name": fs},
                            "provisioner": DRIVER,
                            "parameters": {"csi.storage.k8s.io/fstype": fs},
                            "allowVolumeExpansion": True,
                        },
                    )
                yield rig
        finally:
            assert not (await cleanup(folder / "driver")).failures


__all__ = ["DRIVER", "GIB", "NEVER", "VOLUMES", "Rig", "running_rig"]
