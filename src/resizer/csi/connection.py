"""A connection to one driver's socket, kept for the life of the process, and the driver behind it.

In: a socket address. Out: a `ConnectedDriver`, which the pipeline uses as its plugin. `run` waits for the socket
(it may appear later), asks the driver who it is, watches the connection, and begins again when it breaks: a
driver that restarts is reconnected to and asked afresh, one that hangs holds up nobody else, since every
connection has a task and a channel of its own. Each change of state is logged once.

While nobody is connected, or somebody of another name is, calls are not sent at all (NotCalledError): a volume's
handle never goes to a driver that has not just said that it is the right one.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from typing import Final, Literal

import grpc
import structlog
from msgspec import Struct

from resizer.csi.call import Caller
from resizer.csi.interrogation import NotReadyError, UnusableDriverError, ask_driver
from resizer.csi.plugin_v0 import PluginV0
from resizer.csi.plugin_v1 import PluginV1
from resizer.csi.telemetry import CsiTelemetry
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.errors import DriverError, NotConnectedError
from resizer.model.objects import Volume
from resizer.rpc.channel import MalformedAddressError, open_channel, socket_path

__all__ = ["ConnectedDriver", "ConnectionState", "DriverConnection", "MalformedAddressError"]

_RETRY_START_S: Final = 0.2
_RETRY_MAX_S: Final = 2.0
_UNUSABLE_RETRY_S: Final = 30.0
_IDENTITY_TIMEOUT_S: Final = 10.0

Phase = Literal["waiting", "asking", "connected", "unusable"]
Plugin = PluginV1 | PluginV0
Listener = Callable[["ConnectedDriver | None"], None]

log = structlog.get_logger()


class ConnectionState(Struct, frozen=True):
    """Where a connection stands. `reason` says why it is not connected, `since_s` is the event loop's time."""

    address: str
    phase: Phase
    driver: str
    reason: str
    since_s: float


class ConnectedDriver:
    """The driver of one name behind one address: the ExpandableVolumePlugin that survives its restarts."""

    def __init__(self, plugin: Plugin) -> None:
        self._facts = plugin.facts
        self._plugin: Plugin | None = plugin

    @property
    def facts(self) -> DriverFacts:
        """What the driver said of itself when it was last connected."""
        return self._facts

    @property
    def connected(self) -> bool:
        """Whether calls are sent right now."""
        return self._plugin is not None

    def attach(self, plugin: Plugin | None) -> None:
        """Take over a new connection to the same driver; None when it is lost. Called by DriverConnection only."""
        self._plugin = plugin
        if plugin is not None:
            self._facts = plugin.facts

    async def expand_volume_device(
        self, volume: Volume, *, new_size_bytes: int, old_size_bytes: int, secrets: Mapping[str, str]
    ) -> Expansion:
        """Grow the volume. Raises DriverError, or NotCalledError when nothing was sent."""
        return await self._connected().expand_volume_device(
            volume, new_size_bytes=new_size_bytes, old_size_bytes=old_size_bytes, secrets=secrets
        )

    async def requires_fs_resize(self, volume: Volume) -> bool:
        """Whether the filesystem has to be grown on the node after this driver has grown a volume."""
        return await self._connected().requires_fs_resize(volume)

    def _connected(self) -> Plugin:
        if self._plugin is None:
            raise NotConnectedError(f"driver {self._facts.name} is not connected: nobody answers on its socket")
        return self._plugin


