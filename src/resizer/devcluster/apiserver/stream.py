"""Open watches over HTTP: where one begins, how it is sent, when it ends."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web

from resizer.devcluster.apiserver import failure
from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.faults import ActiveFault, Faults
from resizer.devcluster.apiserver.handler import Call, selection_of
from resizer.devcluster.apiserver.present import Presenter, negotiate
from resizer.devcluster.apiserver.request import revision_of_watch
from resizer.devcluster.apiserver.resource import Resource
from resizer.devcluster.apiserver.store import CompactedError, Store
from resizer.devcluster.apiserver.watch import Feed, Watch, error_event


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a watch lasts when the client does not say, and how often it gets a bookmark."""

    bookmark_every_s: float
    watch_timeout_s: tuple[float, float] = (1800.0, 3600.0)


class Streams:
    """Serves watches and knows which are open."""

    def __init__(self, store: Store, faults: Faults, *, limits: Limits) -> None:
        self._store = store
        self._faults = faults
        self._limits = limits
        self._open: set[Watch] = set()

    def __len__(self) -> int:
        return len(self._open)

    def end(self) -> None:
        """Close every open watch in good order."""
        for watch in self._open:
            watch.end()

    async def serve(
        self, request: web.BaseRequest, call: Call, resource: Resource, *, agent: str, opened: Callable[[], None]
    ) -> web.StreamResponse:
        """Open a watch and serve it to its end; `opened` is called once it is under way."""
        form = negotiate(call.accept)
        presenter = Presenter(resource, form, include=call.query.get("includeObject", "Metadata"))
        feed, first, end = self._begin(call, resource, presenter)
        response = web.StreamResponse(headers={"Content-Type": form.content_type, "Cache-Control": "no-cache, private"})
        response.enable_chunked_encoding()
        if feed is None:
            await response.prepare(request)
            await response.write(error_event())
            return response

        def strike(stage: frozenset[str]) -> ActiveFault | None:
            return self._faults.strike(stage, call.asked, call.user.name, agent) if self._faults else None

        watch = Watch(
            feed,
            presenter,
            write=response.write,
            strike=strike,
            revision=lambda: self._store.revision,
            bookmark_every_s=self._limits.bookmark_every_s if _wants_bookmarks(call.query) else None,
        )
        timeout_s = self._timeout_s(call.query)
        with self._listening(watch, resource):
            try:
                await response.prepare(request)
                opened()
                await watch.run(first, end=end, timeout_s=timeout_s)
            except (ConnectionResetError, ConnectionAbortedError):
                pass  # The client has gone: there is nobody to tell.
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
        return response

    @contextlib.contextmanager
    def _listening(self, watch: Watch, resource: Resource) -> Iterator[None]:
        """Wake a watch for changes of its resource and of the faults, as long as it is open."""
        audiences = (self._store.collection(resource).listeners, self._faults.listeners)
        self._open.add(watch)
        for audience in audiences:
            audience.add(watch.wake)
        try:
            yield
        finally:
            self._open.discard(watch)
            for audience in audiences:
                audience.discard(watch.wake)

    def _begin(
        self, call: Call, resource: Resource, presenter: Presenter
    ) -> tuple[Feed | None, Iterable[bytes], bytes]:
        """Find where a watch begins, with which events and their end; no feed means that its version is too old."""
        collection, selection = self._store.collection(resource), selection_of(call, resource)
        revision = revision_of_watch(call.query.get("resourceVersion", ""))
        initial = call.query.get("sendInitialEvents")
        _check_options(call.query)
        if initial is not None or revision == 0:
            feed = Feed(collection, selection, presenter, position=collection.end)
            if initial == "false":
                return feed, (), b""
            end = presenter.bookmark(self._store.revision, ends_initial=True) if initial == "true" else b""
            return feed, feed.present(), end
        try:
            feed = Feed.since(collection, selection, presenter, revision)
            return feed, feed.take(), b""
        except CompactedError:
            return None, (), b""

    def _timeout_s(self, query: Mapping[str, str]) -> float:
        try:
            asked_s = float(query.get("timeoutSeconds") or 0)
        except ValueError as error:
            raise failure.bad_request(f"timeoutSeconds: {query['timeoutSeconds']!r} is no number") from error
        return asked_s or random.uniform(*self._limits.watch_timeout_s)  # noqa: S311 - spreads reconnects


def _wants_bookmarks(query: Mapping[str, str]) -> bool:
    return query.get("allowWatchBookmarks") in {"1", "true"}


def _check_options(query: Mapping[str, str]) -> None:
    """Refuse query parameters that contradict one another."""
    initial, match = query.get("sendInitialEvents"), query.get("resourceVersionMatch", "")
    field, text = "", ""
    if initial is None:
        if match:
            field = "resourceVersionMatch"
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    elif match != "NotOlderThan":
        field = "resourceVersionMatch"
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
    elif initial == "true" and not _wants_bookmarks(query):
        field, text = "allowWatchBookmarks", "sendInitialEvents requires allowWatchBookmarks"
    if field:
        raise failure.invalid_options([Cause.forbidden(field, text)])
