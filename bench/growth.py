"""How fast claims grow, and what each costs: the resizer's own process, measured from outside.

The API server (`resizer dev`) and a scripted driver run in processes of their own, so that only the resizer's CPU and
memory are counted. Two rows: one claim alone, edit to finished, several times; and many claims edited at once.

    python -m bench.growth [--claims 500] [--lone 20] [--node] [--json FILE]
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.process import Program, python, running
from resizer.devcluster.client import Client
from resizer.devcluster.endpoint import CLAIMS, STORAGE_CLASSES, VOLUMES

_DRIVER = "scripted.csi.example.com"
_CAPABLE = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}


async def seed(client: Client, name: str) -> None:
    """Create a bound claim of 1Gi and its volume."""
    spec = {**_CAPABLE, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": f"pv-{name}"}
    claim = await client.create(CLAIMS, _object("PersistentVolumeClaim", name, spec), namespace="default")
    reference = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": claim["metadata"]["uid"]}
    volume = {
        **_CAPABLE,
        "capacity": {"storage": "1Gi"},
        "csi": {"driver": _DRIVER, "volumeHandle": name},
        "claimRef": reference,
    }
    await client.create(VOLUMES, _object("PersistentVolume", f"pv-{name}", volume))
    status = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
    await client.patch_status(CLAIMS, name, status, namespace="default")


def _object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


class Watcher:
    """Follows all claims, and tells when each has reached a size (or awaits its node)."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reached: dict[str, float] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        async for event in self._client.watch(CLAIMS):
            status = event.object.get("status", {})
            state = status.get("allocatedResourceStatuses", {}).get("storage")
            done = status.get("capacity", {}).get("storage")
            if state == "NodeResizePending":
                done = status["allocatedResources"]["storage"]
            if state in (None, "NodeResizePending"):
                self._reached.setdefault(f"{event.object['metadata']['name']} {done}", time.perf_counter())
                self._changed.set()

    async def wait(self, names: list[str], size: str) -> list[float]:
        """Wait until each of these claims has reached the size; when that was."""
        keys = [f"{name} {size}" for name in names]
        while not all(key in self._reached for key in keys):
            self._changed.clear()
            await self._changed.wait()
        return [self._reached[key] for key in keys]


async def edit(client: Client, name: str, size: str) -> float:
    """Ask for a size; when that was."""
    began = time.perf_counter()
    wish = {"spec": {"resources": {"requests": {"storage": size}}}}
    await client.patch(CLAIMS, name, wish, namespace="default")
    return began


async def measure(options: argparse.Namespace) -> dict[str, float]:
    """Run everything and return the figures."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-growth-")))
        kubeconfig, socket, plan = folder / "kubeconfig", folder / "csi.sock", folder / "plan.json"
        plan.write_text(json.dumps({"node_expansion_required": options.node}))
        cli, log = python("-m", "resizer.cli.main"), folder / "log"
        await stack.enter_async_context(running(*cli, "dev", "--kubeconfig-out", str(kubeconfig), log=log))
        driver = python("-m", "tests.scripted_driver", "--endpoint", f"unix://{socket}", "--plan", str(plan))
        await stack.enter_async_context(running(*driver, log=log))
        while not (kubeconfig.exists() and socket.exists()):  # noqa: ASYNC110  # files of other processes
            await asyncio.sleep(0.05)
        client = await stack.enter_async_context(Client.from_kubeconfig(kubeconfig, connections=50))
        grower = {"provisioner": _DRIVER, "allowVolumeExpansion": True}
        await client.create(
            STORAGE_CLASSES,
            {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}, **grower},
        )
        names = [f"claim-{i}" for i in range(options.claims)]
        for start in range(0, len(names), 50):
            await asyncio.gather(*(seed(client, name) for name in names[start : start + 50]))
        run = await stack.enter_async_context(
            running(*cli, "run", f"--kubeconfig={kubeconfig}", f"--csi-address={socket}", "--log-format=json", log=log)
        )
        watcher = Watcher(client)
        watching = asyncio.create_task(watcher.run())
        try:
            return await _measure(options, client, watcher, names, run)
        finally:
            watching.cancel()


async def _measure(
    options: argparse.Namespace, client: Client, watcher: Watcher, names: list[str], run: Program
) -> dict[str, float]:
    lone = []
    for i in range(options.lone + 1):
        if options.node:
            name = names[i]
            began = await edit(client, name, "2Gi")
            (ended,) = await watcher.wait([name], "2Gi")
        else:
            began = await edit(client, names[0], f"{i + 2}Gi")
            (ended,) = await watcher.wait([names[0]], f"{i + 2}Gi")
        lone.append(ended - began)
    lone = lone[1:]  # the first one waits for the process to start
    size = f"{options.lone + 10}Gi"
    names = names[options.lone + 1 :] if options.node else names
    cpu_before, began = run.cpu_s(), time.perf_counter()
    await asyncio.gather(*(edit(client, name, size) for name in names))
    took = max(await watcher.wait(names, size)) - began
    cpu = run.cpu_s() - cpu_before
    return {
        "lone_p50_ms": statistics.median(lone) * 1e3,
        "lone_max_ms": max(lone) * 1e3,
        "claims": len(names),
        "all_s": took,
        "claims_per_s": len(names) / took,
        "cpu_ms_per_claim": cpu / len(names) * 1e3,
        "rss_mb": run.rss_mb(),
    }


def main() -> int:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description="claims grown: seconds, CPU and memory of the resizer's process")
    parser.add_argument("--claims", type=int, default=500, help="claims edited at once")
    parser.add_argument("--lone", type=int, default=20, help="claims grown one after the other before that")
    parser.add_argument("--node", action="store_true", help="the driver wants the node to act")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    figures = uvloop.run(measure(options))
    for name, value in figures.items():
        print(f"{name:20} {value:10.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
