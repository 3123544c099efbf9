"""Requests to the API server, over aiohttp's connections. Each is tried once and has a deadline.

Every outcome is the body or one error of `resizer.model.errors`. The only second try is after a 401, with
credentials read again. Requests pass the limiter, except those without a share (leases, watches). What has a body goes
the short way (`exchange`), the rest through aiohttp's session. Proxies are resolved once, not on every request as
kubernetes_asyncio does, which costs 2.4 times the CPU.

Called by reflector, writer, events, secrets, pods, attachments and leases; nothing else speaks to the API server.
"""

import asyncio
import contextlib
import os
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from resizer.kube.answer import error_of, printable, retry_after_s
from resizer.kube.credentials import Access, Credentials
from resizer.kube.exchange import Exchange
from resizer.kube.limiter import Limiter, Share, Slot
from resizer.kube.pool import CONNECT_TIMEOUT, Pool
from resizer.kube.proxy import find_proxy
from resizer.kube.request import JSON, Answer, Request
from resizer.kube.rights import Rights
from resizer.kube.stream import WatchStream
from resizer.kube.telemetry import KubeTelemetry
from resizer.kube.tls import system_context
from resizer.model.errors import ApiError, ForbiddenError

READ_BUFFER_BYTES: Final = 32 * 1024
"""What may wait unread on a connection, twice; a list comes by in pieces of that size, and others run in between."""
NARROW_BYTES: Final = 64 * 1024
"""Receive buffer of a watch that is one of many. What TLS reads at once, it keeps room for as long as the connection
lives: up to 600 KB where the kernel's buffer has grown with a long list."""
# UnicodeError: a host name that cannot be looked up.
_CONNECTION_ERRORS: Final = (aiohttp.ClientError, OSError, UnicodeError)


