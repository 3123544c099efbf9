"""Asking the API server which of the required rights we have, before the one that is missing is needed.

Some rights are used seldom: reading one claim is needed after a conflict, patching a volume not before the first
growth. Their lack must not come out then, on a process that has long said it is ready. So each required right is
asked for once at start (SelfSubjectAccessReview, which every authenticated account may ask), every 10 s while one is
missing, so that a right granted meanwhile is noticed, and every 5 min otherwise. What is found goes to `Rights`, like
the 403s that transport meets. Where the question itself is refused only those tell.

Source: Kubernetes API reference, SelfSubjectAccessReview v1.
"""

import asyncio
from typing import Any, Final

import msgspec
from msgspec import Struct

from resizer.kube.limiter import Share
from resizer.kube.request import Request
from resizer.kube.resource import LEASES, Resource
from resizer.kube.rights import Rights
from resizer.kube.transport import Transport
from resizer.model.errors import ApiError, ForbiddenError, InvalidError, NotFoundError

MISSING_AGAIN_S: Final = 10.0
AGAIN_S: Final = 300.0
_DEADLINE_S: Final = 10.0
_REVIEWS: Final = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews")


class _Status(Struct):
    allowed: bool = False


class _Review(Struct):
    status: _Status


class RightsReview:
    """The loop that asks. `leases` are those for which rights are needed, as (namespace, name)."""

    def __init__(self, transport: Transport, rights: Rights) -> None:
        self.leases: set[tuple[str, str]] = set()
        self._transport = transport
        self._rights = rights
        self._wake = asyncio.Event()

    def look_again(self) -> None:
        """More has become required: do not wait for the next time."""
        self._wake.set()

    async def run(self) -> None:
        """Ask until cancelled, or until the server does not let us."""
        while True:
            self._wake.clear()
            try:
                await self._ask_all()
            except (ForbiddenError, NotFoundError, InvalidError):
                return
            except ApiError:
                # The server is away: the watches say so.
                pause_s = MISSING_AGAIN_S
            else:
                pause_s = MISSING_AGAIN_S if self._rights.missing(required_only=True) else AGAIN_S
            await self._wait(pause_s)

    async def _wait(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _ask_all(self) -> None:
        for verb, resource in sorted(self._rights.required):
            if resource != LEASES.plural:
                await self._ask(verb, "", resource)
                continue
            for namespace, name in sorted(self.leases):
                # A Role may name the leases; only what is made cannot be named.
                await self._ask(verb, LEASES.group, resource, namespace, "" if verb == "create" else name)

    async def _ask(self, verb: str, group: str, resource: str, namespace: str = "", name: str = "") -> None:
        if await self._is_allowed(verb, group, resource, namespace, name):
            self._rights.granted(verb=verb, resource=resource, namespace=namespace)
        else:
            self._rights.missed(verb=verb, group=group, resource=resource, namespace=namespace)

    async def _is_allowed(self, verb: str, group: str, resource: str, namespace: str, name: str) -> bool:
        plural, _, subresource = resource.partition("/")
        what = {
            "verb": verb,
            "group": group,
            "resource": plural,
            "subresource": subresource,
            "namespace": namespace,
            "name": name,
        }
        body: dict[str, Any] = {
            "apiVersion": f"{_REVIEWS.group}/{_REVIEWS.version}",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in what.items() if value}},
        }
        request = Request(verb="create", resource=_REVIEWS, body=body, share=Share.READ, timeout_s=_DEADLINE_S)
        try:
            return msgspec.json.decode(await self._transport.request(request), type=_Review).status.allowed
        except msgspec.MsgspecError as error:
            raise request.unavailable(f"the review cannot be read: {error}") from error
