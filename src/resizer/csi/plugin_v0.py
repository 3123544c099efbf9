"""ExpandableVolumePlugin for the article's extension of CSI 0.2: ControllerResizeVolume and RequiresFSResize.

The extension's answer holds a size only; whether the node has to act is a fact of the driver as a whole
(RequiresFSResize takes no volume), asked once per connection and kept in `facts.node_expansion`. Access modes are
not part of the request, so no volume is refused for them.
"""

from collections.abc import Mapping
from typing import Final

import grpc

from resizer.csi.call import Caller
from resizer.csi.plugin_v1 import check_request
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.errors import NotCalledError
from resizer.model.objects import Volume
from resizer.rpc.pb import csi_v0_pb2 as pb
from resizer.rpc.pb.csi_v0_pb2_grpc import ControllerStub

METHOD: Final = "/csi.v0.Controller/ControllerResizeVolume"


class PluginV0:
    """A driver that speaks `csi.v0` with the extension, on an open channel."""

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
        del old_size_bytes
        check_request(volume, size_bytes=new_size_bytes)
        try:
            request = pb.ControllerResizeVolumeRequest(
                volume_id=volume.handle,
                capacity_range=pb.CapacityRange(required_bytes=new_size_bytes),
                controller_resize_secrets=dict(secrets),
            )
        except (ValueError, TypeError):  # text that UTF-8 cannot hold; the error quotes it, so it is not chained
            raise NotCalledError(f'volume "{volume.name}": its handle or secret holds no valid UTF-8') from None
        answer = await self._caller.call(
            self._controller.ControllerResizeVolume,
            request,
            method=METHOD,
            timeout_s=self._timeout_s,
            secrets=secrets.values(),
        )
        return Expansion(answer.capacity_bytes, self._facts.node_expansion)

    async def requires_fs_resize(self, volume: Volume) -> bool:
        """Say what the driver answered to RequiresFSResize."""
        del volume
        return self._facts.node_expansion
