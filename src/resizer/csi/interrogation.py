"""What a driver is asked when it has just been connected to, and what may not be served.

Name first (it settles the protocol), then whether it is ready, then capabilities: DriverFacts. Called by
`connection`, once per connection. Raises DriverError for a call that failed (asked again soon) and
UnusableDriverError for answers with which no volume can be grown (asked again rarely: they change with a new
version of the driver, not with time).
"""

import re
from typing import Final

import grpc

from resizer.csi.call import Caller
from resizer.model.driver import DriverFacts
from resizer.model.errors import DriverError
from resizer.model.text import printable
from resizer.rpc.pb import csi_v0_pb2 as v0
from resizer.rpc.pb import csi_v1_pb2 as v1
from resizer.rpc.pb.csi_v0_pb2_grpc import ControllerStub as ControllerStubV0
from resizer.rpc.pb.csi_v0_pb2_grpc import IdentityStub as IdentityStubV0
from resizer.rpc.pb.csi_v1_pb2_grpc import ControllerStub, IdentityStub, NodeStub

_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9.]{0,61}[a-zA-Z0-9])?")
_SHOWN: Final = 100

Service = v1.PluginCapability.Service
Expansion = v1.PluginCapability.VolumeExpansion
ControllerRpc = v1.ControllerServiceCapability.RPC
NodeRpc = v1.NodeServiceCapability.RPC


class UnusableDriverError(Exception):
    """The driver answers, and cannot be worked with; the text says why and what to do."""


class NotReadyError(Exception):
    """The driver says of itself that it is not ready yet."""


async def ask_driver(channel: grpc.aio.Channel, *, caller: Caller, timeout_s: float) -> DriverFacts:
    """Learn who is there and what it can do, in `csi.v1`, else in `csi.v0`. Each call takes `timeout_s` at most."""
    try:
        info = await caller.call(
            IdentityStub(channel).GetPluginInfo,
            v1.GetPluginInfoRequest(),
            method="/csi.v1.Identity/GetPluginInfo",
            timeout_s=timeout_s,
        )
    except DriverError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        return await _ask_v0(channel, caller=caller, timeout_s=timeout_s)
    caller.driver = valid_name(info.name)
    return await _ask_v1(channel, version=info.vendor_version, caller=caller, timeout_s=timeout_s)


def valid_name(name: str) -> str:
    """Return the name if it is one by the CSI specification (GetPluginInfoResponse); else UnusableDriverError."""
    if _NAME.fullmatch(name) is None:
        raise UnusableDriverError(
            f"the driver calls itself {printable(name, limit=_SHOWN)!r}: a CSI driver's name has 1 to 63 letters, "
            "digits, dots and dashes, and begins and ends with a letter or digit; mend the driver"
        )
    return name


async def _ask_v1(channel: grpc.aio.Channel, *, version: str, caller: Caller, timeout_s: float) -> DriverFacts:
    identity = IdentityStub(channel)
    probe = await caller.call(identity.Probe, v1.ProbeRequest(), method="/csi.v1.Identity/Probe", timeout_s=timeout_s)
    if probe.HasField("ready") and not probe.ready.value:  # absent means ready (CSI, ProbeResponse)
        raise NotReadyError("the driver answers Probe with ready=false")
    plugin = await caller.call(
        identity.GetPluginCapabilities,
        v1.GetPluginCapabilitiesRequest(),
        method="/csi.v1.Identity/GetPluginCapabilities",
        timeout_s=timeout_s,
    )
    services = {c.service.type for c in plugin.capabilities if c.HasField("service")}
    expansions = {c.volume_expansion.type for c in plugin.capabilities if c.HasField("volume_expansion")}
    if Service.CONTROLLER_SERVICE not in services:
        raise UnusableDriverError(
            f"driver {caller.driver} has no CONTROLLER_SERVICE: give its controller plugin's socket, not the node's"
        )
    controller = await caller.call(
        ControllerStub(channel).ControllerGetCapabilities,
        v1.ControllerGetCapabilitiesRequest(),
        method="/csi.v1.Controller/ControllerGetCapabilities",
        timeout_s=timeout_s,
    )
    rpcs = {c.rpc.type for c in controller.capabilities if c.HasField("rpc")}
    grows = ControllerRpc.EXPAND_VOLUME in rpcs
    return DriverFacts(
        name=caller.driver,
        version=printable(version, limit=_SHOWN),
        protocol="v1",
        controller_expansion=grows,
        node_expansion=await _node_grows(channel, caller=caller, timeout_s=timeout_s, controller_grows=grows),
        single_node_multi_writer=ControllerRpc.SINGLE_NODE_MULTI_WRITER in rpcs,
        online_expansion=not expansions or Expansion.ONLINE in expansions,
        modify_volume=ControllerRpc.MODIFY_VOLUME in rpcs,
    )


async def _node_grows(channel: grpc.aio.Channel, *, caller: Caller, timeout_s: float, controller_grows: bool) -> bool:
    """Whether the node plugin expands volumes; it must, where the controller does not.

    A controller's socket often serves no Node service. Where the controller grows volumes that is no obstacle:
    each of its answers says whether the node has to act, so "yes" is assumed here.
    """
    try:
        answer = await caller.call(
            NodeStub(channel).NodeGetCapabilities,
            v1.NodeGetCapabilitiesRequest(),
            method="/csi.v1.Node/NodeGetCapabilities",
            timeout_s=timeout_s,
        )
    except DriverError as error:
        if controller_grows:
            return True
        if error.code != "UNIMPLEMENTED":
            raise
        node_grows = False
    else:
        node_grows = any(c.HasField("rpc") and c.rpc.type == NodeRpc.EXPAND_VOLUME for c in answer.capabilities)
    if not controller_grows and not node_grows:
        raise UnusableDriverError(
            f"driver {caller.driver} has EXPAND_VOLUME neither among its controller's nor its node's capabilities: "
            "it cannot grow volumes, remove its --csi-address"
        )
    return node_grows


async def _ask_v0(channel: grpc.aio.Channel, *, caller: Caller, timeout_s: float) -> DriverFacts:
    identity = IdentityStubV0(channel)
    try:
        info = await caller.call(
            identity.GetPluginInfo,
            v0.GetPluginInfoRequest(),
            method="/csi.v0.Identity/GetPluginInfo",
            timeout_s=timeout_s,
        )
    except DriverError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        raise UnusableDriverError(
            "the server behind the socket speaks neither csi.v1 nor csi.v0: it is no CSI driver, check --csi-address"
        ) from error
    caller.driver = valid_name(info.name)
    await caller.call(identity.Probe, v0.ProbeRequest(), method="/csi.v0.Identity/Probe", timeout_s=timeout_s)
    try:
        answer = await caller.call(
            ControllerStubV0(channel).RequiresFSResize,
            v0.RequiresFSResizeRequest(),
            method="/csi.v0.Controller/RequiresFSResize",
            timeout_s=timeout_s,
        )
    except DriverError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        raise UnusableDriverError(
            f"driver {caller.driver} speaks csi.v0 without RequiresFSResize: it cannot grow volumes, "
            "remove its --csi-address or update it"
        ) from error
    return DriverFacts(
        name=caller.driver,
        version=printable(info.vendor_version, limit=_SHOWN),
        protocol="v0",
        controller_expansion=True,
        node_expansion=answer.requires_fs_resize,
    )
