"""A driver's node plugin as the agent talks to it: what it can do, and NodeExpandVolume, in either protocol.

Connections are opened for one growth and closed after it: growths are rare, and a socket that is kept open would be
one more thing to watch on every node. Each call has its deadline in itself; errors are DriverErrors.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

import grpc
from msgspec import Struct

from resizer.csi.call import Caller
from resizer.csi.plugin_v1 import message_of
from resizer.csi.telemetry import CsiTelemetry
from resizer.csi.volume_capability import capability_of
from resizer.model.errors import DriverError
from resizer.model.objects import Volume
from resizer.node.driver_socket import NodeSocket
from resizer.node.published import Published
from resizer.rpc.channel import open_channel
from resizer.rpc.pb import csi_v0_pb2 as v0
from resizer.rpc.pb import csi_v0_pb2_grpc as stubs_v0
from resizer.rpc.pb import csi_v1_pb2 as v1
from resizer.rpc.pb import csi_v1_pb2_grpc as stubs_v1

_ASK_TIMEOUT_S: Final = 10.0
_Rpc = v1.NodeServiceCapability.RPC


class Abilities(Struct, frozen=True):
    """What a node plugin says it can do."""

    expands: bool
    stages: bool
    single_node_multi_writer: bool = False


class NodePlugin(Protocol):
    """A node plugin on an open channel."""

    @property
    def abilities(self) -> Abilities:
        """What it said of itself."""

    async def expand(self, volume: Volume, place: Published, *, size_bytes: int, secrets: Mapping[str, str]) -> None:
        """Grow what is published there. Raises DriverError, or NotCalledError when nothing was sent."""


class NodePluginV1:
    """A node plugin that speaks `csi.v1`."""

    def __init__(self, channel: grpc.aio.Channel, *, abilities: Abilities, caller: Caller, timeout_s: float) -> None:
        self.abilities = abilities
        self._stub = stubs_v1.NodeStub(channel)
        self._caller = caller
        self._timeout_s = timeout_s

    async def expand(self, volume: Volume, place: Published, *, size_bytes: int, secrets: Mapping[str, str]) -> None:
        """Call NodeExpandVolume with both paths and the capability, as the kubelet does."""
        capability = capability_of(volume, single_node_multi_writer=self.abilities.single_node_multi_writer)
        request = v1.NodeExpandVolumeRequest(
            volume_id=volume.handle,
            volume_path=place.path,
            capacity_range=v1.CapacityRange(required_bytes=size_bytes),
            staging_target_path=place.staging_path if self.abilities.stages else "",
            volume_capability=message_of(capability),
            secrets=dict(secrets),
        )
        await self._caller.call(
            self._stub.NodeExpandVolume,
            request,
            method="/csi.v1.Node/NodeExpandVolume",
            timeout_s=self._timeout_s,
            secrets=secrets.values(),
        )


class NodePluginV0:
    """A node plugin that speaks the `csi.v0` extension: NodeResizeVolume knows the published path only."""

    def __init__(self, channel: grpc.aio.Channel, *, caller: Caller, timeout_s: float) -> None:
        # CSI 0.2 has no capability for growth: a driver that does not know the call says UNIMPLEMENTED.
        self.abilities = Abilities(expands=True, stages=False)
        self._stub = stubs_v0.NodeStub(channel)
        self._caller = caller
        self._timeout_s = timeout_s

    async def expand(self, volume: Volume, place: Published, *, size_bytes: int, secrets: Mapping[str, str]) -> None:
        """Call NodeResizeVolume."""
        del secrets
        request = v0.NodeResizeVolumeRequest(
            volume_id=volume.handle,
            volume_path=place.path,
            capacity_range=v0.CapacityRange(required_bytes=size_bytes),
        )
        await self._caller.call(
            self._stub.NodeResizeVolume,
            request,
            method="/csi.v0.Node/NodeResizeVolume",
            timeout_s=self._timeout_s,
        )


@contextlib.asynccontextmanager
async def open_node_plugin(
    socket: NodeSocket, *, telemetry: CsiTelemetry, timeout_s: float
) -> AsyncIterator[NodePlugin]:
    """Open the node plugin for the block. Raises DriverError when it does not answer."""
    channel = open_channel(socket.address)
    try:
        caller = Caller(telemetry=telemetry, driver=socket.driver)
        yield await _ask(channel, caller=caller, timeout_s=timeout_s)
    finally:
        await channel.close()


async def _ask(channel: grpc.aio.Channel, *, caller: Caller, timeout_s: float) -> NodePlugin:
    ask_s = min(timeout_s, _ASK_TIMEOUT_S)
    try:
        answer = await caller.call(
            stubs_v1.NodeStub(channel).NodeGetCapabilities,
            v1.NodeGetCapabilitiesRequest(),
            method="/csi.v1.Node/NodeGetCapabilities",
            timeout_s=ask_s,
        )
    except DriverError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        await caller.call(
            stubs_v0.NodeStub(channel).NodeGetCapabilities,
            v0.NodeGetCapabilitiesRequest(),
            method="/csi.v0.Node/NodeGetCapabilities",
            timeout_s=ask_s,
        )
        return NodePluginV0(channel, caller=caller, timeout_s=timeout_s)
    has = {one.rpc.type for one in answer.capabilities if one.HasField("rpc")}
    abilities = Abilities(
        expands=_Rpc.EXPAND_VOLUME in has,
        stages=_Rpc.STAGE_UNSTAGE_VOLUME in has,
        single_node_multi_writer=_Rpc.SINGLE_NODE_MULTI_WRITER in has,
    )
    return NodePluginV1(channel, abilities=abilities, caller=caller, timeout_s=timeout_s)
