"""A driver that speaks `csi.v0` only, with the stubs of CSI 1.x before it: requests and answers are rewritten.

The cluster's parts (provisioner, attacher, kubelet-like part) are written for CSI 1.x and do not notice. What 0.2
has no word for (staging path and secrets at growth) is left out; growing on the node is NodeResizeVolume, and
whether the node has to act is what RequiresFSResize answers.
"""

from types import SimpleNamespace
from typing import Any

import grpc
from msgspec import Struct

from resizer.rpc.pb import csi_v0_pb2 as v0
from resizer.rpc.pb import csi_v0_pb2_grpc as stubs
from resizer.rpc.pb import csi_v1_pb2 as v1

_ControllerRpc = v0.ControllerServiceCapability.RPC
_NodeRpc = v0.NodeServiceCapability.RPC


class Abilities(Struct, frozen=True):
    """What such a driver said of itself."""

    name: str
    node_id: str
    publishes: bool
    stages: bool
    expands_on_node: bool


async def ask(channel: grpc.aio.Channel, *, timeout_s: float) -> Abilities:
    """Ask the driver who it is and what it can do. Raises grpc.aio.AioRpcError."""
    identity, controller, node = stubs.IdentityStub(channel), stubs.ControllerStub(channel), stubs.NodeStub(channel)
    info = await identity.GetPluginInfo(v0.GetPluginInfoRequest(), timeout=timeout_s)
    answer = await controller.ControllerGetCapabilities(v0.ControllerGetCapabilitiesRequest(), timeout=timeout_s)
    of_node = await node.NodeGetCapabilities(v0.NodeGetCapabilitiesRequest(), timeout=timeout_s)
    node_id = await node.NodeGetId(v0.NodeGetIdRequest(), timeout=timeout_s)
    resize = await controller.RequiresFSResize(v0.RequiresFSResizeRequest(), timeout=timeout_s)
    return Abilities(
        name=info.name,
        node_id=node_id.node_id,
        publishes=any(one.rpc.type == _ControllerRpc.PUBLISH_UNPUBLISH_VOLUME for one in answer.capabilities),
        stages=any(one.rpc.type == _NodeRpc.STAGE_UNSTAGE_VOLUME for one in of_node.capabilities),
        expands_on_node=resize.requires_fs_resize,
    )


def controller_calls(channel: grpc.aio.Channel) -> SimpleNamespace:
    """Return the controller's calls under their names in CSI 1.x."""
    stub = stubs.ControllerStub(channel)

    async def create(request: v1.CreateVolumeRequest, *, timeout: float) -> v1.CreateVolumeResponse:
        answer = await stub.CreateVolume(
            v0.CreateVolumeRequest(
                name=request.name,
                capacity_range=_range(request.capacity_range),
                volume_capabilities=[_capability(one) for one in request.volume_capabilities],
                parameters=request.parameters,
                controller_create_secrets=request.secrets,
            ),
            timeout=timeout,
        )
        made = answer.volume
        return v1.CreateVolumeResponse(
            volume=v1.Volume(volume_id=made.id, capacity_bytes=made.capacity_bytes, volume_context=made.attributes)
        )

    async def delete(request: v1.DeleteVolumeRequest, *, timeout: float) -> v1.DeleteVolumeResponse:
        asked = v0.DeleteVolumeRequest(volume_id=request.volume_id, controller_delete_secrets=request.secrets)
        await stub.DeleteVolume(asked, timeout=timeout)
        return v1.DeleteVolumeResponse()

    async def publish(
        request: v1.ControllerPublishVolumeRequest, *, timeout: float
    ) -> v1.ControllerPublishVolumeResponse:
        answer = await stub.ControllerPublishVolume(
            v0.ControllerPublishVolumeRequest(
                volume_id=request.volume_id,
                node_id=request.node_id,
                volume_capability=_capability(request.volume_capability),
                readonly=request.readonly,
                controller_publish_secrets=request.secrets,
                volume_attributes=request.volume_context,
            ),
            timeout=timeout,
        )
        return v1.ControllerPublishVolumeResponse(publish_context=answer.publish_info)

    async def unpublish(
        request: v1.ControllerUnpublishVolumeRequest, *, timeout: float
    ) -> v1.ControllerUnpublishVolumeResponse:
        asked = v0.ControllerUnpublishVolumeRequest(
            volume_id=request.volume_id, node_id=request.node_id, controller_unpublish_secrets=request.secrets
        )
        await stub.ControllerUnpublishVolume(asked, timeout=timeout)
        return v1.ControllerUnpublishVolumeResponse()

    return SimpleNamespace(
        CreateVolume=create,
        DeleteVolume=delete,
        ControllerPublishVolume=publish,
        ControllerUnpublishVolume=unpublish,
    )


