"""The sockets of the HTTP endpoint: bound exactly as configured, and each client held to a time and a number.

Called by `http`. aiohttp gives a client all the time it wants to send its headers and to take its answer, so that a
few hundred slow ones would hold memory and file descriptors for ever (slowloris). Here a connection is one request:
TLS handshake, headers and answer together have `lifetime_s`, then it is cut. When `connections` are open the oldest
one makes way for the newest: a flood of idle clients cannot keep the kubelet's probe out.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

import structlog
from msgspec import Struct

from resizer.obs.address import ListenAddress

BACKLOG: Final = 128
_PAUSE_S: Final = 0.5

log = structlog.get_logger()


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """What all clients together, and each of them, may take."""

    connections: int = 100
    lifetime_s: float = 30.0
    handshake_s: float = 5.0


class Listener:
    """Listens and accepts. `make_protocol` gives the protocol (aiohttp's) of one connection."""

    def __init__(
        self,
        make_protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._make_protocol = make_protocol
        self._tls = tls
        self._limits = limits or ConnectionLimits()
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._connections: dict[asyncio.Task[None], None] = {}  # in the order in which they came

    async def open(self, where: ListenAddress) -> int:
        """Bind every address that `where` means and begin to accept; returns the port. Raises OSError."""
        try:
            self._sockets = await _bind(where)
        except UnicodeError as error:  # a host name with an impossible label
            raise OSError(errno.EINVAL, "no usable host name") from error
        self._accepting = [asyncio.create_task(self._accept(one), name="http-accept") for one in self._sockets]
        port: int = self._sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Accept no more; connections that are open go on."""
        await _end(self._accepting)
        for one in self._sockets:
            one.close()

    async def close(self) -> None:
        """Cut what is open."""
        await self.stop()
        await _end(list(self._connections))

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        said: int | None = None  # each cause once: out of file descriptors it would be two lines a second
        while True:
            try:
                connection, _peer = await loop.sock_accept(listening)
            except OSError as error:  # out of file descriptors; the client went away at once
                if said != error.errno:
                    log.warning("http.not_accepted", reason=error.strerror or str(error))
                said = error.errno
                await asyncio.sleep(_PAUSE_S)
                continue
            said = None
            if len(self._connections) >= self._limits.connections:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                oldest.cancel()
            task = asyncio.create_task(self._serve(connection), name="http-connection")
            self._connections[task] = None
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)

    async def _serve(self, connection: socket.socket) -> None:
        protocol = _Watched(self._make_protocol())
        # SSLError and TimeoutError are OSErrors: what goes wrong with one client is that client's matter.
        with contextlib.suppress(OSError):
            try:
                async with asyncio.timeout(self._limits.lifetime_s):
                    await asyncio.get_running_loop().connect_accepted_socket(
                        lambda: protocol,
                        connection,
                        ssl=self._tls,
                        ssl_handshake_timeout=self._limits.handshake_s if self._tls else None,
                    )
                    await protocol.closed.wait()
            finally:
                protocol.cut()
                if not protocol.opened:
                    connection.close()


class _Watched(asyncio.Protocol):
    """Hands everything on to the protocol inside, and tells when the connection has ended."""

    def __init__(self, inside: asyncio.Protocol) -> None:
        self.closed = asyncio.Event()
        self.opened = False
        self._inside = inside
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.opened = True
        self._transport = transport
        self._inside.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inside.connection_lost(exc)
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self._inside.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inside.eof_received()

    def pause_writing(self) -> None:
        self._inside.pause_writing()

    def resume_writing(self) -> None:
        self._inside.resume_writing()

    def cut(self) -> None:
        """End the connection at once, whatever is still to be sent."""
        if isinstance(self._transport, asyncio.WriteTransport) and not self.closed.is_set():
            self._transport.abort()


async def _bind(where: ListenAddress) -> list[socket.socket]:
    """Return listening sockets for every address of the host; for none, every interface of IPv4 and IPv6."""
    found = await asyncio.get_running_loop().getaddrinfo(
        where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _name, address in dict.fromkeys(found):
            try:
                one = socket.socket(family, kind, protocol)
            except OSError:  # a family that this kernel does not have
                continue
            bound.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                one.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or len(found) == 1:
                    raise
                bound.remove(one)  # a family that is switched off: the other one serves
                one.close()
                continue
            one.listen(BACKLOG)
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, "no address of this host can be listened on")
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
