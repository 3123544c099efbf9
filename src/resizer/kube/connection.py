"""One connection to the API server, for one request after the other: sent in one piece, read by httptools.

aiohttp opens it (names, addresses, TLS, its errors) and closes it. In between it is ours: what aiohttp makes of an
answer (a parser, a stream, headers of every kind) is dear, and a growth has five (docs/adr/0010).

It serves again only after a whole answer that says nothing against it, and with nothing behind. Whatever else
happens ends it, for what comes late must never become the answer about another claim.
"""

import asyncio
from typing import Final

import aiohttp
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from resizer.kube.answer import retry_after_s
from resizer.kube.request import Answer

MAX_HEAD_BYTES: Final = 64 * 1024
_SWITCHING_PROTOCOLS: Final = 101


class Connection(asyncio.Protocol):
    """Takes over a connection that aiohttp has opened. Made on the running event loop; `close` when done.

    Of its methods only `ask` and `close` are called by who has it: the others by the transport and by httptools.
    """

    def __init__(self, opened: aiohttp.connector.Connection) -> None:
        protocol, transport = opened.protocol, opened.transport
        if protocol is None or transport is None or protocol.should_close or transport.is_closing():
            opened.close()
            raise aiohttp.ServerDisconnectedError("the server closed it at once")
        self.moved_at_s = 0.0
        """When it was taken for a request, or began to wait for the next one; whoever keeps it says so."""
        self._opened = opened
        self._opener = protocol
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._is_spent = False
        self._parser = HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._max_bytes = 0
        self._received_bytes = 0
        self._body: list[bytes] = []
        self._wait_s = 0.0
        self._has_length = False
        self._ends_with_connection = False
        transport.set_protocol(self)

    @property
    def is_usable(self) -> bool:
        """Whether it may be asked (again)."""
        return not self._is_spent and not self._transport.is_closing()

    async def ask(self, data: bytes, *, max_bytes: int) -> Answer:
        """Send this request, and read its answer. Raises ClientError or OSError, also for a body of more than that."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer, self._max_bytes, self._received_bytes = answer, max_bytes, 0
        try:
            self._transport.write(data)
            return await answer
        except BaseException:
            self.close()  # whatever else comes on it belongs to this request
            raise

    def close(self) -> None:
        """Close it; who still waits is told when it is closed."""
        self._is_spent = True
        self._opened.close()

    def data_received(self, data: bytes) -> None:
        """Take an answer apart as it comes."""
        self._received_bytes += len(data)
        if self._answer is None or self._answer.done():
            self.close()  # said unasked
        elif self._received_bytes > self._max_bytes + MAX_HEAD_BYTES:
            self._fail(self._too_long())
        else:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade:
                self._fail(_other_protocol())
            except HttpParserError as error:
                self._fail(aiohttp.ClientPayloadError(f"the answer is not HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        """Take in that it is closed, by whichever side."""
        self._opener.connection_lost(error)  # aiohttp waits for that when it closes all
        if error is None and self._ends_with_connection:
            self.on_message_complete()
        moment = "in the middle of its answer" if self._received_bytes else "without an answer"
        self._fail(error or aiohttp.ServerDisconnectedError(f"the server closed it {moment}"))

    def on_message_begin(self) -> None:
        """Begin an answer. A second one in the same piece was not asked for."""
        if self._answer is None or self._answer.done():
            self.close()
        self._body = []
        self._wait_s = 0.0
        self._has_length = self._ends_with_connection = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in the few headers that mean something here."""
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._has_length = True
            case b"retry-after":
                self._wait_s = retry_after_s(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Take in where the body ends."""
        self._ends_with_connection = not self._has_length

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(piece)

    def on_message_complete(self) -> None:
        """Hand the answer over, unless it only announces another (100 Continue, 103 Early Hints)."""
        self._ends_with_connection = False
        if self._answer is None or self._answer.done():
            return
        status, body = self._parser.get_status_code(), b"".join(self._body)
        if status == _SWITCHING_PROTOCOLS:
            self._fail(_other_protocol())
        elif len(body) > self._max_bytes:
            self._fail(self._too_long())
        elif status >= 200:
            self._is_spent |= not self._parser.should_keep_alive()
            self._answer.set_result(Answer(status, body, self._wait_s))

    def _fail(self, error: Exception) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _too_long(self) -> Exception:
        return aiohttp.ClientPayloadError(f"the answer is longer than {self._max_bytes} bytes")


def _other_protocol() -> Exception:
    return aiohttp.ClientPayloadError("the server answered 101, and goes on in another protocol")
