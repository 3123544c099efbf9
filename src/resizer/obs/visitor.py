"""Who may read `/debug/state` and `/`: this machine only, whoever the API server allows, or everybody.

Called by `http` for each request. Three ways, chosen by the settings:

1. as a rule clients on this machine (a person's `kubectl port-forward`), without a token;
2. with a `Reviewer`: nobody without a bearer token that the API server knows and allows to `get` the path, this
   machine included. What cannot be asked stays closed;
3. opened: everybody who reaches the port.

A token is handed to the reviewer and to nothing else: no log line, no answer holds it.
"""

from typing import Final, Literal, Protocol, assert_never

from aiohttp import web

from resizer.obs.address import is_loopback

Verdict = Literal["allowed", "forbidden", "unauthenticated", "unknown", "busy"]
"""`unknown`: the API server could not be asked, or does not let us ask. `busy`: too many ask at once."""

MAX_TOKEN: Final = 8000
_FORWARDED: Final = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto")
_CLOSED: Final = (
    "only clients on this machine may read this: use kubectl port-forward, or start with --debug-authentication "
    "to let the API server decide, or with --debug-endpoints to open it to everyone who reaches this port\n"
)
_UNAUTHENTICATED: Final = (
    'send "Authorization: Bearer TOKEN", with a token of the cluster (kubectl create token NAME)\n'
)
_UNKNOWN: Final = "the API server could not be asked who may read this; our log says why\n"


class Reviewer(Protocol):
    """Asks whether the holder of a token may read a path."""

    async def review(self, token: str, *, path: str) -> Verdict:
        """Return the verdict. Never raises for what the API server answers."""


async def refusal(request: web.Request, *, reviewer: Reviewer | None, is_open: bool) -> web.Response | None:
    """Return what a visitor who may not come in is told; None for one who may."""
    if reviewer is not None:
        return await _refusal_of_holder(request, reviewer)
    if is_open or _is_local(request):
        return None
    return web.Response(text=_CLOSED, status=403)


async def _refusal_of_holder(request: web.Request, reviewer: Reviewer) -> web.Response | None:
    token = _bearer_token(request)
    verdict: Verdict = await reviewer.review(token, path=request.path) if token else "unauthenticated"
    match verdict:
        case "allowed":
            return None
        case "forbidden":
            text = f'your account may not read this: it needs the verb get on the nonResourceURL "{request.path}"\n'
            return web.Response(text=text, status=403)
        case "unauthenticated":
            return web.Response(text=_UNAUTHENTICATED, status=401, headers={"WWW-Authenticate": "Bearer"})
        case "unknown":
            return web.Response(text=_UNKNOWN, status=503)
        case "busy":
            return web.Response(text="too many ask at once\n", status=429, headers={"Retry-After": "5"})
        case _:  # pragma: no cover  # mypy proves it unreachable
            assert_never(verdict)


def _bearer_token(request: web.Request) -> str:
    """The token that was sent, empty for none or for something that cannot be one (RFC 6750, section 2.1)."""
    sent = request.headers.getall("Authorization", [])
    if len(sent) != 1:
        return ""
    scheme, _, token = sent[0].partition(" ")
    token = token.strip()
    is_token = 0 < len(token) <= MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token
    return token if scheme.lower() == "bearer" and is_token else ""


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
