"""Asking the API server who holds a bearer token and whether that account may read one of our paths.

In: a token that came with a request to `/debug/state` or `/`, and the path. Out: a verdict. First a TokenReview says
whose token it is, then a SubjectAccessReview whether that account may `get` the path as a nonResourceURL, as
kube-rbac-proxy asks. Verdicts are kept for a moment, below a keyed hash of the token, so that a page which is fetched
every 5 s costs little. Strangers who send made-up tokens cannot turn us against the API server: new questions are
bounded in number and in rate, and take the lowest share of the limiter.

The token goes to the API server and nowhere else: the request that carries it does not show it, and of an error only
the kind is logged. Without the right to ask, or without an answer, the verdict is "unknown", which lets nobody in.

Sources: Kubernetes API reference, TokenReview v1 and SubjectAccessReview v1.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
import structlog
from msgspec import Struct

from resizer.kube.limiter import Share
from resizer.kube.request import Request
from resizer.kube.resource import Resource
from resizer.kube.transport import Transport
from resizer.model.errors import ApiError, ForbiddenError

Verdict = Literal["allowed", "forbidden", "unauthenticated", "unknown", "busy"]

ALLOWED_FOR_S: Final = 30.0
REFUSED_FOR_S: Final = 10.0
MAX_REMEMBERED: Final = 1024
MAX_IN_FLIGHT: Final = 2
RATE: Final = 5.0
BURST: Final = 20.0
MAX_GROUPS: Final = 1000
_DEADLINE_S: Final = 5.0
_TOKENS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews")
_ACCESS: Final = Resource("authorization.k8s.io", "v1", "subjectaccessreviews")

log = structlog.get_logger("resizer.kube.token_review")


class _TokenSpec(Struct):
    token: str

    def __repr__(self) -> str:
        return "_TokenSpec()"


class _User(Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _TokenStatus(Struct):
    authenticated: bool = False
    user: _User | None = None


class _TokenAnswer(Struct):
    status: _TokenStatus


class _AccessStatus(Struct):
    allowed: bool = False
    denied: bool = False


class _AccessAnswer(Struct):
    status: _AccessStatus


class TokenReviewer:
    """The endpoint's reviewer of tokens. `monotonic` is in seconds."""

    def __init__(self, transport: Transport, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()
        self._in_flight = 0
        self._tokens, self._refilled_at = BURST, monotonic()
        self._said: str = ""

    async def review(self, token: str, *, path: str) -> Verdict:
        """Return whether the holder of this token may `get` this path."""
        key = hmac.digest(self._key, f"{path}\0{token}".encode(), hashlib.sha256)
        verdict, until = self._known.get(key, ("unknown", 0.0))
        if self._monotonic() < until:
            return verdict
        if self._in_flight >= MAX_IN_FLIGHT or not self._may_ask():
            return "busy"
        self._in_flight += 1
        try:
            verdict = await self._ask(token, path)
        except (ApiError, msgspec.MsgspecError) as error:
            self._say(error)
            return "unknown"
        finally:
            self._in_flight -= 1
        self._said = ""
        self._remember(key, verdict)
        return verdict

    def statistics(self) -> dict[str, int]:
        """Return figures: how many verdicts are remembered, how many questions are under way."""
        return {"remembered": len(self._known), "in_flight": self._in_flight}

    async def _ask(self, token: str, path: str) -> Verdict:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": _TokenSpec(token)}
        found = msgspec.json.decode(await self._post(_TOKENS, body), type=_TokenAnswer).status
        user = found.user
        if not found.authenticated or user is None or not user.username:
            return "unauthenticated"
        if len(user.groups or ()) > MAX_GROUPS:
            return "forbidden"
        spec = {
            "user": user.username,
            "uid": user.uid,
            "groups": user.groups or [],
            "extra": user.extra or {},
            "nonResourceAttributes": {"verb": "get", "path": path},
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        access = msgspec.json.decode(await self._post(_ACCESS, body), type=_AccessAnswer).status
        return "allowed" if access.allowed and not access.denied else "forbidden"

    async def _post(self, resource: Resource, body: dict[str, Any]) -> bytes:
        request = Request(verb="create", resource=resource, body=body, share=Share.EVENT, timeout_s=_DEADLINE_S)
        return await self._transport.request(request)

    def _may_ask(self) -> bool:
        now = self._monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._refilled_at) * RATE)
        self._refilled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _remember(self, key: bytes, verdict: Verdict) -> None:
        keep_s = ALLOWED_FOR_S if verdict == "allowed" else REFUSED_FOR_S
        self._known[key] = (verdict, self._monotonic() + keep_s)
        self._known.move_to_end(key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _say(self, error: Exception) -> None:
        """Log each cause once; a missing right has been logged by `rights` with the rule that grants it."""
        kind = type(error).__name__
        if kind != self._said and not isinstance(error, ForbiddenError):
            log.warning("debug.not_reviewed", reason=kind, consequence="/debug/state and / are closed to everybody")
        self._said = kind
