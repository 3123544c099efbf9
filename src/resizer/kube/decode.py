"""From bytes to events and pages: what a watch's line says, what a list's page holds.

A line or a page is taken apart into raw objects first, and each object is projected by itself, so that one that
cannot be read costs nobody else anything: it is counted, logged once with its name, and reported as `Malformed`,
upon which the caches forget the object. (Acting on the last readable state of something that has changed since
would be worse than not acting.)
"""

import re
from typing import Final, Generic, TypeVar

import msgspec
import structlog
from msgspec import Raw, Struct, field

from resizer.kube.projection import Kind, MalformedObjectError
from resizer.kube.telemetry import KubeTelemetry

MAX_OBJECT_BYTES: Final = 3 * 1024 * 1024
"""No API server stores more than 1.5 MiB an object (etcd's default request limit); twice that is somebody's attack."""

_MAX_LOGGED: Final = 1000
_NAME: Final = re.compile(rb'"name"\s*:\s*"([^"\\]{1,253})"')
_NAMESPACE: Final = re.compile(rb'"namespace"\s*:\s*"([^"\\]{1,253})"')

T = TypeVar("T")
log = structlog.get_logger("resizer.kube.decode")


class Malformed(Struct, frozen=True):
    """An object that was skipped: its key as far as it could be read ("" if not), and why."""

    key: str
    reason: str


class Decoder(Generic[T]):
    """Projects objects of one resource, counting and naming once those that cannot be read."""

    def __init__(
        self,
        resource: str,
        kind: Kind[T],
        *,
        telemetry: KubeTelemetry,
        limit: int = MAX_OBJECT_BYTES,
    ) -> None:
        self.resource = resource
        self.limit_bytes = limit
        self.malformed = 0
        self._kind = kind
        self.decode_change = kind.decode_change
        """Reads a line in one go; what it leaves is taken apart by `decode_event` and `decode`, which count and log."""
        self._telemetry = telemetry
        self._logged: set[str] = set()

    def decode(self, data: bytes | Raw) -> T | Malformed:
        """Project one object."""
        if len(data) > self.limit_bytes:
            return self.refuse(bytes(data)[:65536], f"it has {len(data)} bytes")
        try:
            return self._kind.decode(data)
        except MalformedObjectError as error:
            return self.refuse(bytes(data)[:65536], str(error))

    def refuse(self, head: bytes, reason: str) -> Malformed:
        """Count an object that cannot be read, of which these are the first bytes."""
        self.malformed += 1
        self._telemetry.object_malformed(resource=self.resource)
        key = _key(head)
        if key not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(key)
            log.error(
                "object.malformed",
                resource=self.resource,
                object=key or "(no name)",
                reason=reason,
                next="the object is skipped until it changes; look at it with kubectl get -o yaml",
            )
        return Malformed(key, reason)


class _Names(Struct, gc=False):
    name: str = ""
    namespace: str = ""


class _Named(Struct, gc=False):
    metadata: _Names


def _key(head: bytes) -> str:
    """The key of a broken object: read properly if that can be done, else by the first name that stands in it."""
    try:
        names = msgspec.json.decode(head, type=_Named).metadata
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        start = head.find(b'"metadata"')
        if start < 0:
            return ""
        name, namespace = _NAME.search(head, start), _NAMESPACE.search(head, start)
        names = _Names(name[1].decode(errors="replace") if name else "", namespace[1].decode() if namespace else "")
    return f"{names.namespace}/{names.name}" if names.namespace else names.name


class _ListMeta(Struct, gc=False, rename="camel"):
    resource_version: str = ""
    continue_: str = field(default="", name="continue")


class Page(Struct, frozen=True):
    """One page of a list: raw items, the list's version, the token of the next page ("" at the end)."""

    items: list[Raw]
    metadata: _ListMeta

    @property
    def version(self) -> str:
        """The version at which the whole list is consistent."""
        return self.metadata.resource_version

    @property
    def next_token(self) -> str:
        """Where to go on, empty at the end."""
        return self.metadata.continue_


class _Page(Struct, gc=False):
    metadata: _ListMeta = field(default_factory=_ListMeta)
    items: list[Raw] | None = None


class WatchEvent(Struct, gc=False, frozen=True):
    """One line of a watch. `object` is not decoded yet."""

    type: str
    object: Raw


class _BookmarkMeta(Struct, gc=False, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Bookmark(Struct, gc=False):
    metadata: _BookmarkMeta


class Bookmark(Struct, frozen=True):
    """The version a watch has reached, and whether this ends the initial events (KEP-3157)."""

    version: str
    ends_initial_events: bool


class Status(Struct, gc=False):
    """The API server's answer when it refuses (metav1.Status), the fields that are used."""

    message: str = ""
    reason: str = ""
    code: int = 0


_page_decoder: Final = msgspec.json.Decoder(_Page)
_event_decoder: Final = msgspec.json.Decoder(WatchEvent)
_bookmark_decoder: Final = msgspec.json.Decoder(_Bookmark)
_status_decoder: Final = msgspec.json.Decoder(Status)


def decode_page(data: bytes) -> Page:
    """Take a list's answer apart. Raises MalformedObjectError when it is no list."""
    try:
        wire = _page_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedObjectError(f"the answer is no list: {error}") from error
    version = wire.metadata.resource_version
    if not (version.isascii() and version.isdigit()):
        raise MalformedObjectError(f"the answer is no list: its resourceVersion {version[:40]!r} is not a number")
    return Page(items=wire.items or [], metadata=wire.metadata)


def decode_event(line: bytes) -> WatchEvent:
    """Take a watch's line apart. Raises MalformedObjectError when it is no event."""
    try:
        return _event_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedObjectError(f"the line is no watch event: {error}") from error


def decode_bookmark(data: Raw) -> Bookmark:
    """Read a bookmark's object. Raises MalformedObjectError."""
    try:
        meta = _bookmark_decoder.decode(data).metadata
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedObjectError(f"the bookmark cannot be read: {error}") from error
    ends = (meta.annotations or {}).get("k8s.io/initial-events-end") == "true"
    return Bookmark(meta.resource_version, ends)


def decode_status(data: bytes | Raw) -> Status:
    """Read a refusal, or what can be read of it: proxies answer with HTML."""
    try:
        return _status_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Status()
