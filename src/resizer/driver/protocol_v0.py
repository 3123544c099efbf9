"""csi.v0: CSI 0.2.0 with the three RPCs that grow a volume, over the services that speak CSI 1.x.

Each method turns its request into that of 1.x, lets the service answer, and turns the answer back. Nothing is
decided here. Field names differ (`id`, `attributes`, `publish_info`, secrets by purpose); numbers differ too, so
nothing is passed through as bytes.
"""

from resizer.driver.controller import Controller
from resizer.driver.identity import Identity
from resizer.driver.node import Node
from resizer.rpc.pb import csi_v0_pb2 as v0
from resizer.rpc.pb import csi_v1_pb2 as v1

ControllerRPC = v0.ControllerServiceCapability.RPC
NodeRPC = v0.NodeServiceCapability.RPC
PluginService = v0.PluginCapability.Service


def _range(capacity_range: v0.CapacityRange) -> v1.CapacityRange:
    return v1.CapacityRange(required_bytes=capacity_range.required_bytes, limit_bytes=capacity_range.limit_bytes)


def _capability(capability: v0.VolumeCapability) -> v1.VolumeCapability:
    mode = v1.VolumeCapability.AccessMode(
        mode=v1.VolumeCapability.AccessMode.Mode.ValueType(capability.access_mode.mode)
    )
    match capability.WhichOneof("access_type"):
        case "block":
            return v1.VolumeCapability(block=v1.VolumeCapability.BlockVolume(), access_mode=mode)
        case "mount":
            mount = v1.VolumeCapability.MountVolume(
                fs_type=capability.mount.fs_type, mount_flags=capability.mount.mount_flags
            )
            return v1.VolumeCapability(mount=mount, access_mode=mode)
        case _:
            return v1.VolumeCapability(access_mode=mode)


def _optional(capability: v0.VolumeCapability, *, present: bool) -> v1.VolumeCapability | None:
    return _capability(capability) if present else None


def _volume(volume: v1.Volume) -> v0.Volume:
    return v0.Volume(id=volume.volume_id, capacity_bytes=volume.capacity_bytes, attributes=volume.volume_context)


class IdentityV0:
    """The Identity service of csi.v0."""

    def __init__(self, identity: Identity) -> None:
        """Answer as `identity` does."""
        self._identity = identity

    async def get_plugin_info(self, request: v0.GetPluginInfoRequest) -> v0.GetPluginInfoResponse:
        """Name and version."""
        del request
        answer = await self._identity.get_plugin_info(v1.GetPluginInfoRequest())
        return v0.GetPluginInfoResponse(name=answer.name, vendor_version=answer.vendor_version)

    async def get_plugin_capabilities(
        self, request: v0.GetPluginCapabilitiesRequest
    ) -> v0.GetPluginCapabilitiesResponse:
        """A controller; 0.2.0 knows no more."""
        del request
        service = PluginService(type=PluginService.CONTROLLER_SERVICE)
        return v0.GetPluginCapabilitiesResponse(capabilities=[v0.PluginCapability(service=service)])

    async def probe(self, request: v0.ProbeRequest) -> v0.ProbeResponse:
        """Ready."""
        del request
        return v0.ProbeResponse()


