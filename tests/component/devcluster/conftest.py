"""Fixtures of the development cluster's moving parts: a waiter, objects to create, a scripted CSI driver."""

# ruff: noqa: ARG002, N802 -- methods' names and parameters are gRPC's

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from resizer.devcluster.client import CLAIMS, Client, Document, Endpoint
from resizer.rpc.pb import csi_v1_pb2 as pb
from resizer.rpc.pb import csi_v1_pb2_grpc as stubs
from resizer.rpc.server import serve_unix

DRIVER = "scripted.csi.test"


async def _wait_until(
    client: Client,
    endpoint: Endpoint,
    name: str,
    condition: Callable[[Document | None], bool],
    *,
    namespace: str = "",
    timeout_s: float = 20.0,
) -> Document | None:
    """Wait by a watch until the object (None: it is gone) meets the condition, and return it."""
    seen: list[Document | None] = []
    try:
        async with asyncio.timeout(timeout_s):
            if condition(None) and not await _exists(client, endpoint, name, namespace):
                return None
            async with contextlib.aclosing(client.watch(endpoint, namespace=namespace)) as events:
                async for event in events:
                    if event.object["metadata"]["name"] == name:
                        found = None if event.type == "DELETED" else event.object
                        seen.append(found)
                        if condition(found):
                            return found
    except TimeoutError:
        raise AssertionError(f"{endpoint.plural} {name} never met the condition; last seen: {seen[-1:]}") from None
    raise AssertionError("the watch ended")


async def _exists(client: Client, endpoint: Endpoint, name: str, namespace: str) -> bool:
    listing = await client.list(endpoint, namespace=namespace)
    return any(item["metadata"]["name"] == name for item in listing.items)


@pytest.fixture
def wait_until():
    return _wait_until


class Builder:
    """Kubernetes objects as short as a test needs them."""

    def storage_class(self, name: str, provisioner: str, **more) -> Document:
        head = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
        return {**head, "provisioner": provisioner, "allowVolumeExpansion": True, **more}

    def claim(self, name: str, storage_class: str, size: str, **spec) -> Document:
        body = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": size}},
            **spec,
        }
        meta = {"name": name, "namespace": "default"}
        return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": body}

    def pod(self, name: str, claim: str, *, read_only: bool = False, node: str = "") -> Document:
        source = {"claimName": claim, "readOnly": read_only}
        spec: Document = {
            "containers": [{"name": "main", "image": "busybox"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": source}],
        }
        if node:
            spec["nodeName"] = node
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


@pytest.fixture
def build() -> Builder:
    return Builder()


async def _grow(client: Client, name: str, size: str) -> None:
    patch = {"spec": {"resources": {"requests": {"storage": size}}}}
    await client.patch(CLAIMS, name, patch, namespace="default")


@pytest.fixture
def grow():
    return _grow


@dataclass
class ScriptedDriver:
    """A CSI driver that mounts nothing, answers NodeExpandVolume by plan and remembers what was called.

    `node_codes` are the answers of NodeExpandVolume by volume name, call by call, the last of which repeats.
    """

    address: str
    node_codes: dict[str, list[str]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    requests: list[tuple[str, object]] = field(default_factory=list)
    answered: int = 0

    def count(self, method: str, volume: str) -> int:
        return self.calls.count((method, volume))

    def note(self, method: str, volume: str, request: object) -> None:
        self.calls.append((method, volume))
        self.requests.append((method, request))


class _Identity(stubs.IdentityServicer):
    async def GetPluginInfo(self, request, context):
        return pb.GetPluginInfoResponse(name=DRIVER)


class _Controller(stubs.ControllerServicer):
    def __init__(self, script: ScriptedDriver) -> None:
        self._script = script

    async def ControllerGetCapabilities(self, request, context):
        rpc = pb.ControllerServiceCapability.RPC
        kinds = (rpc.CREATE_DELETE_VOLUME, rpc.PUBLISH_UNPUBLISH_VOLUME, rpc.EXPAND_VOLUME)
        return pb.ControllerGetCapabilitiesResponse(
            capabilities=[pb.ControllerServiceCapability(rpc=rpc(type=kind)) for kind in kinds]
        )

    async def CreateVolume(self, request, context):
        self._script.note("CreateVolume", request.name, request)
        volume = pb.Volume(volume_id=request.name, capacity_bytes=request.capacity_range.required_bytes)
        return pb.CreateVolumeResponse(volume=volume)

    async def DeleteVolume(self, request, context):
        self._script.note("DeleteVolume", request.volume_id, request)
        return pb.DeleteVolumeResponse()

    async def ControllerPublishVolume(self, request, context):
        self._script.note("ControllerPublishVolume", request.volume_id, request)
        return pb.ControllerPublishVolumeResponse(publish_context={"slot": "7"})

    async def ControllerUnpublishVolume(self, request, context):
        self._script.note("ControllerUnpublishVolume", request.volume_id, request)
        return pb.ControllerUnpublishVolumeResponse()


class _Node(stubs.NodeServicer):
    def __init__(self, script: ScriptedDriver) -> None:
        self._script = script

    async def NodeGetCapabilities(self, request, context):
        rpc = pb.NodeServiceCapability.RPC
        return pb.NodeGetCapabilitiesResponse(
            capabilities=[
                pb.NodeServiceCapability(rpc=rpc(type=kind)) for kind in (rpc.STAGE_UNSTAGE_VOLUME, rpc.EXPAND_VOLUME)
            ]
        )

    async def NodeGetInfo(self, request, context):
        return pb.NodeGetInfoResponse(node_id="scripted-node")

    async def NodeStageVolume(self, request, context):
        self._script.note("NodeStageVolume", request.volume_id, request)
        return pb.NodeStageVolumeResponse()

    async def NodeUnstageVolume(self, request, context):
        self._script.note("NodeUnstageVolume", request.volume_id, request)
        return pb.NodeUnstageVolumeResponse()

    async def NodePublishVolume(self, request, context):
        self._script.note("NodePublishVolume", request.volume_id, request)
        return pb.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(self, request, context):
        self._script.note("NodeUnpublishVolume", request.volume_id, request)
        return pb.NodeUnpublishVolumeResponse()

    async def NodeExpandVolume(self, request, context):
        codes = self._script.node_codes.get(request.volume_id, ["OK"])
        code = codes[min(self._script.count("NodeExpandVolume", request.volume_id), len(codes) - 1)]
        self._script.note("NodeExpandVolume", request.volume_id, request)
        if code != "OK":
            await context.abort(grpc.StatusCode[code], f"planned {code.lower()}")
        return pb.NodeExpandVolumeResponse(capacity_bytes=request.capacity_range.required_bytes)


@pytest.fixture
async def scripted_driver(tmp_path: Path):
    """Serve a scripted driver on a real socket."""
    script = ScriptedDriver(f"unix://{tmp_path}/scripted.sock")

    def register(server: grpc.aio.Server) -> None:
        stubs.add_IdentityServicer_to_server(_Identity(), server)
        stubs.add_ControllerServicer_to_server(_Controller(script), server)
        stubs.add_NodeServicer_to_server(_Node(script), server)

    async with serve_unix(script.address, register=register, grace_s=0.1):
        yield script
