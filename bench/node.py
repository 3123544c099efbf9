"""From the edit to the grown filesystem: claims that a pod has mounted, on the development cluster.

API server and kubelet-like part (`resizer dev`), the reference driver and the resizer run in processes of their own;
this one edits the claim and looks at the pod's own mount until its filesystem has the new size: by statvfs where
this user may mount (loop devices, XFS), else in the image's superblock (ext4). The kubelet looks at a pod every 60 s,
as a real one does, unless the pod is nudged.

    python -m bench.node [--growths 20] [--without] [--json FILE]

`--without` adds one growth with `--nudge=false`, which takes up to a minute.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from bench.contender import Contender, ours
from bench.growth import edit
from bench.process import BenchError, Program, python, running, until
from bench.rig import Resizer, free_port
from resizer.devcluster.client import Client
from resizer.devcluster.endpoint import CLAIMS, PODS, STORAGE_CLASSES, VOLUMES
from resizer.devcluster.kubelet_paths import KubeletPaths
from resizer.driver.backend import loop_obstacle
from resizer.driver.cleanup import cleanup
from resizer.driver.command import missing_program
from resizer.driver.filesystem import FILESYSTEMS, missing_programs
from resizer.driver.superblock import superblock_size_bytes
from resizer.obs.logs import configure_logs

_GIB = 1 << 30
_NODE = "node-1"
_CLAIM = "data"
_LOOK_EVERY_S = 0.002
_FILESYSTEMS = {"loop": "xfs", "image": "ext4"}
"""The driver's backend, and what is made with it."""


def size_bytes(mount: Path) -> int:
    """Size of the filesystem that a pod has at this path."""
    image = mount / "volume.img"
    if image.is_symlink():
        return superblock_size_bytes(image)
    status = os.statvfs(mount)
    return status.f_blocks * status.f_frsize


class Bench:
    """A claim on a running cluster, and the pod that has it mounted."""

    def __init__(self, client: Client, folder: Path, mount: Path, contender: Contender, *programs: Program) -> None:
        self._client = client
        self._contender = contender
        self._folder = folder
        self._mount = mount
        self._programs = programs
        self._gib = 1

    @contextlib.asynccontextmanager
    async def resizer(self, *options: str) -> AsyncIterator[None]:
        """Run the resizer for the block, from when it is ready."""
        port, kubeconfig, driver = free_port(), self._folder / "kubeconfig", self._folder / "csi.sock"
        given = (f"--kubeconfig={kubeconfig}", f"--csi-address={driver}", f"--http-endpoint=127.0.0.1:{port}")
        command, environment = (*self._contender.command, *given, *options), dict(self._contender.environment)
        async with running(*command, log=self._folder / "resizer.log", env=environment) as program:
            await Resizer(program, f"http://127.0.0.1:{port}").wait_ready()
            yield

    async def grow(self) -> float:
        """Ask for 1Gi more; return the seconds until the filesystem has it. The claim is finished then, too."""
        before = size_bytes(self._mount)
        self._gib += 1
        began = await edit(self._client, _CLAIM, f"{self._gib}Gi")

        async def is_grown() -> bool:
            # A filesystem keeps a part for itself, so that it grows by a little less than its device.
            return size_bytes(self._mount) > before + 0.95 * _GIB

        text = f"the filesystem at {self._mount} has grown to {self._gib}Gi"
        await until(is_grown, text, *self._programs, look_every_s=_LOOK_EVERY_S)
        took = time.perf_counter() - began
        await until(self._is_finished, f"claim {_CLAIM} is finished at {self._gib}Gi", *self._programs)
        return took

    async def _is_finished(self) -> bool:
        status = (await self._client.get(CLAIMS, _CLAIM, namespace="default"))["status"]
        return status["capacity"]["storage"] == f"{self._gib}Gi" and not status.get("allocatedResourceStatuses")


