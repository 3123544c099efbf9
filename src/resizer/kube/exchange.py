"""A request with a body and its answer, on a connection of aiohttp's but past its session.

Five of these make a growth, and what a session makes of each (objects for whatever HTTP can do, a task to send the
body) was two fifths of all CPU. Here the head is put together once for each state of the credentials. aiohttp still
opens, checks, keeps and closes the connections and takes the answers apart (docs/adr/0008).

Not for what goes through a proxy; nor for what has no body, which a session tries again on a connection that the
server had just closed.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from resizer.kube.credentials import Access
from resizer.kube.request import Answer, Request

CONNECT_DEADLINE_S: Final = 10.0
# The deadline of the whole is the caller's (it covers credentials and both tries); this bounds the connection.
CONNECT_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_DEADLINE_S)
READ_BUFFER_BYTES: Final = 32 * 1024
"""What may wait unread on a connection, twice; a list comes by in pieces of that size, and others run in between."""
_SWITCHING_PROTOCOLS: Final = 101


class Exchange:
    """Exchanges with one server, with one state of the credentials. Made on the running event loop."""

    def __init__(self, connector: aiohttp.BaseConnector, access: Access, headers: CIMultiDict[str]) -> None:
        self.access = access
        self._connector = connector
        server = URL(access.server, encoded=True)
        # Never sent: it tells the connector where to connect to, and has the Host header of that.
        self._target = aiohttp.ClientRequest(
            "GET",
            server,
            headers=headers,
            loop=asyncio.get_running_loop(),
            ssl=access.ssl_context or True,
            server_hostname=access.server_name or None,
        )
        self._prefix = server.raw_path.rstrip("/")
        self._head = "".join(f"{name}: {value}\r\n" for name, value in self._target.headers.items())

    async def ask(self, request: Request, body: bytes) -> Answer:
        """Send it once, and read the answer. Raises what aiohttp does (ClientError, OSError), and UnavailableError."""
        head = (
            f"{request.method} {self._prefix}{request.target} HTTP/1.1\r\n{self._head}"
            f"Content-Type: {request.content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        try:
            connection = await self._connector.connect(self._target, [], CONNECT_TIMEOUT)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection within {CONNECT_DEADLINE_S:.0f}s") from error
        try:
            answer = await _converse(connection, head + body, request)
        except BaseException:
            connection.close()  # whatever else comes on it belongs to this request
            raise
        connection.release()
        return answer


async def _converse(connection: aiohttp.connector.Connection, data: bytes, request: Request) -> Answer:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or protocol.should_close:
        # Spoken unasked on an idle connection: it would be taken for the answer to this request.
        raise aiohttp.ServerDisconnectedError("the connection could not be used again")
    protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=READ_BUFFER_BYTES)
    transport.write(data)
    try:
        message, content = await protocol.read()
        while message.code < 200:
            if message.code == _SWITCHING_PROTOCOLS:
                raise aiohttp.ClientPayloadError("the server answered 101, and goes on in another protocol")
            message, content = await protocol.read()
    except HttpProcessingError as error:
        raise aiohttp.ClientPayloadError(str(error)) from error
    return await read_answer(message.code, message.headers, content, request)


async def read_answer(
    status: int, headers: Mapping[str, str], content: aiohttp.StreamReader, request: Request
) -> Answer:
    """Read a body to its end. Raises UnavailableError for one that is too long; the connection is to be closed then."""
    if content.is_eof() and content.total_bytes <= request.max_bytes:
        return Answer(status, headers, content.read_nowait())  # as most: it came together with its head
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > request.max_bytes:
            raise request.unavailable(f"the answer is longer than {request.max_bytes} bytes", status=status)
    return Answer(status, headers, bytes(body))
