"""Watches: what one open watch has seen, what it gets next, and how that goes out.

A watch has no queue. It keeps its position in the history of its collection and reads on from there whenever
something was written, so a burst becomes one write to the socket and a slow client costs nothing but its own
place; when history has been dropped from under it, it is closed, as a real server closes a watch that lags.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

from resizer.devcluster.apiserver.failure import expired
from resizer.devcluster.apiserver.faults import ON_DELIVERY, ON_INITIAL, ON_WATCH, ActiveFault
from resizer.devcluster.apiserver.present import Presenter
from resizer.devcluster.apiserver.selector import Selection
from resizer.devcluster.apiserver.store import Change, Collection, CompactedError, decode, encode

_GAP_S = 0.004
"""A watch that was served less than this ago waits a little, so that a burst goes out in few pieces."""

_MOST_BYTES_AT_ONCE = 1 << 20

_PIECE_BYTES = 1 << 16
"""What a watch begins with goes out in pieces of about this size, so that a long list arrives while it is written."""

_STALLED_S = 60.0
"""A client that takes nothing for this long is given up."""

Strike = Callable[[frozenset[str]], ActiveFault | None]


class Feed:
    """The events of one watch, taken as they come."""

    def __init__(self, collection: Collection, selection: Selection, presenter: Presenter, *, position: int) -> None:
        self._collection = collection
        self._selection = selection
        self._presenter = presenter
        self._position = position
        self._after = 0

    @classmethod
    def since(cls, collection: Collection, selection: Selection, presenter: Presenter, revision: int) -> Feed:
        """Begin after a version; raise CompactedError if history does not reach back to it."""
        feed = cls(collection, selection, presenter, position=collection.position_after(revision))
        feed._after = revision
        return feed

    def present(self) -> Iterator[bytes]:
        """List what is there now as ADDED events, each written when it is asked for, and go on from here."""
        self._position = self._collection.end
        objects = self._collection.objects
        found = [objects[key] for key in self._collection.keys(self._selection.namespace)]
        return (self._presenter.event(b"ADDED", v.raw) for v in found if self._selection.matches(v))

    def take(self) -> list[bytes]:
        """Take the events that are new, a bounded number of bytes; raise CompactedError if some of them are lost."""
        events, size = [], 0
        for change in self._collection.changes_from(self._position):
            self._position += 1
            event = self._event(change) if change.revision > self._after else None
            if event is not None:
                events.append(event)
                size += len(event)
                if size > _MOST_BYTES_AT_ONCE:
                    break
        return events

    @property
    def behind(self) -> bool:
        """Whether there is more to take."""
        return self._position < self._collection.end

    def _event(self, change: Change) -> bytes | None:
        """Translate a change for this selection: objects enter and leave it as their labels change."""
        before = change.previous is not None and self._selection.matches(change.previous)
        after = change.type != "DELETED" and self._selection.matches(change.current)
        if change.type == "DELETED":
            return self._presenter.event(b"DELETED", change.current.raw) if before else None
        if after:
            return self._presenter.event(b"MODIFIED" if before else b"ADDED", change.current.raw)
        if before and change.previous is not None:
            doc = decode(change.previous.raw)
            doc["metadata"]["resourceVersion"] = str(change.revision)
            return self._presenter.event(b"DELETED", encode(doc))
        return None


class Watch:
    """One open watch: waits for changes, faults, bookmarks and its end, and writes what is due.

    `wake` may be called by anyone at any time; `run` is one task's.
    """

    def __init__(
        self,
        feed: Feed,
        presenter: Presenter,
        *,
        write: Callable[[bytes | bytearray], Awaitable[None]],
        strike: Strike,
        revision: Callable[[], int],
        bookmark_every_s: float | None,
    ) -> None:
        self._feed = feed
        self._presenter = presenter
        self._write = write
        self._strike = strike
        self._revision = revision
        self._bookmark_every_s = bookmark_every_s
        self._bookmark_due = False
        self._over = False
        self._silenced: ActiveFault | None = None
        self._bell = asyncio.Event()
        # The first look needs no bell: something may have happened while the watch was being opened.
        self._bell.set()

    def wake(self) -> None:
        """Look again: something may have changed."""
        self._bell.set()

    def end(self) -> None:
        """Close the watch in good order."""
        self._over = True
        self._bell.set()

    async def run(self, first: Iterable[bytes], *, end: bytes = b"", timeout_s: float) -> None:
        """Send what the watch begins with, and serve until the time is up, the server stops, or history is lost.

        `end` is the bookmark that tells that `first` was all, if the client wants to know.
        """
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(timeout_s, self.end)]
        if self._bookmark_every_s is not None:
            timers.append(loop.call_later(self._bookmark_every_s, self._ring_for_bookmark))
        try:
            await self._send_first(first, end)
            await self._serve(loop)
        finally:
            self._over = True
            for timer in timers:
                timer.cancel()

    def _ring_for_bookmark(self) -> None:
        if not self._over and self._bookmark_every_s is not None:
            self._bookmark_due = True
            self._bell.set()
            asyncio.get_running_loop().call_later(self._bookmark_every_s, self._ring_for_bookmark)

    async def _send_first(self, events: Iterable[bytes], end: bytes) -> None:
        piece = bytearray()
        for event in events:
            piece += event
            if len(piece) >= _PIECE_BYTES:
                await self._send(piece)
                piece = bytearray()
                if self._over:
                    return
        fault = self._strike(ON_INITIAL) if end else None
        if fault is not None:
            await self._send(piece)
            await fault.hold()
            piece = bytearray()
        if not self._over:
            await self._send(piece + end)

    async def _send(self, data: bytes | bytearray) -> None:
        if data:
            async with asyncio.timeout(_STALLED_S):
                await self._write(data)

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        events: list[bytes] = []
        served_at = loop.time()
        while True:
            if events:
                await self._send(b"".join(events))
                served_at = loop.time()
            if self._over:
                return
            if self._silent or not self._feed.behind:
                await self._bell.wait()
            self._bell.clear()
            wait_s = served_at + _GAP_S - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            try:
                events = self._due()
            except CompactedError:
                await self._write(error_event())
                return

    @property
    def _silent(self) -> bool:
        return self._silenced is not None and not self._silenced.released.is_set()

    def _due(self) -> list[bytes]:
        """Collect what goes out next, as the faults in force will have it."""
        if self._silent:
            return []
        fault = self._strike(ON_WATCH)
        kind = fault.fault.kind if fault is not None else ""
        if kind == "gone":
            raise CompactedError
        if kind == "silent":
            self._silenced = fault
            return []
        if kind == "end":
            self._over = True
            return []
        events = self._feed.take()
        fault = self._strike(ON_DELIVERY) if events else None
        if fault is not None:
            twice = fault.fault.kind == "duplicate"
            events = [event for event in events for _ in range(2)] if twice else events[::-1]
        if self._bookmark_due and not events:
            events.append(self._presenter.bookmark(self._revision()))
        self._bookmark_due = False
        return events


def error_event() -> bytes:
    """Write the event that ends a watch whose version history no longer holds."""
    status = expired("too old resource version").status()
    return b'{"type":"ERROR","object":%s}\n' % encode(status)
