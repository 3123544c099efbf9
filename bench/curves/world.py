"""The API server of a curve: the development cluster's own, filled with claims and steered over a socket.

A process of its own, started by `rig`. Objects are put into the store directly (a hundred thousand in some seconds),
and so are edits: a person's or another program's change reaches the resizer as a watch event all the same, and no
client competes with it for the machine's two cores. The world also tells when a claim has grown, by looking at what
was stored; what the resizer lists, watches and writes goes through the socket, TLS, authentication and validation.

    in:  {"do": "grow", "count": 100}        out: {"asked_at": ..., "done_at": ..., "seconds": [...]}
         {"do": "grow", "ends": true}             the same, of the first and the last claim
         {"do": "edit", "rate": 500}              {"edits": 4012}        edits made since the rate was last set
         {"do": "look"}                           {"requests": 1234}     requests answered so far

Times are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.apiserver.store import Key, Version

NAMESPACES = 50
_HISTORY = 100_000
"""Changes kept of each resource: a watch that lags behind thousands of claims at once is still served."""
_TICK_S = 0.002
_YIELD_EVERY = 50


class _Status(msgspec.Struct, frozen=True):
    capacity: dict[str, str] = {}
    states: dict[str, str] = msgspec.field(default={}, name="allocatedResourceStatuses")


class _Claim(msgspec.Struct, frozen=True):
    status: _Status


_read = msgspec.json.Decoder(_Claim).decode


def orders_path(folder: Path) -> Path:
    """The socket that takes orders."""
    return folder / "orders.sock"


def driver_name(number: int) -> str:
    """Name of the n-th driver."""
    return f"driver-{number}.csi.example.com"


def claim_document(number: int) -> dict[str, Any]:
    """Build a bound claim of 1Gi as a cluster holds it: some 1.4 KB, a third of it managed fields."""
    uid = str(uuid.UUID(int=number + (1 << 96)))
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {".": {}, "f:pv.kubernetes.io/bind-completed": {}}}}
    spec_fields: dict[str, Any] = {
        "f:spec": {"f:accessModes": {}, "f:resources": {"f:requests": {".": {}, "f:storage": {}}}}
    }
    managed = [
        {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-11-02T10:00:00Z", **more}
        for manager, more in (
            ("kube-controller-manager", {"fieldsType": "FieldsV1", "fieldsV1": fields}),
            ("kubectl-client-side-apply", {"fieldsType": "FieldsV1", "fieldsV1": spec_fields}),
        )
    ]
    meta = {
        "name": f"data-db-{number:06}",
        "namespace": namespace_of(number),
        "uid": uid,
        "creationTimestamp": "2026-11-02T10:00:00Z",
        "labels": {"app": "db", "app.kubernetes.io/instance": f"db-{number}", "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {
            "pv.kubernetes.io/bind-completed": "yes",
            "pv.kubernetes.io/bound-by-controller": "yes",
            "volume.kubernetes.io/storage-provisioner": driver_name(0),
            "volume.beta.kubernetes.io/storage-provisioner": driver_name(0),
        },
        "finalizers": ["kubernetes.io/pvc-protection"],
        "managedFields": managed,
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta,
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "fast",
            "volumeMode": "Filesystem",
            "volumeName": f"pvc-{uid}",
        },
        "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}},
    }


def volume_document(claim: dict[str, Any], driver: str) -> dict[str, Any]:
    """Build the volume that this claim is bound to."""
    meta, spec = claim["metadata"], claim["spec"]
    reference = {"apiVersion": "v1", "kind": claim["kind"], **{k: meta[k] for k in ("name", "namespace", "uid")}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": spec["volumeName"],
            "uid": str(uuid.uuid5(uuid.NAMESPACE_OID, meta["uid"])),
            "creationTimestamp": meta["creationTimestamp"],
            "annotations": {"pv.kubernetes.io/provisioned-by": driver},
            "finalizers": ["kubernetes.io/pv-protection"],
            "managedFields": meta["managedFields"][:1],
        },
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": "1Gi"},
            "claimRef": reference,
            "csi": {
                "driver": driver,
                "volumeHandle": f"vol-{meta['uid']}",
                "fsType": "ext4",
                "volumeAttributes": {"storage.kubernetes.io/csiProvisionerIdentity": f"1667382-{driver}"},
            },
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": "fast",
            "volumeMode": "Filesystem",
        },
        "status": {"phase": "Bound"},
    }


def namespace_of(number: int) -> str:
    """Namespace of the n-th claim."""
    return f"team-{number % NAMESPACES}"


class World:
    """What the server holds, the edits made to it, and who has grown."""

    def __init__(self, server: ApiServer, *, claims: int, drivers: int) -> None:
        self._server = server
        self._claims = server.store.named("persistentvolumeclaims")
        self._keys = [self._put(number, driver_name(number % drivers)) for number in range(claims)]
        self._gib = 1
        self._rate = 0.0
        self._edits = 0
        self._asked: dict[Key, float] = {}
        self._waits_for = ""
        self._done: list[tuple[float, float]] = []
        self._all_done = asyncio.Event()
        self._position = self._claims.end
        self._claims.listeners.add(self._look)

    def _put(self, number: int, driver: str) -> Key:
        store, claim = self._server.store, claim_document(number)
        key = (claim["metadata"]["namespace"], claim["metadata"]["name"])
        store.put(store.named("persistentvolumes"), ("", claim["spec"]["volumeName"]), volume_document(claim, driver))
        store.put(self._claims, key, claim)
        return key

    async def grow(self, numbers: Iterable[int]) -> dict[str, Any]:
        """Ask for 1Gi more than ever before on these claims; return when all of them have it."""
        self._gib += 1
        self._waits_for = f"{self._gib}Gi"
        self._done.clear()
        self._all_done.clear()
        asked_at = time.monotonic()
        for index, number in enumerate(numbers):
            key = self._keys[number]
            document = self._claims.objects[key].document()
            document["spec"]["resources"]["requests"]["storage"] = self._waits_for
            self._asked[key] = time.monotonic()
            self._server.store.put(self._claims, key, document)
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        await self._all_done.wait()
        seconds = [round(done - asked, 5) for asked, done in self._done]
        return {"asked_at": asked_at, "done_at": max(done for _, done in self._done), "seconds": seconds}

    def _look(self) -> None:
        changes = self._claims.changes_from(self._position)
        self._position = self._claims.end
        for change in changes:
            if change.current.key in self._asked and self._is_grown(change.current):
                self._done.append((self._asked.pop(change.current.key), time.monotonic()))
                if not self._asked:
                    self._all_done.set()

    def _is_grown(self, claim: Version) -> bool:
        status = _read(claim.raw).status
        return status.capacity.get("storage") == self._waits_for and not status.states

    async def edit(self) -> None:
        """Change annotations of claims at the rate that is set, for ever: what others do to claims that we cache."""
        turn = self._round()
        began, made = time.monotonic(), 0
        rate = 0.0
        while True:
            if rate != self._rate:
                rate, began, made, self._edits = self._rate, time.monotonic(), 0, 0
            due = int((time.monotonic() - began) * rate) - made
            for key in itertools.islice(turn, due):
                document = self._claims.objects[key].document()
                document["metadata"]["annotations"]["backup.example.com/last-seen"] = f"{time.time():.3f}"
                self._server.store.put(self._claims, key, document)
            made += due
            self._edits += due
            await asyncio.sleep(_TICK_S)

    def _round(self) -> Iterator[Key]:
        """The last claims first: the first ones are grown meanwhile."""
        return itertools.cycle(reversed(self._keys))

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what one line says."""
        if order["do"] == "grow":
            return await self.grow((0, len(self._keys) - 1) if order.get("ends") else range(order["count"]))
        if order["do"] == "edit":
            made, self._rate = self._edits, float(order["rate"])
            return {"edits": made}
        return {"requests": self._server.audit.total}


async def serve(options: argparse.Namespace) -> None:
    """Serve until a signal. The socket for orders is made last: who finds it finds all the rest."""
    stop = asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, stop.set)
    async with ApiServer.start(history=_HISTORY, audit_limit=100) as server:
        world = World(server, claims=options.claims, drivers=options.drivers)
        editing = asyncio.create_task(world.edit())
        server.kubeconfig(options.folder / "kubeconfig")

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(json.dumps(await world.obey(json.loads(line))).encode() + b"\n")
                await writer.drain()
            writer.close()

        async with await asyncio.start_unix_server(listen, orders_path(options.folder)):
            await stop.wait()
        editing.cancel()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="an API server full of claims, for bench.curves")
    parser.add_argument("--folder", type=Path, required=True, help="where the kubeconfig and the socket go")
    parser.add_argument("--claims", type=int, required=True)
    parser.add_argument("--drivers", type=int, default=1)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
