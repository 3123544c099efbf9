"""A development API server on a real socket, and clients of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.client import CLAIMS, NAMESPACES, STORAGE_CLASSES, VOLUMES, Client


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer.start() as server:
        yield server


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    async with Client(server.url, token=server.token, ca_pem=server.ca_pem, timeout_s=10) as client:
        yield client


@pytest.fixture
def claim() -> Callable[..., dict[str, Any]]:
    def build(name: str = "data", *, namespace: str = "default", storage: str = "1Gi", **spec: Any) -> dict[str, Any]:
        requests = {"requests": {"storage": storage}}
        body = {"accessModes": ["ReadWriteOnce"], "resources": requests, "storageClassName": "gold", **spec}
        return {"metadata": {"name": name, "namespace": namespace}, "spec": body}

    return build


@pytest.fixture
def bound_claim(client: Client, claim: Callable[..., dict[str, Any]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Create a class that allows growth, a claim and its volume, bound to each other."""

    async def build(name: str = "data", *, namespace: str = "default", storage: str = "1Gi") -> dict[str, Any]:
        if namespace != "default":
            await client.create(NAMESPACES, {"metadata": {"name": namespace}})
        gold = {"metadata": {"name": "gold"}, "provisioner": "csi-qcfsplugin", "allowVolumeExpansion": True}
        await client.create(STORAGE_CLASSES, gold)
        body = claim(name, namespace=namespace, storage=storage, volumeName=f"pv-{name}")
        await client.create(CLAIMS, body)
        spec = {
            "capacity": {"storage": storage},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "gold",
            "claimRef": {"namespace": namespace, "name": name},
            "csi": {"driver": "csi-qcfsplugin", "volumeHandle": f"vol-{name}"},
        }
        await client.create(VOLUMES, {"metadata": {"name": f"pv-{name}"}, "spec": spec})
        status = {"phase": "Bound", "capacity": {"storage": storage}, "accessModes": ["ReadWriteOnce"]}
        return await client.patch_status(CLAIMS, name, status, namespace=namespace)

    return build


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Wait until a condition holds, asking again on each turn of the loop; fail after a few seconds."""

    async def wait(condition: Callable[[], bool], *, within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - conditions on both sides of a socket have no one event
                await asyncio.sleep(0.005)

    return wait