class Transport:
    """The way to one API server. `close` when done; made on the running event loop."""

    def __init__(self, credentials: Credentials, *, limiter: Limiter, rights: Rights, telemetry: KubeTelemetry) -> None:
        self._credentials = credentials
        self._limiter = limiter
        self._rights = rights
        self._telemetry = telemetry
        self._proxies: dict[str, URL | None] = {}
        self._loop = asyncio.get_running_loop()
        # No limit of connections here: the limiter bounds requests, so leases and watches never wait for a socket.
        self._connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0)
        self._agent = f"resizer/{_version()}"
        self._pool: Pool | None = None
        self._exchange: Exchange | None = None
        self._session = _new_session(self._connector)
        self._narrow_session = _new_session(aiohttp.TCPConnector(limit=0, socket_factory=_narrow_socket))
        """For watches of one namespace, of which there may be many at once."""

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._credentials.access.server

    async def close(self) -> None:
        """Close all connections."""
        self._limiter.close()
        if self._pool is not None:
            self._pool.close()
        await self._session.close()
        await self._narrow_session.close()

    async def request(self, request: Request) -> bytes:
        """Make one request and return the answer's body. Raises the errors of `resizer.model.errors`."""
        share, place = request.share, None
        try:
            # One deadline for waiting and asking: each of these costs a timer.
            async with asyncio.timeout_at(self._loop.time() + request.timeout_s):
                if share is None:
                    answer = await self._measured(request)
                else:
                    with await self._limiter.acquire(share) as place:
                        answer = await self._measured(request, place)
        except _CONNECTION_ERRORS as error:
            if share is not None and place is None:
                raise request.not_sent() from error
            raise request.unavailable(_describe(error, request)) from error
        if not 200 <= answer.status < 300:
            raise self._refusal(request, answer)
        self._rights.granted(verb=request.verb, resource=request.resource_name, namespace=request.namespace)
        return answer.body

    async def watch(self, request: Request) -> WatchStream:
        """Open a watch and return its stream, which the caller closes. Raises the errors of `resizer.model.errors`."""
        started = self._loop.time()
        code = "<error>"
        try:
            async with asyncio.timeout_at(started + request.timeout_s):
                access = await self._credentials.current()
                response = await self._send(request, access)
                if response.status == 401:
                    response.release()
                    response = await self._send(request, await self._credentials.refresh(access))
                code = str(response.status)
                if response.status != 200:
                    async with response:
                        raise self._refusal(request, await _read(response, request))
        except _CONNECTION_ERRORS as error:
            raise request.unavailable(_describe(error, request)) from error
        finally:
            self._measure(request, code, self._loop.time() - started)
        self._rights.granted(verb=request.verb, resource=request.resource_name, namespace=request.namespace)
        return WatchStream(response.content, response.close, resource=request.resource_name)

    async def _measured(self, request: Request, place: Slot | None = None) -> Answer:
        started = self._loop.time()
        code = "<error>"
        try:
            access = await self._credentials.current()
            answer = await self._ask(request, access)
            if answer.status == 401:
                answer = await self._ask(request, await self._credentials.refresh(access))
            code = str(answer.status)
        finally:
            duration_s = self._loop.time() - started
            self._measure(request, code, duration_s)
        if place is not None:
            _teach(place, request, answer, duration_s)
        return answer

    async def _ask(self, request: Request, access: Access) -> Answer:
        """Ask once, on the short way if that leads there."""
        body = None if request.body is None else msgspec.json.encode(request.body)
        if body is not None and self._proxy(access) is None:
            return await self._exchange_of(access).ask(request, body)
        async with await self._send(request, access, body) as response:
            return await _read(response, request)

    async def _send(self, request: Request, access: Access, body: bytes | None = None) -> aiohttp.ClientResponse:
        headers = self._headers(access)
        if body is not None:
            headers["Content-Type"] = request.content_type
        proxy = self._proxy(access)
        # Without TLS to the server there may be TLS to the proxy, and aiohttp has no authorities (cli.lean_imports).
        context = access.ssl_context if access.ssl_context is not None or proxy is None else system_context()
        session = self._narrow_session if request.verb == "watch" and request.namespace else self._session
        return await session.request(
            request.method,
            URL(access.server + request.target, encoded=True),
            data=body,
            headers=headers,
            ssl=True if context is None else context,
            server_hostname=access.server_name or None,
            proxy=proxy,
            allow_redirects=False,
            timeout=CONNECT_TIMEOUT,
        )

    def _exchange_of(self, access: Access) -> Exchange:
        if self._exchange is None or self._exchange.access is not access:
            self._exchange = Exchange(self._pool_of(access), access, self._headers(access))
        return self._exchange

    def _pool_of(self, access: Access) -> Pool:
        if self._pool is None or not self._pool.serves(access):
            if self._pool is not None:
                self._pool.close()
            self._pool = Pool(self._connector, access)
        return self._pool

    def _headers(self, access: Access) -> CIMultiDict[str]:
        headers = CIMultiDict(access.impersonation)
        headers["User-Agent"] = self._agent
        headers["Accept"] = JSON
        headers["Accept-Encoding"] = "identity"
        if access.authorization:
            headers["Authorization"] = access.authorization
        for name, value in headers.items():
            if not value.isprintable():
                raise aiohttp.ClientError(f"the credentials cannot be sent: a line break or the like in {name}")
        return headers

    def _proxy(self, access: Access) -> URL | None:
        key = f"{access.proxy} {access.server}"
        if key not in self._proxies:
            self._proxies[key] = find_proxy(access)
        return self._proxies[key]

    def _refusal(self, request: Request, answer: Answer) -> ApiError:
        error = error_of(
            answer.status,
            answer.body,
            wait_s=answer.wait_s,
            verb=request.verb,
            resource=request.resource_name,
            name=request.object_name,
        )
        if isinstance(error, ForbiddenError):
            self._rights.refused(
                verb=request.verb,
                group=request.resource.group,
                resource=request.resource_name,
                namespace=request.namespace,
                message=error.message,
            )
        return error

    def _measure(self, request: Request, code: str, duration_s: float) -> None:
        self._telemetry.request_finished(
            verb=request.verb, resource=request.resource_name, code=code, duration_s=duration_s
        )


def _new_session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, read_bufsize=READ_BUFFER_BYTES
    )


def _narrow_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Make a socket that takes about NARROW_BYTES at once; by itself the kernel would let it take megabytes."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
    return made


def _teach(place: Slot, request: Request, answer: Answer, duration_s: float) -> None:
    """Tell the limiter what the answer says about the server's load."""
    if answer.status == 429 or (answer.status >= 500 and answer.wait_s):
        place.refused(answer.wait_s)
    elif answer.status < 300 and request.share is Share.WRITE:
        # Refusals, reviews and reads come from the server's memory, in a fraction of a write's time: were they the
        # measure, every write would seem to stand in a queue.
        place.succeeded(duration_s)


async def _read(response: aiohttp.ClientResponse, request: Request) -> Answer:
    """Read a body to its end. Raises UnavailableError for one that is too long; the connection is to be closed then."""
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > request.max_bytes:
            raise request.unavailable(f"the answer is longer than {request.max_bytes} bytes", status=response.status)
    return Answer(response.status, bytes(body), retry_after_s(response.headers.get("Retry-After", "")))


def _describe(error: Exception, request: Request) -> str:
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
        return f"no answer within {request.timeout_s:.0f}s"
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        return "the connection failed: the server closed it in the middle of its answer"
    # aiohttp's own text of a connection that was not made shows our SSL context, by its address in memory.
    cause = error.__cause__ if isinstance(error, aiohttp.ClientConnectorError) else None
    said = os.strerror(cause.errno) if isinstance(cause, ConnectionError) and cause.errno else str(cause or error)
    return f"the connection failed: {printable(said, limit=300) or type(error).__name__}"


def _version() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version("resizer")
    return "0"
