"""ExpandableVolumePlugin for CSI 1.x: a growth is one ControllerExpandVolume (CSI 1.12).

Called by the controller-resize stage. Only `required_bytes` is set, never a limit, as the peer does: a driver may
grant more. What it grants is handed on as it is; whether that is enough is the core's decision.
"""

from collections.abc import Mapping
from typing import Final

import grpc

from resizer.csi.call import Caller
from resizer.csi.volume_capability import Capability, capability_of
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.errors import NotCalledError
from resizer.model.objects import Volume
from resizer.rpc.pb import csi_v1_pb2 as pb
from resizer.rpc.pb.csi_v1_pb2_grpc import ControllerStub

METHOD: Final = "/csi.v1.Controller/ControllerExpandVolume"
MAX_BYTES: Final = 2**63 - 1


def check_request(volume: Volume, *, size_bytes: int) -> None:
    """Raise NotCalledError for what no request can carry: an empty handle, a size that does not fit int64."""
    if volume.untranslatable:
        raise NotCalledError(volume.untranslatable)
    if not volume.handle:
        raise NotCalledError(f'volume "{volume.name}" has an empty volumeHandle: no driver can know which is meant')
    if not 0 < size_bytes <= MAX_BYTES:
        raise NotCalledError(f'volume "{volume.name}": {size_bytes} bytes cannot be asked for through CSI')


class PluginV1:
    """A driver that speaks `csi.v1`, on an open channel."""

    def __init__(self, channel: grpc.aio.Channel, *, facts: DriverFacts, caller: Caller, timeout_s: float) -> None:
        self._facts = facts
        self._caller = caller
        self._timeout_s = timeout_s
        self._controller = ControllerStub(channel)

    @property
    def facts(self) -> DriverFacts:
        """What the driver said of itself."""
        return self._facts

    async def expand_volume_device(
        self, volume: Volume, *, new_size_bytes: int, old_size_bytes: int, secrets: Mapping[str, str]
    ) -> Expansion:
        """Ask for `new_size_bytes`. Raises DriverError, or NotCalledError before anything was sent."""
        del old_size_bytes  # the article's interface has it; CSI 1.x does not ask
        request = self._request(volume, size_bytes=new_size_bytes, secrets=secrets)
        answer = await self._caller.call(
            self._controller.ControllerExpandVolume,
            request,
            method=METHOD,
            timeout_s=self._timeout_s,
            secrets=secrets.values(),
        )
        return Expansion(answer.capacity_bytes, answer.node_expansion_required)

    async def requires_fs_resize(self, volume: Volume) -> bool:
        """Whether this driver grows filesystems on the node at all; each answer of its controller says more."""
        del volume
        return self._facts.node_expansion

    def _request(
        self, volume: Volume, *, size_bytes: int, secrets: Mapping[str, str]
    ) -> pb.ControllerExpandVolumeRequest:
        check_request(volume, size_bytes=size_bytes)
        capability = capability_of(volume, single_node_multi_writer=self._facts.single_node_multi_writer)
        try:
            return pb.ControllerExpandVolumeRequest(
                volume_id=volume.handle,
                capacity_range=pb.CapacityRange(required_bytes=size_bytes),
                secrets=dict(secrets),
                volume_capability=message_of(capability),
            )
        except (ValueError, TypeError):  # text that UTF-8 cannot hold; the error quotes it, so it is not chained
            raise NotCalledError(
                f'volume "{volume.name}": its handle, mount options or secret hold text that is no valid UTF-8'
            ) from None


def message_of(capability: Capability) -> pb.VolumeCapability:
    """Write a capability as CSI 1.x does."""
    mode = pb.VolumeCapability.AccessMode(mode=pb.VolumeCapability.AccessMode.Mode.Value(capability.access_mode))
    if capability.block:
        return pb.VolumeCapability(block=pb.VolumeCapability.BlockVolume(), access_mode=mode)
    mount = pb.VolumeCapability.MountVolume(fs_type=capability.fs_type, mount_flags=capability.mount_flags)
    return pb.VolumeCapability(mount=mount, access_mode=mode)
