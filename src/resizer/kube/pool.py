"""Connections to one server that wait for their next request, and new ones where none does.

aiohttp opens them. They are kept here and not there because its keeping is dear: a tenth of a request.
"""

import asyncio
from typing import Final

import aiohttp
from yarl import URL

from resizer.kube.connection import Connection
from resizer.kube.credentials import Access

CONNECT_DEADLINE_S: Final = 10.0
# The deadline of the whole is the caller's (it covers credentials and both tries); this bounds the connection.
CONNECT_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_DEADLINE_S)
MAX_IDLE_S: Final = 60.0
"""How long one waits for its next request; what lies in between (balancers, NAT) forgets connections after minutes."""


class Pool:
    """Connections that lead where this access leads, with its certificates. Made on the running event loop."""

    def __init__(self, connector: aiohttp.BaseConnector, access: Access) -> None:
        self._connector = connector
        self._place = _place(access)
        self._loop = asyncio.get_running_loop()
        # Never sent: it tells the connector where to connect to.
        self._target = aiohttp.ClientRequest(
            "GET",
            URL(access.server, encoded=True),
            loop=self._loop,
            ssl=access.ssl_context or True,
            server_hostname=access.server_name or None,
        )
        self._idle: list[Connection] = []
        """The one that was used last stands last and is used next, so that the others grow old."""
        self._sweeping: asyncio.TimerHandle | None = None
        self._is_closed = False

    def serves(self, access: Access) -> bool:
        """Whether a request with this access may use its connections: a certificate belongs to a connection."""
        return self._place == _place(access)

    async def take(self) -> Connection:
        """Return a connection, which the caller puts back or gives up. Raises ClientError or OSError without one."""
        connection = self._take_idle() or await self._open()
        connection.moved_at_s = self._loop.time()
        return connection

    def put_back(self, connection: Connection) -> None:
        """Keep it for the next request, unless it is of no more use."""
        if self._is_closed or not connection.is_usable:
            connection.close()
            return
        connection.moved_at_s = self._loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(MAX_IDLE_S, self._sweep)

    def give_up(self, connection: Connection) -> None:
        """Close it, and whatever has waited since before its request, which may never be answered either.

        A server or a balancer that vanishes without a word takes all with it. Request after request would find the
        next dead one, and wait for its deadline each time.
        """
        connection.close()
        self._close_older(connection.moved_at_s)

    def close(self) -> None:
        """Close what waits; what is in use is closed when it is put back."""
        self._is_closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._close_older(self._loop.time())

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None

    async def _open(self) -> Connection:
        try:
            return Connection(await self._connector.connect(self._target, [], CONNECT_TIMEOUT))
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection within {CONNECT_DEADLINE_S:.0f}s") from error

    def _close_older(self, began_s: float) -> None:
        """Close what has waited since then or for longer."""
        for connection in self._idle:
            if connection.moved_at_s <= began_s:
                connection.close()
        self._idle = [connection for connection in self._idle if connection.is_usable]

    def _sweep(self) -> None:
        """Close what has waited for too long, and come again for the rest."""
        self._close_older(self._loop.time() - MAX_IDLE_S)
        self._sweeping = self._loop.call_later(MAX_IDLE_S, self._sweep) if self._idle else None


def _place(access: Access) -> tuple[object, ...]:
    return access.server, access.server_name, access.ssl_context
