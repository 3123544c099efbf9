"""The API server of a benchmark, in a process of its own: the development cluster's, filled before it says it is ready.

Two kubeconfigs appear in the folder: `resizer.kubeconfig` for what is measured, whose requests are told apart by
their user, and `admin.kubeconfig`, written last, for the benchmark itself.

    python -m bench.server --folder DIR --seed JSON
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

import uvloop

from bench import objects
from bench.objects import Seed
from resizer.devcluster.apiserver import ApiServer

MEASURED_USER = "bench-resizer"
_HISTORY = 100_000
"""Changes kept of each resource: a watch that lags behind by thousands of claims at once is still served."""
_AUDIT = 1_000_000


def fill(server: ApiServer, seed: Seed) -> None:
    """Put the objects into the store as they stand: no request, no check."""
    server.create("storage.k8s.io", "storageclasses", objects.storage_class())
    for number in range(seed.namespaces):
        server.create("", "namespaces", {"metadata": {"name": f"bench-{number}"}})
    claims, volumes, pods = (server.store.named(p) for p in ("persistentvolumeclaims", "persistentvolumes", "pods"))
    for number in range(seed.claims):
        claim = objects.claim(seed, number)
        server.store.put(claims, (claim["metadata"]["namespace"], claim["metadata"]["name"]), claim)
        server.store.put(volumes, ("", f"pv-{number}"), objects.volume(number, claim))
    for number in range(seed.pods):
        pod = objects.pod(seed, number)
        server.store.put(pods, (pod["metadata"]["namespace"], pod["metadata"]["name"]), pod)


async def serve(folder: Path, seed: Seed) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with ApiServer.start(history=_HISTORY, audit_limit=_AUDIT) as server:
        fill(server, seed)
        token = server.add_token(MEASURED_USER, ("system:masters",))
        server.kubeconfig(folder / "resizer.kubeconfig", token=token)
        server.kubeconfig(folder / "admin.kubeconfig")
        await stopped.wait()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="a filled development API server")
    parser.add_argument("--folder", type=Path, required=True, help="where the kubeconfigs go")
    parser.add_argument("--seed", default="{}", help="the fields of bench.objects.Seed, as JSON")
    options = parser.parse_args()
    uvloop.run(serve(options.folder, Seed(**json.loads(options.seed))))


if __name__ == "__main__":
    main()