class DriverConnection:
    """One address. `run` keeps the connection until it is cancelled; the rest can be asked at any time."""

    def __init__(self, address: str, *, timeout_s: float, telemetry: CsiTelemetry) -> None:
        self._path = socket_path(address)  # MalformedAddressError now, not when it is too late
        self._timeout_s = timeout_s
        self._telemetry = telemetry
        self._driver: ConnectedDriver | None = None
        self._first: ConnectedDriver | None = None
        self._listeners: list[Listener] = []
        self._waiters: list[asyncio.Future[ConnectedDriver]] = []
        self._cause = ""
        self.state = ConnectionState(address, "waiting", "", "not tried yet", 0.0)

    @property
    def driver(self) -> ConnectedDriver | None:
        """The driver behind the address, None until one has been connected to. It may be away at the moment."""
        return self._driver

    def on_change(self, listener: Listener) -> None:
        """Call the listener with the driver when it is connected (again, too), with None when it is lost."""
        self._listeners.append(listener)

    async def wait_driver(self) -> ConnectedDriver:
        """Wait until a driver is connected."""
        if self._driver is not None and self._driver.connected:
            return self._driver
        waiter: asyncio.Future[ConnectedDriver] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        finally:
            self._waiters.remove(waiter)

    async def run(self) -> None:
        """Connect, ask, watch, and begin again, until cancelled."""
        channel = open_channel(self._path)
        self._telemetry.driver_disconnected(address=self.state.address, driver="")
        retry_s = _RETRY_START_S
        try:
            while True:
                await self._wait_ready(channel)
                plugin = await self._ask(channel)
                if plugin is None:
                    unusable = self.state.phase == "unusable"
                    await _wait_change(channel, at_most_s=_UNUSABLE_RETRY_S if unusable else retry_s)
                    retry_s = min(retry_s * 2, _RETRY_MAX_S)
                    continue
                retry_s = _RETRY_START_S
                self._connect(plugin)
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
                self._lose("waiting", "the connection broke")
        finally:
            self._detach()
            await channel.close()

    async def _wait_ready(self, channel: grpc.aio.Channel) -> None:
        while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                self._lose("waiting", _obstacle(self._path))
            await channel.wait_for_state_change(state)

    async def _ask(self, channel: grpc.aio.Channel) -> Plugin | None:
        caller = Caller(telemetry=self._telemetry)
        try:
            facts = await ask_driver(channel, caller=caller, timeout_s=min(self._timeout_s, _IDENTITY_TIMEOUT_S))
        except UnusableDriverError as error:
            self._lose("unusable", str(error))
        except NotReadyError as error:
            self._lose("asking", str(error))
        except DriverError as error:
            self._lose("asking", str(error), cause=error.code)
        else:
            kind = PluginV0 if facts.protocol == "v0" else PluginV1
            return kind(channel, facts=facts, caller=caller, timeout_s=self._timeout_s)
        return None

    def _connect(self, plugin: Plugin) -> None:
        facts = plugin.facts
        if self._driver is None or self._driver.facts.name != facts.name:
            # Whoever was here first has a work group that holds on to this very object.
            is_back = self._first is not None and self._first.facts.name == facts.name
            self._driver = self._first if is_back else ConnectedDriver(plugin)
        assert self._driver is not None
        self._driver.attach(plugin)
        self._first = self._first or self._driver
        self.state = ConnectionState(self.state.address, "connected", facts.name, "", self._now_s())
        log.info(
            "driver.connected",
            address=self.state.address,
            driver=facts.name,
            version=facts.version,
            protocol=facts.protocol,
            controller_expansion=facts.controller_expansion,
            node_expansion=facts.node_expansion,
        )
        self._telemetry.driver_connected(address=self.state.address, facts=facts)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(self._driver)
        self._tell(self._driver)

    def _lose(self, phase: Phase, reason: str, *, cause: str = "") -> None:
        """Enter a state in which nothing is sent; said once for each phase and cause (a text may change each time)."""
        was_connected = self.state.phase == "connected"
        is_news = (self.state.phase, self._cause) != (phase, cause or reason)
        self._cause = cause or reason
        if not is_news:
            return
        name = self._driver.facts.name if self._driver else ""
        self.state = ConnectionState(self.state.address, phase, name, reason, self._now_s())
        say = log.error if phase == "unusable" else log.warning
        say(f"driver.{'lost' if was_connected else phase}", address=self.state.address, driver=name, reason=reason)
        if was_connected:
            self._detach()

    def _detach(self) -> None:
        if self._driver is None or not self._driver.connected:
            return
        self._driver.attach(None)
        self._telemetry.driver_disconnected(address=self.state.address, driver=self._driver.facts.name)
        self._tell(None)

    def _tell(self, driver: ConnectedDriver | None) -> None:
        for listener in self._listeners:
            listener(driver)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


async def _wait_change(channel: grpc.aio.Channel, *, at_most_s: float) -> None:
    """Wait until the connection breaks, or for this long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)


def _obstacle(path: str) -> str:
    """Say why nobody answers at this path, as far as the filesystem tells."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 -- one call, and its error names the cause
    except FileNotFoundError:
        return f"there is no socket at {path} yet"
    except OSError as error:
        return f"socket {path} cannot be reached: {error.strerror}"
    if not stat.S_ISSOCK(mode):
        return f"{path} is no socket"
    if not os.access(path, os.W_OK):
        return f"no right to connect to {path}: the driver has to bind it with a wider mode, or run us as its user"
    return f"nobody answers on socket {path}"
