"""Requests to the API server, over one aiohttp session of our own. Each is tried once and has a deadline.

Every outcome is the body or one error of `resizer.model.errors`. The only second try is after a 401, with
credentials read again. Requests pass the limiter, except those without a share (leases, watches). Proxies are
resolved once, not on every request as kubernetes_asyncio does, which costs 2.4 times the CPU.

Called by reflector, writer, events, secrets, pods, attachments and leases; nothing else speaks to the API server.
"""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from msgspec import Struct
from multidict import CIMultiDict
from yarl import URL

from resizer.kube.answer import error_of, printable, retry_after_s
from resizer.kube.credentials import Access, Credentials
from resizer.kube.limiter import Limiter, Share, Slot
from resizer.kube.proxy import find_proxy
from resizer.kube.resource import Resource
from resizer.kube.rights import Rights
from resizer.kube.stream import WatchStream
from resizer.kube.telemetry import KubeTelemetry
from resizer.kube.tls import system_context
from resizer.model.errors import ApiError, ForbiddenError, ThrottledError, UnavailableError

REQUEST_DEADLINE_S: Final = 30.0
CONNECT_DEADLINE_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
MAX_PAGE_BYTES: Final = 256 * 1024 * 1024
READ_BUFFER_BYTES: Final = 32 * 1024
"""What may wait unread on a connection, twice; a list comes by in pieces of that size, and others run in between."""
MERGE_PATCH: Final = "application/merge-patch+json"
_JSON: Final = "application/json"
# The deadline of the whole is ours (it covers credentials and both tries); this bounds the connection.
_CONNECT_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_DEADLINE_S)
# UnicodeError: a host name that cannot be looked up.
_CONNECTION_ERRORS: Final = (aiohttp.ClientError, OSError, UnicodeError)
_METHODS: Final = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "watch": "GET"}


