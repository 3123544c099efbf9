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
        """Return a connection, which the caller puts back or closes. Raises ClientError or OSError if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        try:
            return Connection(await self._connector.connect(self._target, [], CONNECT_TIMEOUT))
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection within {CONNECT_DEADLINE_S:.0f}s") from error

    def put_back(self, connection: Connection) -> None:
        """Keep it for the next request, unless it is of no more use."""
        if self._is_closed or not connection.is_usable:
            connection.close()
            return
        connection.idle_since_s = self._loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(MAX_IDLE_S, self._sweep)

    def close(self) -> None:
        """Close what waits; what is in use is closed when it is put back."""
        self._is_closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in self._idle:
            connection.close()
        self._idle = []

    def _sweep(self) -> None:
        """Close what has waited for too long, and come again for the rest."""
        began_s = self._loop.time() - MAX_IDLE_S
        for connection in self._idle:
            if connection.idle_since_s <= began_s:
                connection.close()
        self._idle = [connection for connection in self._idle if connection.is_usable]
        self._sweeping = self._loop.call_later(MAX_IDLE_S, self._sweep) if self._idle else None


def _place(access: Access) -> tuple[object, ...]:
    return access.server, access.server_name, access.ssl_context
