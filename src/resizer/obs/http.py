"""The HTTP endpoint: metrics, probes, and what is going on, for Prometheus, the kubelet and a person.

| path | answers |
| --- | --- |
| `/metrics` (or as set) | Prometheus text or OpenMetrics, as the client asks |
| `/healthz`, `/livez` | 200, or 503 when a restart would help; `?verbose` lists the checks |
| `/healthz/leader-election` | the peer's check: 200 while the lease loop is well or this process follows |
| `/readyz` | 200, or 503 with what is missing |
| `/debug/state`, `/` | JSON, and the same as a page: loopback clients only, unless opened |

Only GET and HEAD. Nothing here changes anything.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from resizer.obs.address import is_loopback, parse_listen_address
from resizer.obs.page import render_page
from resizer.obs.probe import Probe
from resizer.obs.safe_value import safe_value

CLOSE_WITHIN_S: Final = 2.0
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
}
_CLOSED: Final = (
    "only clients on this machine may read this: use kubectl port-forward, "
    "or start with --debug-endpoints to open it to everyone who reaches this port\n"
)
_FORWARDED: Final = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto")
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


@contextlib.asynccontextmanager
async def serve_http(address: str, endpoint: Endpoint) -> AsyncIterator[int]:
    """Serve on `address` (`:8080` or `host:port`) until the block ends; yields the port.

    Raises MalformedListenAddressError, or EndpointError when the address cannot be listened on.
    """
    where = parse_listen_address(address)
    host = where.host
    if host is None and not where.port:  # any free port: IPv4 and IPv6 would each be given one of their own
        host = "0.0.0.0"  # noqa: S104 -- every interface is what ":0" asks for
    if not endpoint.metrics_path.startswith("/") or endpoint.metrics_path in _OWN_PATHS:
        raise EndpointError(f"--metrics-path {endpoint.metrics_path!r}: take one that begins with / and is not in use")
    runner = web.AppRunner(_application(endpoint), access_log=None, shutdown_timeout=CLOSE_WITHIN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, where.port)
        try:
            await site.start()
        except OSError as error:
            raise EndpointError(
                f"--http-endpoint {address}: cannot listen there ({error.strerror or error}): "
                "stop what uses the port, or choose another"
            ) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


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
    except web.HTTPException as refusal:
        refusal.headers.update(_HEADERS)
        raise
    response.headers.update(_HEADERS)
    return response


def _metrics(registry: CollectorRegistry) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

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
        if not endpoint.debug_open and not _is_local(request):
            return web.Response(text=_CLOSED, status=403)
        return show(safe_value(endpoint.state()))

    return answer


def _is_local(request: web.Request) -> bool:
    """Whether the request comes from this machine, for this machine.

    A mesh's proxy hands every request on from a loopback address, but says that it did; a web page that had its
    own name resolve to this machine shows that name as the host.
    """
    host = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
    name = (host or request.host).strip("[]")
    return (
        is_loopback(request.remote)
        and not any(header in request.headers for header in _FORWARDED)
        and (name == "localhost" or is_loopback(name))
    )


def _state(state: dict[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.format(msgspec.json.encode(state)) + b"\n", content_type="application/json")


def _page(state: dict[str, Any]) -> web.Response:
    return web.Response(text=render_page(state), content_type="text/html")
