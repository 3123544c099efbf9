"""Events on claims, sent by one background sender that can never delay a resize: the pipeline's `EventSink`.

`emit` puts a notice into a bounded queue and returns; what does not fit is dropped and counted. The sender takes the
lowest share of the limiter, tries an event a few times while the API server is away, and counts what it gives up.
Without the right to patch events, repetitions become events of their own; without the right to create them, the
namespace gets none for a minute at a time. On exit the queue is drained, for as long as `drain` is given.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from resizer.kube.backoff import Backoff
from resizer.kube.event_log import EventLog, Notice, Sent, event_body
from resizer.kube.limiter import Share
from resizer.kube.request import MERGE_PATCH, Request
from resizer.kube.resource import EVENTS
from resizer.kube.telemetry import DropReason, KubeTelemetry
from resizer.kube.transport import Transport
from resizer.model.errors import (
    AlreadyExistsError,
    ApiError,
    ForbiddenError,
    NotFoundError,
    ThrottledError,
    UnavailableError,
)
from resizer.model.objects import Claim
from resizer.model.timestamp import format_time
from resizer.pipeline.ports import EventType

QUEUE_LENGTH: Final = 10_000
ATTEMPTS: Final = 5
OFF_S: Final = 60.0
_EVENT_DEADLINE_S: Final = 15.0
_MAX_OFF: Final = 1000


class KubeEvents:
    """The sink and its sender. `run` sends until cancelled; `drain` waits for what is queued."""

    def __init__(
        self,
        transport: Transport,
        *,
        telemetry: KubeTelemetry,
        now: Callable[[], float] = time.time,
        queue_length: int = QUEUE_LENGTH,
    ) -> None:
        self.sent = 0
        self.dropped = 0
        self._transport = transport
        self._telemetry = telemetry
        self._now = now
        self._limit = queue_length
        self._queue: deque[Notice] = deque()
        self._log = EventLog()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._may_patch = True
        self._off_until: dict[str, float] = {}

    def emit(self, claim: Claim, *, type_: EventType, reason: str, message: str, driver: str) -> None:
        """Say it once; repetitions are aggregated. Never blocks, never fails."""
        notice = self._log.notice(claim, type_=type_, reason=reason, message=message, driver=driver, at=self._now())
        if len(self._queue) >= self._limit:
            self._drop("queue-full")
        elif not self._log.admit(notice):
            self._drop("rate")
        else:
            self._queue.append(notice)
            self._idle.clear()
            self._wake.set()

    async def run(self) -> None:
        """Send what is emitted until cancelled."""
        while True:
            while not self._queue:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            await self._deliver(self._queue.popleft())

    async def drain(self, *, timeout_s: float) -> int:
        """Wait until all is sent, at most so long; from now on failures are not retried. Returns how many are lost."""
        self._closing = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            for _ in range(len(self._queue)):
                self._drop("shutdown")
        lost = len(self._queue)
        self._queue.clear()
        return lost

    def statistics(self) -> dict[str, int]:
        """Return figures for /debug/state."""
        return {"queued": len(self._queue), "sent": self.sent, "dropped": self.dropped}

    async def _deliver(self, notice: Notice) -> None:
        if asyncio.get_running_loop().time() < self._off_until.get(notice.namespace, 0.0):
            self._drop("forbidden")
            return
        backoff = Backoff()
        for _attempt in range(ATTEMPTS):
            try:
                await self._send(notice)
            except (UnavailableError, ThrottledError):
                if self._closing:
                    break
                await asyncio.sleep(backoff.next_s())
            except ForbiddenError:
                self._switch_off(notice.namespace)
                return
            except ApiError:
                self._drop("refused")
                return
            else:
                self.sent += 1
                return
        self._drop("unavailable")

    async def _send(self, notice: Notice) -> None:
        earlier = self._log.earlier(notice)
        if earlier is not None and self._may_patch and await self._count_up(notice, earlier):
            return
        # AlreadyExists: the answer of an earlier try was lost, and the event is there.
        with contextlib.suppress(AlreadyExistsError):
            await self._transport.request(_request("create", notice, body=event_body(notice)))
        self._log.created(notice)

    async def _count_up(self, notice: Notice, earlier: Sent) -> bool:
        """Patch the event that is there; False when a new one has to be made."""
        body = {"count": earlier.count + 1, "lastTimestamp": format_time(notice.at)}
        try:
            await self._transport.request(_request("patch", notice, name=earlier.name, body=body))
        except NotFoundError:
            self._log.forget(notice)
            return False
        except ForbiddenError:
            self._may_patch = False
            return False
        self._log.repeated(notice)
        return True

    def _switch_off(self, namespace: str) -> None:
        """The next minute's events of this namespace would only be refused, too."""
        self._drop("forbidden")
        if len(self._off_until) >= _MAX_OFF:
            self._off_until.clear()
        self._off_until[namespace] = asyncio.get_running_loop().time() + OFF_S

    def _drop(self, reason: DropReason) -> None:
        self.dropped += 1
        self._telemetry.event_dropped(reason=reason)


def _request(verb: str, notice: Notice, *, body: dict[str, object], name: str = "") -> Request:
    return Request(
        verb=verb,
        resource=EVENTS,
        namespace=notice.namespace,
        name=name,
        body=body,
        content_type=MERGE_PATCH if verb == "patch" else "application/json",
        share=Share.EVENT,
        timeout_s=_EVENT_DEADLINE_S,
    )
