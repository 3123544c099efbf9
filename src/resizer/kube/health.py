"""What is known of a watch's health, and who waits for its first list.

Two ages: `age_s` since the last sign of life of the watch (readiness, metric), `attempt_age_s` since the last thing
that was tried or received (liveness). After a silent watch only data is a sign of life, so that a server that accepts
watches and never speaks is seen.
"""

import asyncio
import contextlib

import structlog

from resizer.model.errors import ApiError, ForbiddenError

log = structlog.get_logger("resizer.kube.watch")


class WatchHealth:
    """Health of one resource's watch. Made on the running event loop."""

    def __init__(self, resource: str) -> None:
        self.synced = False
        self.last_error: ApiError | None = None
        self.silences = 0
        self._resource = resource
        self._loop = asyncio.get_running_loop()
        self._alive_at = self._attempt_at = self._loop.time()
        self._waiters: list[asyncio.Future[None]] = []

    def age_s(self) -> float:
        """Seconds since the watch last showed life: an event, a bookmark, an opening that followed no silence."""
        return self._loop.time() - self._alive_at

    def attempt_age_s(self) -> float:
        """Seconds since something was last tried or received."""
        return self._loop.time() - self._attempt_at

    async def wait_listed(self) -> None:
        """Wait until the first list has been processed, through missing rights as well."""
        while not self.synced:
            with contextlib.suppress(ForbiddenError):
                await self._wait()

    async def wait_synced(self) -> None:
        """Wait until the first list has been processed. Raises ForbiddenError while the right is missing."""
        if self.synced:
            return
        if isinstance(self.last_error, ForbiddenError):
            raise self.last_error
        await self._wait()

    async def _wait(self) -> None:
        mine: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(mine)
        try:
            await mine
        finally:
            if mine in self._waiters:
                self._waiters.remove(mine)

    def note_attempt(self) -> None:
        """Something is being tried."""
        self._attempt_at = self._loop.time()

    def note_opened(self) -> None:
        """The server has answered a list or accepted a watch."""
        self._attempt_at = self._loop.time()
        if not self.silences:
            self._alive_at = self._attempt_at

    def note_data(self) -> None:
        """The watch has spoken."""
        self._alive_at = self._attempt_at = self._loop.time()
        self.silences = 0
        self.last_error = None

    def note_silence(self) -> None:
        """The watch was closed because it said nothing."""
        self.silences += 1
        log.warning("watch.silent", resource=self._resource, age_s=round(self.age_s()), next="it is opened again")

    def note_failure(self, error: ApiError) -> None:
        """List or watch failed; said once for each kind of failure."""
        self._attempt_at = self._loop.time()
        if type(error) is not type(self.last_error):
            log.warning("watch.failed", resource=self._resource, error=str(error), next="it is tried again")
        self.last_error = error
        if isinstance(error, ForbiddenError):
            self._wake(error)

    def note_listed_instead(self, error: ApiError) -> None:
        """A WatchList was refused, and a list is asked for."""
        self._attempt_at = self._loop.time()
        log.info("watch.listed_instead", resource=self._resource, error=str(error), next="it is listed in pages")

    def note_synced(self, *, objects: int, deleted_meanwhile: int) -> None:
        """A whole list was processed."""
        if not self.synced:
            log.info("watch.synced", resource=self._resource, objects=objects)
        elif deleted_meanwhile:
            log.info("watch.caught_up", resource=self._resource, deleted_meanwhile=deleted_meanwhile)
        self.synced = True
        self.last_error = None
        self._wake(None)

    def _wake(self, error: ApiError | None) -> None:
        for waiter in self._waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        self._waiters.clear()
