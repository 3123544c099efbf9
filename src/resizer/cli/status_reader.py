"""Reads objects for a person: claims, volumes, events, and whatever `explain` and `grow` ask of them.

Each read is one request (lists in pages), tried once, with the person's own rights. What cannot be read is the
caller's to judge; objects that no sane server sends are passed over.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from resizer.csi.translation import translate
from resizer.explain.facts import EventFacts
from resizer.kube.decode import decode_page
from resizer.kube.limiter import Share
from resizer.kube.projection import CLAIM, VOLUME, MalformedObjectError
from resizer.kube.request import MAX_PAGE_BYTES, Request
from resizer.kube.resource import CLAIMS, EVENTS, VOLUMES, Resource
from resizer.kube.transport import Transport
from resizer.model.errors import InvalidError
from resizer.model.objects import Claim, Volume
from resizer.model.timestamp import parse_time

PAGE: Final = "1000"
T = TypeVar("T")


class _Source(Struct):
    component: str = ""


class _Involved(Struct):
    uid: str = ""


class _Event(Struct, rename="camel"):
    involved_object: _Involved = field(default_factory=_Involved)
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    last_timestamp: str | None = None
    first_timestamp: str | None = None
    event_time: str | None = None
    source: _Source = field(default_factory=_Source)


class Reader:
    """Reads from one API server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def claim(self, namespace: str, name: str) -> Claim:
        """Read one claim. Raises ApiError."""
        return await self.get(CLAIMS, CLAIM.decode, namespace=namespace, name=name)

    async def volume(self, name: str) -> Volume:
        """Read one volume. Raises ApiError."""
        return await self.get(VOLUMES, _to_volume, name=name)

    async def claims(self, namespace: str, *, selector: str = "") -> list[Claim]:
        """Read the claims of a namespace, of all with "". Raises ApiError."""
        return await self.list(CLAIMS, CLAIM.decode, namespace=namespace, labelSelector=selector)

    async def volumes(self) -> dict[str, Volume]:
        """Read all volumes, by name. Raises ApiError."""
        return {volume.name: volume for volume in await self.list(VOLUMES, _to_volume)}

    async def events(self, namespace: str, *, uid: str = "") -> dict[str, tuple[EventFacts, ...]]:
        """Read the events on claims (or on the one of this uid), by the claim's uid. Raises ApiError."""
        which = f"involvedObject.uid={uid}" if uid else "involvedObject.kind=PersistentVolumeClaim"
        found: dict[str, list[EventFacts]] = {}
        for event in await self.list(EVENTS, _read_event, namespace=namespace, fieldSelector=which):
            found.setdefault(event.involved_object.uid, []).append(_facts(event))
        return {key: tuple(events) for key, events in found.items()}

    async def get(self, resource: Resource, decode: Callable[[bytes | Raw], T], *, namespace: str = "", name: str) -> T:
        """Read one object. Raises ApiError, also for one that cannot be understood."""
        request = Request(verb="get", resource=resource, namespace=namespace, name=name, share=Share.READ)
        try:
            return decode(await self._transport.request(request))
        except (MalformedObjectError, msgspec.MsgspecError) as error:
            text = f"it cannot be understood: {error}"
            raise InvalidError(text, verb="get", resource=resource.plural, name=request.object_name) from error

    async def list(
        self, resource: Resource, decode: Callable[[bytes | Raw], T], *, namespace: str = "", **params: str
    ) -> list[T]:
        """Read a list, page by page; empty parameters are left out. Raises ApiError."""
        query = {"limit": PAGE, **{key: value for key, value in params.items() if value}}
        found: list[T] = []
        while True:
            request = Request(
                verb="list",
                resource=resource,
                namespace=namespace,
                params=query,
                share=Share.READ,
                max_bytes=MAX_PAGE_BYTES,
            )
            body = await self._transport.request(request)
            try:
                page = decode_page(body)
            except MalformedObjectError as error:
                raise InvalidError(str(error), verb="list", resource=resource.plural) from error
            for item in page.items:
                try:
                    found.append(decode(item))
                except (MalformedObjectError, msgspec.MsgspecError):
                    continue
            if not page.next_token:
                return found
            query["continue"] = page.next_token

    async def ask(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        """Post a review and return its status. Raises ApiError."""
        request = Request(verb="create", resource=resource, body=body, share=Share.READ)
        try:
            answer: dict[str, Any] = msgspec.json.decode(await self._transport.request(request), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise InvalidError(f"no review: {error}", verb="create", resource=resource.plural) from error
        status = answer.get("status")
        return status if isinstance(status, dict) else {}


def document(data: bytes | Raw) -> dict[str, Any]:
    """Decode an object of which only a field or two are needed. Raises msgspec's errors."""
    return msgspec.json.decode(data, type=dict[str, Any])


def part(found: object, *path: str) -> dict[str, Any]:
    """Return a mapping inside a document, an empty one where there is none."""
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def now_s() -> float:
    """Unix seconds."""
    return dt.datetime.now(dt.UTC).timestamp()


def _to_volume(data: bytes | Raw) -> Volume:
    volume = VOLUME.decode(data)
    return translate(volume) if volume.in_tree_source else volume


def _read_event(data: bytes | Raw) -> _Event:
    return msgspec.json.decode(data, type=_Event)


def _facts(event: _Event) -> EventFacts:
    at = event.last_timestamp or event.event_time or event.first_timestamp or ""
    return EventFacts(
        type=event.type,
        reason=event.reason,
        message=event.message,
        at_s=parse_time(at),
        count=event.count or 1,
        component=event.source.component,
    )
