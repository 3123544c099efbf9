"""The HTTP endpoint: metrics, probes, and what is going on, for Prometheus, the kubelet and a person.

| path | answers |
| --- | --- |
| `/metrics` (or as set) | Prometheus text or OpenMetrics, as the client asks |
| `/healthz`, `/livez` | 200, or 503 when a restart would help; `?verbose` lists the checks |
| `/healthz/leader-election` | the peer's check: 200 while the lease loop is well or this process follows |
| `/readyz` | 200, or 503 with what is missing |
| `/debug/state`, `/` | JSON, and the same as a page, for those whom `visitor` lets in |

Only GET and HEAD, one request a connection, over TLS if there is a certificate. Nothing here changes anything. What
a client may take (connections, time, lengths) is bounded here and in `listener`.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct
from prometheus_client import CollectorRegistry

from resizer.obs.address import ListenAddress, parse_listen_address
from resizer.obs.certificate import ServerCertificate
from resizer.obs.exposition import Exposition
from resizer.obs.listener import ConnectionLimits, Listener
from resizer.obs.page import render_page
from resizer.obs.probe import Probe
from resizer.obs.safe_value import safe_value
from resizer.obs.visitor import Reviewer, refusal

CLOSE_WITHIN_S: Final = 2.0
MAX_LINE: Final = 2048
MAX_HEADER: Final = 8190
MAX_HEADERS: Final = 64
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
}
_OWN_PATHS: Final = ("/", "/healthz", "/livez", "/healthz/leader-election", "/readyz", "/debug/state")


class StateSource(Protocol):
    """What `/debug/state` shows. Called for each request, on the event loop; it may not block."""

    def __call__(self) -> dict[str, Any]:
        """Return a JSON-ready dict; lists of dicts become tables on the page."""


class EndpointError(OSError):
    """The endpoint cannot be served; the text names the address, the cause and the next step."""


class Endpoint(Struct, frozen=True, kw_only=True):
    """What is served."""

    registry: CollectorRegistry
    liveness: Probe
    readiness: Probe
    leader_election: Probe
    state: StateSource
    metrics_path: str = "/metrics"
    debug_open: bool = False
    reviewer: Reviewer | None = None
    """With one, nobody reads the state without a token; `debug_open` does not count then."""
    certificate: ServerCertificate | None = None
    limits: ConnectionLimits = ConnectionLimits()


@contextlib.asynccontextmanager
async def serve_http(address: str, endpoint: Endpoint) -> AsyncIterator[int]:
    """Serve on `address` (`:8080` or `host:port`) until the block ends; yields the port.

    Raises MalformedListenAddressError, or EndpointError when the address cannot be listened on.
    """
    where = parse_listen_address(address)
    if where.host is None and not where.port:  # any free port: IPv4 and IPv6 would each be given one of their own
        where = ListenAddress("0.0.0.0", 0)  # noqa: S104 -- every interface is what ":0" asks for
    if not endpoint.metrics_path.startswith("/") or endpoint.metrics_path in _OWN_PATHS:
        raise EndpointError(f"--metrics-path {endpoint.metrics_path!r}: take one that begins with / and is not in use")
    runner = web.AppRunner(
        _application(endpoint),
        access_log=None,
        shutdown_timeout=CLOSE_WITHIN_S,
        max_line_size=MAX_LINE,
        max_field_size=MAX_HEADER,
        max_headers=MAX_HEADERS,
        lingering_time=0,
    )
    await runner.setup()
    assert runner.server is not None
    tls = endpoint.certificate.context if endpoint.certificate else None
    listener = Listener(runner.server, tls=tls, limits=endpoint.limits)
    try:
        try:
            port = await listener.open(where)
        except OSError as error:
            raise EndpointError(
                f"--http-endpoint {address}: cannot listen there ({error.strerror or error}): "
                "stop what uses the port, or choose another"
            ) from error
        yield port
    finally:
        await listener.stop()
        await runner.cleanup()
        await listener.close()


def _application(endpoint: Endpoint) -> web.Application:
    application = web.Application(middlewares=[_add_headers], client_max_size=1024)
    for path, handler in (
        (endpoint.metrics_path, _metrics(endpoint.registry)),
        ("/healthz", _probe(endpoint.liveness)),
        ("/livez", _probe(endpoint.liveness)),
        ("/healthz/leader-election", _probe(endpoint.leader_election)),
        ("/readyz", _probe(endpoint.readiness)),
        ("/debug/state", _guarded(endpoint, _state)),
        ("/", _guarded(endpoint, _page)),
    ):
        application.router.add_get(path, handler)
    return application


@web.middleware
async def _add_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        answer.headers.update(_HEADERS)
        answer.force_close()
        raise
    response.headers.update(_HEADERS)
    response.force_close()
    return response


def _metrics(registry: CollectorRegistry) -> Handler:
    exposition = Exposition(registry)

    async def answer(request: web.Request) -> web.Response:
        body, content_type = await exposition.text(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    return answer


def _probe(probe: Probe) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        results = probe.results()
        well = not any(results.values())
        if well and "verbose" not in request.query:
            return web.Response(text="ok\n")
        lines = [f"[{'-' if reason else '+'}] {name}: {reason or 'ok'}\n" for name, reason in results.items()]
        return web.Response(text="".join(lines) or "ok\n", status=200 if well else 503)

    return answer


def _guarded(endpoint: Endpoint, show: Callable[[dict[str, Any]], web.Response]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        refused = await refusal(request, reviewer=endpoint.reviewer, is_open=endpoint.debug_open)
        return refused if refused is not None else show(safe_value(endpoint.state()))

    return answer


def _state(state: dict[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.format(msgspec.json.encode(state)) + b"\n", content_type="application/json")


def _page(state: dict[str, Any]) -> web.Response:
    return web.Response(text=render_page(state), content_type="text/html")