def node_calls(channel: grpc.aio.Channel) -> SimpleNamespace:
    """Return the node's calls under their names in CSI 1.x."""
    stub = stubs.NodeStub(channel)

    async def stage(request: v1.NodeStageVolumeRequest, *, timeout: float) -> v1.NodeStageVolumeResponse:
        await stub.NodeStageVolume(
            v0.NodeStageVolumeRequest(
                volume_id=request.volume_id,
                publish_info=request.publish_context,
                staging_target_path=request.staging_target_path,
                volume_capability=_capability(request.volume_capability),
                node_stage_secrets=request.secrets,
                volume_attributes=request.volume_context,
            ),
            timeout=timeout,
        )
        return v1.NodeStageVolumeResponse()

    async def publish(request: v1.NodePublishVolumeRequest, *, timeout: float) -> v1.NodePublishVolumeResponse:
        await stub.NodePublishVolume(
            v0.NodePublishVolumeRequest(
                volume_id=request.volume_id,
                publish_info=request.publish_context,
                staging_target_path=request.staging_target_path,
                target_path=request.target_path,
                volume_capability=_capability(request.volume_capability),
                readonly=request.readonly,
                node_publish_secrets=request.secrets,
                volume_attributes=request.volume_context,
            ),
            timeout=timeout,
        )
        return v1.NodePublishVolumeResponse()

    return SimpleNamespace(NodeStageVolume=stage, NodePublishVolume=publish, **_undoing(stub))


def _undoing(stub: Any) -> dict[str, Any]:
    """Return the node's remaining calls, which name a volume and its paths only."""

    async def unstage(request: v1.NodeUnstageVolumeRequest, *, timeout: float) -> v1.NodeUnstageVolumeResponse:
        asked = v0.NodeUnstageVolumeRequest(
            volume_id=request.volume_id, staging_target_path=request.staging_target_path
        )
        await stub.NodeUnstageVolume(asked, timeout=timeout)
        return v1.NodeUnstageVolumeResponse()

    async def unpublish(request: v1.NodeUnpublishVolumeRequest, *, timeout: float) -> v1.NodeUnpublishVolumeResponse:
        asked = v0.NodeUnpublishVolumeRequest(volume_id=request.volume_id, target_path=request.target_path)
        await stub.NodeUnpublishVolume(asked, timeout=timeout)
        return v1.NodeUnpublishVolumeResponse()

    async def expand(request: v1.NodeExpandVolumeRequest, *, timeout: float) -> v1.NodeExpandVolumeResponse:
        asked = v0.NodeResizeVolumeRequest(
            volume_id=request.volume_id,
            volume_path=request.volume_path,
            capacity_range=_range(request.capacity_range),
        )
        answer = await stub.NodeResizeVolume(asked, timeout=timeout)
        return v1.NodeExpandVolumeResponse(capacity_bytes=answer.capacity_bytes)

    return {"NodeUnstageVolume": unstage, "NodeUnpublishVolume": unpublish, "NodeExpandVolume": expand}


def _range(capacity_range: v1.CapacityRange) -> v0.CapacityRange:
    return v0.CapacityRange(required_bytes=capacity_range.required_bytes, limit_bytes=capacity_range.limit_bytes)


def _capability(capability: v1.VolumeCapability) -> v0.VolumeCapability:
    """Rewrite a capability; access modes up to MULTI_NODE_MULTI_WRITER have the same numbers, and no other is used."""
    mode = v0.VolumeCapability.AccessMode(
        mode=v0.VolumeCapability.AccessMode.Mode.ValueType(capability.access_mode.mode)
    )
    if capability.WhichOneof("access_type") == "block":
        return v0.VolumeCapability(block=v0.VolumeCapability.BlockVolume(), access_mode=mode)
    mount = v0.VolumeCapability.MountVolume(fs_type=capability.mount.fs_type, mount_flags=capability.mount.mount_flags)
    return v0.VolumeCapability(mount=mount, access_mode=mode)