@contextlib.asynccontextmanager
async def running_cluster(backend: str, contender: Contender) -> AsyncIterator[Bench]:
    """A cluster with the reference driver, and a pod that runs with a claim of 1Gi; all of it gone afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-node-")))
        state, address, kubeconfig = folder / "driver", folder / "csi.sock", folder / "kubeconfig"
        stack.push_async_callback(cleanup, state)  # in case something ended early
        asked = (f"--endpoint=unix://{address}", f"--state-dir={state}", f"--node-id={_NODE}", f"--backend={backend}")
        command = python("-m", "resizer.cli.main", "driver", *asked)
        driver = await stack.enter_async_context(running(*command, log=folder / "driver.log"))
        await until(lambda: asyncio.to_thread(address.exists), "the driver is there", driver)
        given = (f"--kubeconfig-out={kubeconfig}", f"--csi-address={address}", f"--state-dir={folder}")
        command = python("-m", "resizer.cli.main", "dev", *given)
        cluster = await stack.enter_async_context(running(*command, log=folder / "cluster.log"))
        await until(lambda: asyncio.to_thread(kubeconfig.exists), "the cluster is there", cluster)
        client = await stack.enter_async_context(Client.from_kubeconfig(kubeconfig))
        await _create(client, _FILESYSTEMS[backend])
        stack.push_async_callback(_delete, client)
        await until(lambda: _is_running(client), "the pod runs", driver, cluster)
        pod = await client.get(PODS, "db", namespace="default")
        volume = (await client.get(CLAIMS, _CLAIM, namespace="default"))["spec"]["volumeName"]
        paths = KubeletPaths((folder / "kubelet" / _NODE).resolve())
        yield Bench(client, folder, paths.mount(pod["metadata"]["uid"], volume), contender, driver, cluster)


async def _create(client: Client, fs: str) -> None:
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}}
    grower = {"provisioner": "csi-qcfsplugin", "allowVolumeExpansion": True}
    await client.create(STORAGE_CLASSES, {**kind, **grower, "parameters": {"csi.storage.k8s.io/fstype": fs}})
    meta = {"name": _CLAIM, "namespace": "default"}
    wish = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(CLAIMS, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": wish})
    mounts = [{"name": "data", "mountPath": "/data"}]
    spec = {
        "containers": [{"name": "db", "image": "db", "volumeMounts": mounts}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": _CLAIM}}],
    }
    meta = {"name": "db", "namespace": "default"}
    await client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


async def _is_running(client: Client) -> bool:
    pod = await client.get(PODS, "db", namespace="default")
    return bool(pod.get("status", {}).get("phase") == "Running")


async def _delete(client: Client) -> None:
    """Delete pod and claim, and wait until the driver has deleted the volume."""
    await client.delete(PODS, "db", namespace="default", grace_s=1)
    await client.delete(CLAIMS, _CLAIM, namespace="default")
    await until(lambda: _has_no_volume(client), "the driver has deleted the volume")


async def _has_no_volume(client: Client) -> bool:
    return not (await client.list(VOLUMES)).items


async def measure(options: argparse.Namespace, contender: Contender) -> dict[str, Any]:
    """Run everything and return the figures. Raises BenchError if this machine cannot make the filesystem."""
    backend = "image" if loop_obstacle() else "loop"
    if missing := missing_programs(FILESYSTEMS[_FILESYSTEMS[backend]]):
        raise BenchError(missing_program(missing[0]).text)
    configure_logs(verbosity=-1, stream=sys.stderr)  # the cleanup's own lines say nothing here
    figures: dict[str, Any] = {"backend": backend}
    async with running_cluster(backend, contender) as bench:
        async with bench.resizer():
            await bench.grow()  # opens connections and watches; what it took is not counted
            figures["nudged_s"] = [await bench.grow() for _ in range(options.growths)]
        if options.without:
            async with bench.resizer("--nudge=false"):
                figures["not_nudged_s"] = [await bench.grow()]
    return figures


def main() -> int:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description="seconds from the edit of a claim to its grown filesystem")
    parser.add_argument("--growths", type=int, default=20, help="growths with the nudge, one after the other")
    parser.add_argument("--without", action="store_true", help="one more growth without the nudge (about a minute)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    figures = uvloop.run(measure(options, ours()))
    print(f"edit to grown filesystem, backend {figures['backend']}")
    print(f"{'':12} {'growths':>8} {'p50 s':>8} {'max s':>8}")
    for name in ("nudged_s", "not_nudged_s"):
        if took := figures.get(name):
            summary = {"growths": len(took), "p50_s": statistics.median(took), "max_s": max(took)}
            print(f"{name[:-2]:12} {len(took):8} {summary['p50_s']:8.3f} {summary['max_s']:8.3f}")
            figures[name] = {**summary, "each_s": took}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