class Request(Struct, frozen=True, kw_only=True):
    """One request to make. `share` None passes by the limiter; `body` is encoded as JSON."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    params: Mapping[str, str] = {}
    body: Any = None
    content_type: str = _JSON
    share: Share | None = Share.WRITE
    timeout_s: float = REQUEST_DEADLINE_S
    max_bytes: int = MAX_ANSWER_BYTES
    path: str = ""
    """A path that is no resource's, instead."""

    @property
    def resource_name(self) -> str:
        """The resource with its subresource, as RBAC writes it."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural

    @property
    def object_name(self) -> str:
        """The object, for messages: `namespace/name` or `name`."""
        return f"{self.namespace}/{self.name}" if self.namespace and self.name else self.name

    @property
    def target(self) -> str:
        """Path and query."""
        path = self.path or self.resource.path(namespace=self.namespace, name=self.name, subresource=self.subresource)
        return f"{path}?{urlencode(self.params)}" if self.params else path

    def unavailable(self, text: str, *, status: int = 0) -> UnavailableError:
        """The error of an outcome that nobody knows."""
        return UnavailableError(text, verb=self.verb, resource=self.resource_name, name=self.object_name, status=status)

    def not_sent(self) -> ThrottledError:
        """The error of a request whose turn did not come."""
        text = f"waited {self.timeout_s:.0f}s for the API server to take more requests"
        return ThrottledError(text, verb=self.verb, resource=self.resource_name, name=self.object_name)


class _Answer(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes


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
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0, enable_cleanup_closed=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"resizer/{_version()}", "Accept": _JSON, "Accept-Encoding": "identity"},
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
        )

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._credentials.access.server

    async def close(self) -> None:
        """Close all connections."""
        self._limiter.close()
        await self._session.close()

    async def request(self, request: Request) -> bytes:
        """Make one request and return the answer's body. Raises the errors of `resizer.model.errors`."""
        share, has_place = request.share, request.share is None
        try:
            # One deadline for waiting and asking: each of these costs a timer.
            async with asyncio.timeout_at(self._loop.time() + request.timeout_s):
                if share is None:
                    answer = await self._measured(request)
                else:
                    with await self._limiter.acquire(share) as place:
                        has_place = True
                        answer = await self._measured(request, place)
        except _CONNECTION_ERRORS as error:
            if not has_place:
                raise request.not_sent() from error
            raise request.unavailable(_describe(error, request)) from error
        if answer.status >= 300:
            raise self._refusal(request, answer)
        self._rights.granted(verb=request.verb, resource=request.resource_name, namespace=request.namespace)
        return answer.body

    async def watch(self, request: Request) -> WatchStream:
        """Open a watch and return its stream, which the caller closes. Raises the errors of `resizer.model.errors`."""
        started = self._loop.time()
        code = "<error>"
        try:
            async with asyncio.timeout_at(started + request.timeout_s):
                response = await self._send_twice(request)
                code = str(response.status)
                if response.status != 200:
                    async with response:
                        body = await _read(response, request)
                        raise self._refusal(request, _Answer(response.status, response.headers, body))
        except _CONNECTION_ERRORS as error:
            raise request.unavailable(_describe(error, request)) from error
        finally:
            self._measure(request, code, self._loop.time() - started)
        self._rights.granted(verb=request.verb, resource=request.resource_name, namespace=request.namespace)
        return WatchStream(response.content, response.close, resource=request.resource_name)

    async def _measured(self, request: Request, place: Slot | None = None) -> _Answer:
        started = self._loop.time()
        code = "<error>"
        try:
            async with await self._send_twice(request) as response:
                code = str(response.status)
                answer = _Answer(response.status, response.headers, await _read(response, request))
        finally:
            duration_s = self._loop.time() - started
            self._measure(request, code, duration_s)
        if place is not None:
            _teach(place, request, answer, duration_s)
        return answer

    async def _send_twice(self, request: Request) -> aiohttp.ClientResponse:
        """Send it; after a 401 once more, with credentials read again."""
        access = await self._credentials.current()
        response = await self._send(request, access)
        if response.status != 401:
            return response
        response.release()
        return await self._send(request, await self._credentials.refresh(access))

    async def _send(self, request: Request, access: Access) -> aiohttp.ClientResponse:
        headers = CIMultiDict(access.impersonation)
        if access.authorization:
            headers["Authorization"] = access.authorization
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        proxy = self._proxy(access)
        # Without TLS to the server there may be TLS to the proxy, and aiohttp has no authorities (cli.lean_imports).
        context = access.ssl_context if access.ssl_context is not None or proxy is None else system_context()
        return await self._session.request(
            _METHODS[request.verb],
            URL(access.server + request.target, encoded=True),
            data=None if request.body is None else msgspec.json.encode(request.body),
            headers=headers,
            ssl=True if context is None else context,
            server_hostname=access.server_name or None,
            proxy=proxy,
            allow_redirects=False,
            timeout=_CONNECT_TIMEOUT,
        )

    def _proxy(self, access: Access) -> URL | None:
        key = f"{access.proxy} {access.server}"
        if key not in self._proxies:
            self._proxies[key] = find_proxy(access)
        return self._proxies[key]

    def _refusal(self, request: Request, answer: _Answer) -> ApiError:
        error = error_of(
            answer.status,
            answer.body,
            headers=answer.headers,
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


def _teach(place: Slot, request: Request, answer: _Answer, duration_s: float) -> None:
    """Tell the limiter what the answer says about the server's load."""
    wait_s = retry_after_s(answer.headers)
    if answer.status == 429 or (answer.status >= 500 and wait_s):
        place.refused(wait_s)
    elif answer.status < 300 and request.share is Share.WRITE:
        # Refusals, reviews and reads come from the server's memory, in a fraction of a write's time: were they the
        # measure, every write would seem to stand in a queue.
        place.succeeded(duration_s)


async def _read(response: aiohttp.ClientResponse, request: Request) -> bytes:
    length = response.content_length
    if length is not None and length <= request.max_bytes:
        return await response.read()
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > request.max_bytes:
            response.close()
            raise request.unavailable(f"the answer is longer than {request.max_bytes} bytes", status=response.status)
    return bytes(body)


def _describe(error: Exception, request: Request) -> str:
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
        return f"no answer within {request.timeout_s:.0f}s"
    # aiohttp's own text of a connection that was not made shows our SSL context, by its address in memory.
    cause = error.__cause__ if isinstance(error, aiohttp.ClientConnectorError) else None
    said = os.strerror(cause.errno) if isinstance(cause, ConnectionError) and cause.errno else str(cause or error)
    return f"the connection failed: {printable(said, limit=300) or type(error).__name__}"


def _version() -> str:
    with contextlib.suppress(PackageNotFoundError):
        return version("resizer")
    return "0"
