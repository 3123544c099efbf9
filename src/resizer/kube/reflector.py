"""Keeps a shelf equal to what the API server has: a list, then a watch, for ever.

What always holds: every wait has a deadline (list, open, silence, the watch's whole life); a watch that says nothing
for 70 s is closed and opened again, and if that one is silent too, everything is listed afresh; a version that the
server has forgotten (410) means a fresh list, and what is missing there is reported as deleted; `health.synced`
is true only after the first list was processed; duplicates and late events do no harm, the shelf refuses them. A list
comes as a WatchList; one that was begun and did not come to its end, for whatever reason, is followed by a list in
pages. The loop ends only by cancellation, and nothing else retries inside it.

Sources: Kubernetes API concepts ("Efficient detection of changes"), KEP-3157 (WatchList), KEP-956 (bookmarks).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from msgspec import Struct

from resizer.kube.answer import error_of_status
from resizer.kube.backoff import Backoff
from resizer.kube.decode import (
    Decoder,
    Malformed,
    decode_bookmark,
    decode_event,
    decode_page,
    decode_status,
)
from resizer.kube.health import WatchHealth
from resizer.kube.limiter import MAX_PAUSE_S, Share
from resizer.kube.projection import MalformedObjectError
from resizer.kube.request import MAX_PAGE_BYTES, Request
from resizer.kube.resource import Resource
from resizer.kube.spare_memory import give_back
from resizer.kube.store import Cached, Shelf
from resizer.kube.stream import Oversized, WatchStream
from resizer.kube.telemetry import KubeTelemetry, RestartReason
from resizer.kube.transport import Transport
from resizer.model.errors import ApiError, ExpiredError, InvalidError, ThrottledError, UnavailableError

PAGE_SIZE: Final = 5000
_MIN_PAGE_SIZE: Final = 50
_MANY: Final = 500
"""Objects from which on what a list leaves behind is worth giving back."""
_YIELD_EVERY: Final = 500

T = TypeVar("T", bound=Cached)


class Timing(Struct, frozen=True):
    """Deadlines in seconds. A server sends a bookmark about once a minute, so 70 s without one is silence."""

    idle_s: float = 70.0
    watch_s: float = 300.0
    watch_spread_s: float = 300.0
    open_s: float = 30.0
    list_s: float = 60.0
    grace_s: float = 30.0
    """How much longer than asked for a watch may live before we close it ourselves."""


class Selection(Struct, frozen=True):
    """Which objects: a resource, in one namespace or all, by selectors."""

    resource: Resource
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def params(self) -> dict[str, str]:
        """Query parameters."""
        pairs = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {key: value for key, value in pairs.items() if value}


class _SilentError(Exception):
    """The watch said nothing for too long."""


class Reflector(Generic[T]):
    """One resource's list and watch. `run` is the loop; the rest answers questions about it."""

    def __init__(
        self,
        transport: Transport,
        selection: Selection,
        *,
        shelf: Shelf[T],
        decoder: Decoder[T],
        telemetry: KubeTelemetry,
        timing: Timing | None = None,
        page_size: int = PAGE_SIZE,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.selection = selection
        self.restarts = 0
        self.running = False
        self.health = WatchHealth(selection.resource.plural)
        self._transport = transport
        self._shelf = shelf
        self._decoder = decoder
        self._telemetry = telemetry
        self._timing = timing or Timing()
        self._page_size = page_size
        self._draw = draw
        self._version = ""
        self._has_watch_list = True
        """Whether the server has WatchList, as far as we know."""
        self._watch_list = True
        """Whether the next fresh list is a WatchList."""
        self._backoff = Backoff(draw=draw)
        self._loop = asyncio.get_running_loop()
        self._watch_ends_at = 0.0

    async def run(self) -> None:
        """List and watch until cancelled."""
        self.health.note_attempt()
        self.running = True
        try:
            while True:
                await self._run_and_wait()
        finally:
            self.running = False

    async def _run_and_wait(self) -> None:
        started = self._loop.time()
        reason = await self._run_once()
        self.restarts += 1
        self._telemetry.watch_restarted(resource=self.selection.resource.plural, reason=reason)
        if reason != "error" and self._loop.time() - started >= 1:
            self._backoff.reset()
        else:
            error = self.health.last_error
            asked_s = min(error.retry_after_s, MAX_PAUSE_S) if isinstance(error, ThrottledError) else 0
            await asyncio.sleep(max(self._backoff.next_s(), asked_s))

    def statistics(self) -> dict[str, float | int | str | bool]:
        """Return figures for /debug/state."""
        return {
            "synced": self.health.synced,
            "watch_age_s": round(self.health.age_s(), 1),
            "attempt_age_s": round(self.health.attempt_age_s(), 1),
            "restarts": self.restarts,
            "malformed": self._decoder.malformed,
            "last_error": str(self.health.last_error or ""),
        }

    async def _run_once(self) -> RestartReason:
        """List if need be, and watch until that ends; says why it ended."""
        try:
            await self._list_and_watch()
        except _SilentError:
            self.health.note_silence()
            if self.health.silences > 1 or not self.health.synced:
                # Watches may be what is broken here (a proxy that buffers them): ask in another way.
                self._version, self._has_watch_list, self._watch_list = "", False, False
            return "silent"
        except ExpiredError:
            self._version = ""
            return "expired"
        except ApiError as error:
            self.health.note_failure(error)
            return "error"
        return "closed"

    async def _list_and_watch(self) -> None:
        if not self._version and self._watch_list:
            try:
                await self._watch(floor=self._shelf.begin_list())
            except ApiError as error:
                if not self._may_list_instead(error):
                    raise
                self.health.note_listed_instead(error)
                self._watch_list = False
                self._has_watch_list &= not isinstance(error, InvalidError)  # it has none, and is not asked again
            else:
                return
        if not self._version:
            await self._list()
        await self._watch(floor=0)

    def _may_list_instead(self, error: ApiError) -> bool:
        """Whether a list may be had at once where a WatchList came to no end.

        An old server refuses `sendInitialEvents`; one whose etcd is too old to tell of its progress (before 3.5.13)
        opens the watch and ends it with an internal error.
        """
        return not self._version and (isinstance(error, InvalidError) or error.status >= 500)

    async def _watch(self, *, floor: int) -> None:
        """Watch until that ends; without a version, as a WatchList."""
        stream = await self._open()
        if not self._version:
            self._watch_list = False  # until its end has come
        try:
            await self._follow(stream, floor=floor)
        finally:
            stream.close()

    async def _open(self) -> WatchStream:
        self.health.note_attempt()
        timing = self._timing
        seconds = int(timing.watch_s + timing.watch_spread_s * self._draw())
        self._watch_ends_at = self._loop.time() + seconds + timing.grace_s
        params = {**self.selection.params, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        if self._version:
            params["resourceVersion"] = self._version
        else:
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        stream = await self._transport.watch(self._request("watch", params, timeout_s=timing.open_s, share=None))
        self.health.note_opened()
        return stream

    async def _follow(self, stream: WatchStream, *, floor: int) -> None:
        """Take in what the watch says until it ends. Raises UnavailableError when a WatchList comes to no end."""
        heard_at = self._loop.time()
        listed_by = heard_at + self._timing.list_s
        while True:
            ends_at = self._watch_ends_at if self._version else min(listed_by, self._watch_ends_at)
            wait_s = min(heard_at + self._timing.idle_s, ends_at) - self._loop.time()
            try:
                lines = await stream.read(timeout_s=max(wait_s, 0))
            except TimeoutError as error:
                if self._loop.time() < ends_at:
                    raise _SilentError from error
                if self._version:
                    return
                text = f"the initial events did not end within {self._timing.list_s:.0f}s"
                raise UnavailableError(text, verb="watch", resource=self.selection.resource.plural) from error
            if lines is None:
                return
            if lines:
                heard_at = self._loop.time()
                self.health.note_data()
                self._backoff.reset()
            for line in lines:
                self._take_line(line, floor=floor)
            if not self.health.synced:
                # A long list comes in one burst; others want to run meanwhile.
                await asyncio.sleep(0)

    def _take_line(self, line: bytes | Oversized, *, floor: int) -> None:
        if isinstance(line, Oversized):
            self._drop(self._decoder.refuse(line.head, f"it is longer than {self._decoder.limit_bytes} bytes"))
            return
        change = self._decoder.decode_change(line)
        if change is not None:
            self._take_object(*change)
            return
        try:
            event = decode_event(line)
            if event.type == "BOOKMARK":
                bookmark = decode_bookmark(event.object)
                if bookmark.ends_initial_events and not self._version:
                    self._end_list(int(bookmark.version), floor=floor)
                self._advance(bookmark.version)
                return
        except (MalformedObjectError, ValueError) as error:
            self._drop(self._decoder.refuse(line, str(error)))
            return
        if event.type == "ERROR":
            status = decode_status(event.object)
            raise error_of_status(
                status.code,
                status.message,
                reason=status.reason,
                wait_s=0,
                verb="watch",
                resource=self.selection.resource.plural,
                name="",
            )
        self._take_object(event.type, self._decoder.decode(event.object))

    def _take_object(self, kind: str, found: T | Malformed) -> None:
        if isinstance(found, Malformed):
            self._drop(found)
            return
        if kind == "DELETED":
            self._shelf.remove(found)
        else:
            self._shelf.put(found)
        if self._version:
            self._advance(found.version)

    def _advance(self, version: str) -> None:
        if self._version and int(version) > int(self._version):
            self._version = version

    def _drop(self, malformed: Malformed) -> None:
        if malformed.key:
            # What is watched in one namespace is kept by its name alone.
            self._shelf.drop_unreadable(malformed.key.removeprefix(f"{self.selection.namespace}/"))

    async def _list(self) -> None:
        """List everything in pages; the pages are not kept."""
        floor = self._shelf.begin_list()
        token, version = "", 0
        while True:
            self.health.note_attempt()
            params = {**self.selection.params, "limit": str(self._page_size)}
            if token:
                params["continue"] = token
            listed, token = await self._list_page(params, floor=0 if version else floor)
            version = version or listed
            if not token:
                break
        self._end_list(version, floor=0)
        self.health.note_opened()

    async def _list_page(self, params: dict[str, str], *, floor: int) -> tuple[int, str]:
        request = self._request("list", params, timeout_s=self._timing.list_s, share=Share.READ)
        try:
            page = decode_page(await self._transport.request(request))
        except MalformedObjectError as error:
            self._ask_for_less()
            raise request.unavailable(str(error), status=200) from error
        except UnavailableError as error:
            if error.status == 200:
                self._ask_for_less()
            raise
        version = int(page.version)
        if version < floor:
            self._shelf.history_went_back()
            self._shelf.begin_list()
        for count, item in enumerate(page.items, start=1):
            self._take_object("ADDED", self._decoder.decode(item))
            if count % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return version, page.next_token

    def _ask_for_less(self) -> None:
        """A page came, but was too long or mangled on the way: the next one is smaller."""
        self._page_size = max(self._page_size // 4, _MIN_PAGE_SIZE)

    def _end_list(self, version: int, *, floor: int) -> None:
        resource = self.selection.resource.plural
        if version < floor:
            self._shelf.history_went_back()
            raise ExpiredError("the server's history went back; all is read again", verb="watch", resource=resource)
        gone = self._shelf.end_list(version)
        self._version = str(version)
        self._watch_list = self._has_watch_list
        if len(self._shelf) >= _MANY:
            give_back()
        self.health.note_synced(objects=len(self._shelf), deleted_meanwhile=gone)

    def _request(self, verb: str, params: dict[str, str], *, timeout_s: float, share: Share | None) -> Request:
        return Request(
            verb=verb,
            resource=self.selection.resource,
            namespace=self.selection.namespace,
            params=params,
            timeout_s=timeout_s,
            share=share,
            max_bytes=MAX_PAGE_BYTES,
        )
