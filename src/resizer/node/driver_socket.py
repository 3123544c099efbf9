"""Which socket a driver's node plugin answers on: asked of the plugins' registrations, as the kubelet does.

In: a driver's name. Out: the address of its node socket, or DriverNotFoundError with what was tried. Each registrar
below `plugins_registry` is asked GetInfo, all at once and briefly; what an answer names is kept until a call on it
fails. Sockets given by a flag are asked for their name instead, and go first.
"""

import asyncio
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc
from msgspec import Struct

from resizer.csi.call import Caller
from resizer.csi.interrogation import UnusableDriverError, valid_name
from resizer.csi.telemetry import CsiTelemetry
from resizer.model.errors import DriverError
from resizer.model.text import printable
from resizer.rpc.channel import MalformedAddressError, open_channel, socket_path
from resizer.rpc.pb import csi_v0_pb2, csi_v1_pb2
from resizer.rpc.pb import plugin_registration_pb2 as pb
from resizer.rpc.pb.csi_v0_pb2_grpc import IdentityStub as IdentityStubV0
from resizer.rpc.pb.csi_v1_pb2_grpc import IdentityStub
from resizer.rpc.pb.plugin_registration_pb2_grpc import RegistrationStub

REGISTRY: Final = "plugins_registry"
_PATTERN: Final = "*-reg.sock"
_TYPE: Final = "CSIPlugin"
_MOST_SOCKETS: Final = 200
_ASK_TIMEOUT_S: Final = 5.0
_SHOWN: Final = 160
_TRIED: Final = 750


class DriverNotFoundError(Exception):
    """No node plugin of that name answers on this node; the text says what was tried and what to do."""


class NodeSocket(Struct, frozen=True):
    """Where a driver's node plugin answers."""

    driver: str
    address: str


class SocketFinder:
    """Finds the node sockets of drivers. `addresses` are those given by a flag."""

    def __init__(self, root: Path, *, addresses: Sequence[str] = (), telemetry: CsiTelemetry) -> None:
        self._root = root
        self._addresses = tuple(socket_path(address) for address in addresses)
        self._telemetry = telemetry
        self._known: dict[str, NodeSocket] = {}

    async def find(self, driver: str) -> NodeSocket:
        """Return where this driver's node plugin answers. Raises DriverNotFoundError."""
        known = self._known.get(driver)
        if known is not None:
            return known
        found, problems = await self._look()
        for one in found:
            self._known[one.driver] = one
        if driver not in self._known:
            said = [f"registered: {', '.join(sorted(one.driver for one in found))}"] if found else []
            said += [printable(problem, limit=_SHOWN) for problem in problems]
            tried = "; ".join(said) or f"no socket {self._root / REGISTRY / _PATTERN} is there"
            raise DriverNotFoundError(
                f"no node plugin of driver {driver} answers on this node ({printable(tried, limit=_TRIED)}): "
                "is its DaemonSet running here? A plugin that does not register is named by --csi-address"
            )
        return self._known[driver]

    def forget(self, driver: str) -> None:
        """A call on the driver's socket failed for want of an answer: it may have moved."""
        self._known.pop(driver, None)

    async def _look(self) -> tuple[list[NodeSocket], list[str]]:
        registry = await asyncio.to_thread(self._registrars)
        answers = await asyncio.gather(
            *(self._ask_name(address) for address in self._addresses), *(self._ask_registrar(path) for path in registry)
        )
        # Flags go first: what they name is not overwritten by a registration of the same driver.
        found: dict[str, NodeSocket] = {}
        for answer in answers:
            if isinstance(answer, NodeSocket):
                found.setdefault(answer.driver, answer)
        return list(found.values()), [answer for answer in answers if isinstance(answer, str)]

    def _registrars(self) -> list[Path]:
        try:
            paths = sorted((self._root / REGISTRY).glob(_PATTERN))
        except OSError:
            return []
        return [path for path in paths if _is_socket(path)][:_MOST_SOCKETS]

    async def _ask_registrar(self, path: Path) -> NodeSocket | str:
        """Return what is registered there, or why nothing usable is."""
        try:
            channel = open_channel(str(path))
        except MalformedAddressError as error:
            return str(error)
        try:
            info = await Caller(telemetry=self._telemetry).call(
                RegistrationStub(channel).GetInfo,
                pb.InfoRequest(),
                method="/pluginregistration.Registration/GetInfo",
                timeout_s=_ASK_TIMEOUT_S,
            )
        except DriverError as error:
            return f"{path}: {error}"
        finally:
            await channel.close()
        if info.type != _TYPE:
            return f"{path} registers a {printable(info.type, limit=_SHOWN)}, no CSI driver"
        try:
            return NodeSocket(valid_name(info.name), socket_path(info.endpoint or str(path)))
        except (UnusableDriverError, MalformedAddressError) as error:
            return f"{path}: {error}"

    async def _ask_name(self, address: str) -> NodeSocket | str:
        """Return who answers at an address given by a flag, in either protocol."""
        channel = open_channel(address)
        caller = Caller(telemetry=self._telemetry)
        try:
            return NodeSocket(valid_name(await _plugin_name(channel, caller)), address)
        except (DriverError, UnusableDriverError) as error:
            return f"{address}: {error}"
        finally:
            await channel.close()


async def _plugin_name(channel: grpc.aio.Channel, caller: Caller) -> str:
    try:
        info = await caller.call(
            IdentityStub(channel).GetPluginInfo,
            csi_v1_pb2.GetPluginInfoRequest(),
            method="/csi.v1.Identity/GetPluginInfo",
            timeout_s=_ASK_TIMEOUT_S,
        )
    except DriverError as error:
        if error.code != "UNIMPLEMENTED":
            raise
        old = await caller.call(
            IdentityStubV0(channel).GetPluginInfo,
            csi_v0_pb2.GetPluginInfoRequest(),
            method="/csi.v0.Identity/GetPluginInfo",
            timeout_s=_ASK_TIMEOUT_S,
        )
        return old.name
    return info.name


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
