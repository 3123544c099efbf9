"""A CSI driver as the cluster's own parts talk to it: stubs over its unix socket, and its errors as DriverError.

Used by the provisioner, the attacher and the kubelet-like part, which in a real cluster are the sidecars and the
kubelet. Capabilities are asked once, when the socket first answers. A driver that does not know CSI 1.x is spoken to
in `csi.v0`, behind the same calls (plugin_v0).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, cast

import grpc

from resizer.devcluster import plugin_v0
from resizer.model.errors import DriverError, GrpcCode
from resizer.rpc.channel import open_channel
from resizer.rpc.pb import csi_v1_pb2 as pb
from resizer.rpc.pb import csi_v1_pb2_grpc as stubs

CALL_TIMEOUT_S: Final = 120.0
_FIRST_ANSWER_TIMEOUT_S: Final = 30.0
_ControllerRpc = pb.ControllerServiceCapability.RPC
_NodeRpc = pb.NodeServiceCapability.RPC


class Plugin:
    """One driver: its name, what it can do, and one method for every call. Made by `open_plugin`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._identity = stubs.IdentityStub(channel)
        self.controller: Any = stubs.ControllerStub(channel)
        self.node: Any = stubs.NodeStub(channel)
        self.name = ""
        self.node_id = ""
        self.publishes = False
        self.stages = False
        self.expands_on_node = False
        self.single_node_multi_writer = False

    async def call(self, method: Any, request: Any, *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Make one call with a deadline; raises DriverError with the driver's code and text."""
        try:
            return await method(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise DriverError(cast("GrpcCode", error.code().name), error.details() or "") from error

    async def ask(self) -> None:
        """Wait for the socket to answer and learn what the driver can do."""
        wait = _FIRST_ANSWER_TIMEOUT_S
        try:
            info = await self._identity.GetPluginInfo(pb.GetPluginInfoRequest(), timeout=wait, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                await self._speak_v0()
                return
            raise DriverError(cast("GrpcCode", error.code().name), error.details() or "") from error
        self.name = info.name
        answer = await self.call(self.controller.ControllerGetCapabilities, pb.ControllerGetCapabilitiesRequest())
        controller = {capability.rpc.type for capability in answer.capabilities}
        answer = await self.call(self.node.NodeGetCapabilities, pb.NodeGetCapabilitiesRequest())
        node = {capability.rpc.type for capability in answer.capabilities}
        self.node_id = (await self.call(self.node.NodeGetInfo, pb.NodeGetInfoRequest())).node_id
        self.publishes = _ControllerRpc.PUBLISH_UNPUBLISH_VOLUME in controller
        self.single_node_multi_writer = _ControllerRpc.SINGLE_NODE_MULTI_WRITER in controller
        self.stages = _NodeRpc.STAGE_UNSTAGE_VOLUME in node
        self.expands_on_node = _NodeRpc.EXPAND_VOLUME in node

    async def _speak_v0(self) -> None:
        try:
            said = await plugin_v0.ask(self._channel, timeout_s=_FIRST_ANSWER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise DriverError(cast("GrpcCode", error.code().name), error.details() or "") from error
        self.controller, self.node = plugin_v0.controller_calls(self._channel), plugin_v0.node_calls(self._channel)
        self.name, self.node_id = said.name, said.node_id
        self.publishes, self.stages, self.expands_on_node = said.publishes, said.stages, said.expands_on_node


@contextlib.asynccontextmanager
async def open_plugin(address: str) -> AsyncIterator[Plugin]:
    """Open the driver at a unix socket, wait until it answers (30 s at most) and close the channel at the end."""
    channel = open_channel(address)
    try:
        plugin = Plugin(channel)
        await plugin.ask()
        yield plugin
    finally:
        await asyncio.shield(channel.close())


_ACCESS_MODES: Final = {
    "ReadOnlyMany": pb.VolumeCapability.AccessMode.MULTI_NODE_READER_ONLY,
    "ReadWriteMany": pb.VolumeCapability.AccessMode.MULTI_NODE_MULTI_WRITER,
}


def capability(spec: dict[str, Any], *, fs_type: str, single_node_multi_writer: bool) -> pb.VolumeCapability:
    """Return the capability that the spec of a claim or a volume (access modes, volume mode) stands for."""
    modes = pb.VolumeCapability.AccessMode
    wanted = spec.get("accessModes") or ["ReadWriteOnce"]
    mode = next((_ACCESS_MODES[name] for name in ("ReadWriteMany", "ReadOnlyMany") if name in wanted), None)
    if mode is None and single_node_multi_writer:
        once = wanted == ["ReadWriteOncePod"]
        mode = modes.SINGLE_NODE_SINGLE_WRITER if once else modes.SINGLE_NODE_MULTI_WRITER
    access = modes(mode=modes.SINGLE_NODE_WRITER if mode is None else mode)
    if spec.get("volumeMode") == "Block":
        return pb.VolumeCapability(block=pb.VolumeCapability.BlockVolume(), access_mode=access)
    mount = pb.VolumeCapability.MountVolume(fs_type=fs_type, mount_flags=spec.get("mountOptions", []))
    return pb.VolumeCapability(mount=mount, access_mode=access)
