"""The queue of one driver's claims: keys only, each at most once in it and at most once in a worker's hands.

In: keys, from the intake at once and from workers after a delay. Out: keys, to workers. What always holds:

- A key that is added while it waits is there once. One added while a worker has it comes again when that worker
  is done with it: so no claim ever has two workers, and no change is missed.
- A key has at most one delay; a newer one replaces it. A delay that ends adds the key like anybody else.
- After `close()` no key is handed out; workers that wait get None.

Every change of state is one synchronous function; only `take` can wait. The idea is client-go's workqueue.
"""

import asyncio
import heapq
from collections import deque
from itertools import count
from typing import Final

from resizer.pipeline.ports import QueueTelemetry

_COMPACT_ABOVE: Final = 1024


class ClaimQueue:
    """A deduplicating queue of claim keys with a delay layer. See the module's text for what it guarantees."""

    def __init__(self, *, name: str, telemetry: QueueTelemetry) -> None:
        self.name = name
        self._telemetry = telemetry
        self._loop = asyncio.get_running_loop()
        self._ready: deque[str] = deque()
        self._added_at: dict[str, float] = {}
        """Keys that wait for a worker (or for the one that has them), since when."""
        self._taken_at: dict[str, float] = {}
        self._takers: deque[asyncio.Future[None]] = deque()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._tick = count()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        telemetry.follow(self)

    def add(self, key: str) -> None:
        """Hand this key to a worker as soon as one is free and nobody has it."""
        if self._closed or key in self._added_at:
            return
        self._added_at[key] = self._loop.time()
        if key not in self._taken_at:
            self._ready.append(key)
            self._wake_taker()
        self._telemetry.added(name=self.name)

    def add_after(self, key: str, delay_s: float) -> None:
        """Add this key after a delay in seconds, in place of any delay it has."""
        if self._closed:
            return
        if delay_s <= 0:
            self._due.pop(key, None)
            self.add(key)
            return
        due = self._loop.time() + delay_s
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._tick), key))
        self._telemetry.retried(name=self.name)
        self._compact()
        self._arm()

    def cancel_delay(self, key: str) -> None:
        """Forget the delay of this key, if it has one."""
        self._due.pop(key, None)

    async def take(self) -> str | None:
        """Wait for a key and take it; None when the queue is closed. Each key taken is given back by `done`."""
        while not self._closed:
            if self._ready:
                return self._pop()
            taker = self._loop.create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                if taker.done() and not taker.cancelled():
                    self._wake_taker()  # the wake-up that was meant for us goes to somebody else
                raise
            finally:
                if taker in self._takers:
                    self._takers.remove(taker)
        return None

    def done(self, key: str) -> None:
        """Give a key back. If it was added meanwhile it waits for the next worker."""
        now = self._loop.time()
        self._telemetry.done(name=self.name, worked_s=now - self._taken_at.pop(key))
        if key in self._added_at:
            self._ready.append(key)
            self._wake_taker()

    def close(self) -> None:
        """Hand out nothing more, forget what waits, and let waiting workers go."""
        self._closed = True
        for waiting in (self._ready, self._added_at, self._due, self._heap):
            waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        for taker in self._takers:
            if not taker.done():
                taker.set_result(None)

    def depth(self) -> int:
        """Say how many keys wait for a worker."""
        return len(self._ready)

    def ages_s(self) -> list[float]:
        """Say for how long each key in work has been worked on."""
        now = self._loop.time()
        return [now - taken for taken in self._taken_at.values()]

    def next_delay_s(self) -> float | None:
        """Say in how many seconds the next delay ends; None when there is none."""
        self._drop_replaced()
        return max(0.0, self._heap[0][0] - self._loop.time()) if self._heap else None

    def _pop(self) -> str:
        key = self._ready.popleft()
        now = self._loop.time()
        self._taken_at[key] = now
        waited_s = now - self._added_at.pop(key)
        self._telemetry.taken(name=self.name, waited_s=waited_s)
        return key

    def _wake_taker(self) -> None:
        while self._takers and self._ready:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._drop_replaced()
        if self._heap and not self._closed:
            self._timer = self._loop.call_at(self._heap[0][0], self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._arm()

    def _drop_replaced(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)

    def _compact(self) -> None:
        """Drop heap entries that newer delays have replaced, so that the heap stays in proportion."""
        if len(self._heap) > _COMPACT_ABOVE and len(self._heap) > 4 * len(self._due):
            self._heap = [(due, next(self._tick), key) for key, due in self._due.items()]
            heapq.heapify(self._heap)