class ControllerV0:
    """The Controller service of csi.v0."""

    def __init__(self, controller: Controller) -> None:
        """Answer as `controller` does."""
        self._controller = controller

    async def controller_get_capabilities(
        self, request: v0.ControllerGetCapabilitiesRequest
    ) -> v0.ControllerGetCapabilitiesResponse:
        """All that 0.2.0 knows."""
        del request
        kinds = (
            ControllerRPC.CREATE_DELETE_VOLUME,
            ControllerRPC.PUBLISH_UNPUBLISH_VOLUME,
            ControllerRPC.LIST_VOLUMES,
            ControllerRPC.GET_CAPACITY,
        )
        return v0.ControllerGetCapabilitiesResponse(
            capabilities=[v0.ControllerServiceCapability(rpc=ControllerRPC(type=kind)) for kind in kinds]
        )

    async def create_volume(self, request: v0.CreateVolumeRequest) -> v0.CreateVolumeResponse:
        """Make a volume."""
        answer = await self._controller.create_volume(
            v1.CreateVolumeRequest(
                name=request.name,
                capacity_range=_range(request.capacity_range),
                volume_capabilities=[_capability(capability) for capability in request.volume_capabilities],
                parameters=request.parameters,
                secrets=request.controller_create_secrets,
            )
        )
        return v0.CreateVolumeResponse(volume=_volume(answer.volume))

    async def delete_volume(self, request: v0.DeleteVolumeRequest) -> v0.DeleteVolumeResponse:
        """Delete a volume."""
        await self._controller.delete_volume(v1.DeleteVolumeRequest(volume_id=request.volume_id))
        return v0.DeleteVolumeResponse()

    async def controller_publish_volume(
        self, request: v0.ControllerPublishVolumeRequest
    ) -> v0.ControllerPublishVolumeResponse:
        """Note that the node uses the volume."""
        answer = await self._controller.controller_publish_volume(
            v1.ControllerPublishVolumeRequest(
                volume_id=request.volume_id,
                node_id=request.node_id,
                volume_capability=_optional(request.volume_capability, present=request.HasField("volume_capability")),
                readonly=request.readonly,
            )
        )
        return v0.ControllerPublishVolumeResponse(publish_info=answer.publish_context)

    async def controller_unpublish_volume(
        self, request: v0.ControllerUnpublishVolumeRequest
    ) -> v0.ControllerUnpublishVolumeResponse:
        """Forget that the node uses the volume."""
        await self._controller.controller_unpublish_volume(
            v1.ControllerUnpublishVolumeRequest(volume_id=request.volume_id, node_id=request.node_id)
        )
        return v0.ControllerUnpublishVolumeResponse()

    async def validate_volume_capabilities(
        self, request: v0.ValidateVolumeCapabilitiesRequest
    ) -> v0.ValidateVolumeCapabilitiesResponse:
        """Say whether the volume can be used so."""
        answer = await self._controller.validate_volume_capabilities(
            v1.ValidateVolumeCapabilitiesRequest(
                volume_id=request.volume_id,
                volume_capabilities=[_capability(capability) for capability in request.volume_capabilities],
            )
        )
        return v0.ValidateVolumeCapabilitiesResponse(supported=answer.HasField("confirmed"), message=answer.message)

    async def list_volumes(self, request: v0.ListVolumesRequest) -> v0.ListVolumesResponse:
        """One page of volumes."""
        answer = await self._controller.list_volumes(
            v1.ListVolumesRequest(max_entries=request.max_entries, starting_token=request.starting_token)
        )
        entries = [v0.ListVolumesResponse.Entry(volume=_volume(entry.volume)) for entry in answer.entries]
        return v0.ListVolumesResponse(entries=entries, next_token=answer.next_token)

    async def get_capacity(self, request: v0.GetCapacityRequest) -> v0.GetCapacityResponse:
        """What is left."""
        answer = await self._controller.get_capacity(
            v1.GetCapacityRequest(
                volume_capabilities=[_capability(capability) for capability in request.volume_capabilities]
            )
        )
        return v0.GetCapacityResponse(available_capacity=answer.available_capacity)

    async def requires_fs_resize(self, request: v0.RequiresFSResizeRequest) -> v0.RequiresFSResizeResponse:
        """Yes: a filesystem does not follow its device by itself. For a block volume the node has nothing to do."""
        del request
        return v0.RequiresFSResizeResponse(requires_fs_resize=True)

    async def controller_resize_volume(
        self, request: v0.ControllerResizeVolumeRequest
    ) -> v0.ControllerResizeVolumeResponse:
        """Grow the volume's file."""
        answer = await self._controller.controller_expand_volume(
            v1.ControllerExpandVolumeRequest(
                volume_id=request.volume_id,
                capacity_range=_range(request.capacity_range),
                secrets=request.controller_resize_secrets,
            )
        )
        return v0.ControllerResizeVolumeResponse(capacity_bytes=answer.capacity_bytes)


class NodeV0:
    """The Node service of csi.v0."""

    def __init__(self, node: Node) -> None:
        """Answer as `node` does."""
        self._node = node

    async def node_get_id(self, request: v0.NodeGetIdRequest) -> v0.NodeGetIdResponse:
        """The node's id."""
        del request
        answer = await self._node.node_get_info(v1.NodeGetInfoRequest())
        return v0.NodeGetIdResponse(node_id=answer.node_id)

    async def node_get_capabilities(self, request: v0.NodeGetCapabilitiesRequest) -> v0.NodeGetCapabilitiesResponse:
        """All that 0.2.0 knows."""
        del request
        staging = v0.NodeServiceCapability(rpc=NodeRPC(type=NodeRPC.STAGE_UNSTAGE_VOLUME))
        return v0.NodeGetCapabilitiesResponse(capabilities=[staging])

    async def node_stage_volume(self, request: v0.NodeStageVolumeRequest) -> v0.NodeStageVolumeResponse:
        """Mount the volume at its staging path."""
        await self._node.node_stage_volume(
            v1.NodeStageVolumeRequest(
                volume_id=request.volume_id,
                staging_target_path=request.staging_target_path,
                volume_capability=_optional(request.volume_capability, present=request.HasField("volume_capability")),
            )
        )
        return v0.NodeStageVolumeResponse()

    async def node_unstage_volume(self, request: v0.NodeUnstageVolumeRequest) -> v0.NodeUnstageVolumeResponse:
        """Unmount the volume from its staging path."""
        await self._node.node_unstage_volume(
            v1.NodeUnstageVolumeRequest(volume_id=request.volume_id, staging_target_path=request.staging_target_path)
        )
        return v0.NodeUnstageVolumeResponse()

    async def node_publish_volume(self, request: v0.NodePublishVolumeRequest) -> v0.NodePublishVolumeResponse:
        """Bind the volume to its target path."""
        await self._node.node_publish_volume(
            v1.NodePublishVolumeRequest(
                volume_id=request.volume_id,
                staging_target_path=request.staging_target_path,
                target_path=request.target_path,
                volume_capability=_optional(request.volume_capability, present=request.HasField("volume_capability")),
                readonly=request.readonly,
            )
        )
        return v0.NodePublishVolumeResponse()

    async def node_unpublish_volume(self, request: v0.NodeUnpublishVolumeRequest) -> v0.NodeUnpublishVolumeResponse:
        """Unbind the volume from its target path."""
        await self._node.node_unpublish_volume(
            v1.NodeUnpublishVolumeRequest(volume_id=request.volume_id, target_path=request.target_path)
        )
        return v0.NodeUnpublishVolumeResponse()

    async def node_resize_volume(self, request: v0.NodeResizeVolumeRequest) -> v0.NodeResizeVolumeResponse:
        """Grow the filesystem to the size of the volume."""
        answer = await self._node.node_expand_volume(
            v1.NodeExpandVolumeRequest(
                volume_id=request.volume_id,
                volume_path=request.volume_path,
                capacity_range=_range(request.capacity_range),
            )
        )
        return v0.NodeResizeVolumeResponse(capacity_bytes=answer.capacity_bytes)
