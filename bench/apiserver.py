"""How fast the development API server is, so that the other benchmarks measure us and not it.

Two figures: claim patches a second while ten watches look on (each of which has to receive every change), and
the seconds that a list of 20,000 claims takes. The server runs in a process of its own, as `resizer dev`; client and
server share the machine, and everything goes through TLS.

    python -m bench.apiserver [--json FILE] [--claims 20000] [--patches 4000] [--watchers 10]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from resizer.devcluster.client import CLAIMS, NAMESPACES, Client

_LEAST_PATCHES_PER_S = 800
_MOST_LIST_S = 1.0
_IN_FLIGHT = 50


@contextlib.contextmanager
def running_server() -> Iterator[Path]:
    """Run `resizer dev` and give its kubeconfig."""
    with tempfile.TemporaryDirectory(prefix="bench-apiserver-") as folder:
        path = Path(folder) / "kubeconfig"
        program = "import typer; from resizer.cli.dev import dev; typer.run(dev)"
        command = [sys.executable, "-c", program, "--kubeconfig-out", str(path)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                end = time.monotonic() + 30
                while not path.exists():
                    if server.poll() is not None or time.monotonic() > end:
                        raise SystemExit("bench.apiserver: the server did not start")
                    time.sleep(0.02)
                yield path
            finally:
                server.terminate()


def _claim(number: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"claim-{number:06}",
            "namespace": "bench",
            "labels": {"app": "db", "app.kubernetes.io/instance": f"db-{number}"},
            "annotations": {
                "pv.kubernetes.io/bind-completed": "yes",
                "pv.kubernetes.io/bound-by-controller": "yes",
                "volume.kubernetes.io/storage-provisioner": "csi-qcfsplugin",
            },
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "300Gi"}},
            "storageClassName": "csi-qcfs",
            "volumeName": f"pv-{number:06}",
        },
    }


async def _in_parallel(numbers: Iterator[int], work: Any) -> None:
    async def worker() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(_IN_FLIGHT):
            group.create_task(worker())


async def measure_patches(client: Client, *, patches: int, watchers: int, claims: int) -> float:
    """Return status patches a second, until every watcher has seen the last of them."""
    seen = [0] * watchers
    ready = asyncio.Semaphore(0)

    async def watch(index: int) -> None:
        async with contextlib.aclosing(client.watch(CLAIMS, namespace="bench", label_selector="app=db")) as events:
            async for event in events:
                if event.type == "ADDED":
                    ready.release()
                    continue
                seen[index] += 1
                if seen[index] == patches:
                    return

    async def patch(number: int) -> None:
        states = {"storage": "ControllerResizeInProgress" if number % 2 else "NodeResizePending"}
        status = {"allocatedResources": {"storage": f"{400 + number}Gi"}, "allocatedResourceStatuses": states}
        await client.patch_status(CLAIMS, f"claim-{number % claims:06}", status, namespace="bench")

    async with asyncio.TaskGroup() as group:
        for index in range(watchers):
            group.create_task(watch(index))
        for _ in range(watchers * claims):
            await ready.acquire()
        started = time.perf_counter()
        await _in_parallel(iter(range(patches)), patch)
    return patches / (time.perf_counter() - started)


async def measure_list(client: Client, *, page_size: int) -> float:
    """Return the seconds that a list of all claims takes, decoded."""
    started = time.perf_counter()
    await client.list(CLAIMS, page_size=page_size)
    return time.perf_counter() - started


async def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run all measurements on one server."""
    async with Client.from_kubeconfig(path) as client:
        await client.create(NAMESPACES, {"metadata": {"name": "bench"}})
        first = min(500, options.claims)
        await _in_parallel(iter(range(first)), lambda number: client.create(CLAIMS, _claim(number)))
        rate = await measure_patches(client, patches=options.patches, watchers=options.watchers, claims=first)
        started = time.perf_counter()
        rest = iter(range(first, options.claims))
        await _in_parallel(rest, lambda number: client.create(CLAIMS, _claim(number)))
        create_rate = (options.claims - first) / (time.perf_counter() - started)
        return {
            "watchers": options.watchers,
            "claims": options.claims,
            "claim_patches_per_s": round(rate),
            "claim_creates_per_s": round(create_rate),
            "list_s": round(await measure_list(client, page_size=0), 3),
            "list_in_pages_of_5000_s": round(await measure_list(client, page_size=5000), 3),
        }


def main() -> int:
    """Measure, print a table and JSON; 1 if a figure misses its goal."""
    parser = argparse.ArgumentParser(description="Measure the development API server.")
    parser.add_argument("--claims", type=int, default=20_000)
    parser.add_argument("--patches", type=int, default=4_000)
    parser.add_argument("--watchers", type=int, default=10)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with running_server() as path:
        figures = uvloop.run(measure(path, options))
    rows = (
        (f"claim patches/s, {options.watchers} watchers", figures["claim_patches_per_s"], f">= {_LEAST_PATCHES_PER_S}"),
        ("claim creates/s", figures["claim_creates_per_s"], ""),
        (f"list of {options.claims} claims, s", figures["list_s"], f"< {_MOST_LIST_S:g}"),
        ("the same in pages of 5000, s", figures["list_in_pages_of_5000_s"], ""),
    )
    for name, value, goal in rows:
        print(f"{name:36} {value:>10} {goal}")
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    good = figures["claim_patches_per_s"] >= _LEAST_PATCHES_PER_S and figures["list_s"] < _MOST_LIST_S
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
