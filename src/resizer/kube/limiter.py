"""How many requests may be on their way at once: as many as the API server bears, found out by trying.

No fixed rate. The number in flight starts at 20, grows by one for each round of successes while it is the bottleneck
and answers come about as soon as they can (a far server), and shrinks when the server says 429 or answers much slower
than it can (additive increase, multiplicative decrease, as TCP does it). Where an answer takes twice as long as the
best, requests already stand in a queue, at the server or before our own event loop: more of them make that longer
and nothing quicker (TCP Vegas). What is normal is learned anew every minute or two, from times when few requests are
on their way, so that the queue of a long backlog never passes for normal. Retry-After is obeyed. An optional rate
(`--kube-api-qps`) caps it on top.

Three shares wait in line: writes before reads before events; events never take more than a fifth, and a 429 on
events holds up events only. Lease traffic does not come here at all. `FlowLimit` decides and never waits; `Limiter`
waits and never decides.
"""

import asyncio
from collections import deque
from enum import IntEnum
from types import TracebackType
from typing import Final, Self

START: Final = 20.0
FLOOR: Final = 4.0
CEILING: Final = 100.0
MAX_PAUSE_S: Final = 120.0
_EVENT_PART: Final = 0.2
_QUEUEING: Final = 2.0
_SLOWER: Final = 4.0
_SLOWER_BY_S: Final = 0.1
_SMOOTHING: Final = 0.1
_BASELINE_WINDOW_S: Final = 60.0


class Share(IntEnum):
    """Who asks; the lower number goes first."""

    WRITE = 0
    READ = 1
    EVENT = 2


_SHARES: Final = tuple(Share)  # going through an enumeration is slow, and each request does it twice


class FlowLimit:
    """The decisions, without a clock or a loop of its own: every method takes `now` in monotonic seconds."""

    def __init__(self, *, qps: float = 0.0, burst: int = 0, start: float = START, ceiling: float = CEILING) -> None:
        self.limit = start
        self.in_flight = 0
        self.events_in_flight = 0
        self.throttled = 0
        self._start = start
        self._quiet = start / 2
        """Up to how many in flight an answer tells what the server takes, and not how long it stood behind others."""
        self._ceiling = ceiling
        self._paused_until = [0.0, 0.0, 0.0]
        self._qps = qps
        self._burst = max(float(burst), 1.0) if qps else 0.0
        self._tokens = self._burst
        self._tokens_at = 0.0
        self._smoothed_s = 0.0
        self._baseline_s = 0.0
        self._window_min_s = 0.0
        self._window_ends = 0.0
        self._next_decrease = 0.0

    def delay_s(self, share: Share, now: float) -> float | None:
        """0 when a request of this share may start now, else seconds until it is worth asking again.

        None means: not before another request has ended.
        """
        pause_s = self._paused_until[share] - now
        if pause_s > 0:
            return pause_s
        if self.in_flight >= int(self.limit):
            return None
        if share is Share.EVENT and self.events_in_flight >= max(1, int(self.limit * _EVENT_PART)):
            return None
        return self._token_delay_s(now)

    def start(self, share: Share, now: float) -> None:
        """Count a request that starts now."""
        self.in_flight += 1
        self.events_in_flight += share is Share.EVENT
        if self._qps:
            self._refill(now)
            self._tokens -= 1

    def end(self, share: Share) -> None:
        """Count a request that has ended, however."""
        self.in_flight -= 1
        self.events_in_flight -= share is Share.EVENT

    def succeeded(self, latency_s: float, now: float) -> None:
        """Learn from an answer to a write (what a server has in memory says nothing about its load)."""
        self._smoothed_s += (latency_s - self._smoothed_s) * (_SMOOTHING if self._smoothed_s else 1.0)
        self._note_baseline(self._smoothed_s, now)
        excess_s = self._smoothed_s - self._baseline_s
        if excess_s > _SLOWER_BY_S and excess_s > (_SLOWER - 1) * self._baseline_s:
            self._decrease(0.85, now)
        elif self.in_flight >= int(self.limit) - 1 and (self.limit < self._start or not self._is_queueing()):
            self.limit = min(self.limit + 1.0 / self.limit, self._ceiling)

    def refused(self, share: Share, retry_after_s: float, now: float) -> None:
        """Learn from a 429 (or a 503 that names a time): fewer at once, and none before the time it names."""
        self.throttled += 1
        until = now + min(retry_after_s, MAX_PAUSE_S)
        if share is Share.EVENT:
            self._paused_until[share] = max(self._paused_until[share], until)
            return
        self._paused_until = [max(old, until) for old in self._paused_until]
        self._decrease(0.7, now)

    def statistics(self) -> dict[str, float]:
        """Return figures for /debug/state and /metrics."""
        return {
            "limit": round(self.limit, 1),
            "in_flight": self.in_flight,
            "latency_s": round(self._smoothed_s, 4),
            "latency_baseline_s": round(self._baseline_s, 4),
            "throttled": self.throttled,
        }

    def _is_queueing(self) -> bool:
        return self._smoothed_s > _QUEUEING * self._baseline_s

    def _decrease(self, factor: float, now: float) -> None:
        # Once a round trip: many requests see the same overload, and each would shrink it again.
        if now >= self._next_decrease:
            self.limit = max(self.limit * factor, FLOOR)
            self._next_decrease = now + max(2 * self._smoothed_s, 0.2)

    def _note_baseline(self, latency_s: float, now: float) -> None:
        if latency_s < self._baseline_s or not self._baseline_s:
            self._baseline_s = latency_s
        if self.in_flight > self._quiet:
            return
        # The best of the last window or two, so that a server that became slower for good is not punished for ever.
        if now >= self._window_ends:
            self._baseline_s = self._window_min_s or self._baseline_s
            self._window_min_s = latency_s
            self._window_ends = now + _BASELINE_WINDOW_S
        elif latency_s < self._window_min_s:
            self._window_min_s = latency_s

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._tokens_at) * self._qps)
        self._tokens_at = now

    def _token_delay_s(self, now: float) -> float:
        if not self._qps:
            return 0.0
        self._refill(now)
        # A token that lacks only a rounding error is whole, or the wait for it would be too short to measure.
        return 0.0 if self._tokens > 1 - 1e-6 else (1 - self._tokens) / self._qps


class Limiter:
    """Waits for `FlowLimit`: first come first served within a share, higher shares first.

    Made on the running event loop.
    """

    def __init__(self, flow: FlowLimit | None = None) -> None:
        self.flow = flow or FlowLimit()
        self._loop = asyncio.get_running_loop()
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = tuple(deque() for _ in _SHARES)
        self._slots = tuple(Slot(self, share) for share in _SHARES)
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, share: Share) -> "Slot":
        """Wait for a place; cancelled, nothing is taken. How long to wait is the caller's affair."""
        is_first = not any(self._waiting[: share + 1])
        if is_first:
            now = self._loop.time()
            if self.flow.delay_s(share, now) == 0:
                self.flow.start(share, now)
                return self._slots[share]
        mine: asyncio.Future[None] = self._loop.create_future()
        self._waiting[share].append(mine)
        if is_first:
            self._serve()  # sets the timer, if time is what it waits for; for the others that has been done
        try:
            await mine
        except asyncio.CancelledError:
            self._give_up(mine, share)
            raise
        return self._slots[share]

    def statistics(self) -> dict[str, float]:
        """Return figures for /debug/state and /metrics."""
        return {**self.flow.statistics(), "waiting": sum(len(line) for line in self._waiting)}

    def close(self) -> None:
        """Stop the timer; whoever still waits runs into their own deadline."""
        if self._timer is not None:
            self._timer.cancel()

    def release(self, share: Share) -> None:
        """Give a slot back; called by `Slot`."""
        self.flow.end(share)
        if any(self._waiting):
            self._serve()

    def learn(self, latency_s: float) -> None:
        """Take in how long an answer took; called by `Slot`."""
        self.flow.succeeded(latency_s, self._loop.time())

    def hold_back(self, share: Share, retry_after_s: float) -> None:
        """Take in that the server asked for patience; called by `Slot`."""
        self.flow.refused(share, retry_after_s, self._loop.time())

    def _give_up(self, mine: "asyncio.Future[None]", share: Share) -> None:
        if mine.done() and not mine.cancelled():
            self.release(share)
        elif mine in self._waiting[share]:
            self._waiting[share].remove(mine)

    def _serve(self) -> None:
        """Let in whoever may go, and set the timer for when the next may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        delays = []
        for share in _SHARES:
            delay_s = self._serve_share(share, now) if self._waiting[share] else None
            if delay_s is not None:
                delays.append(delay_s)
            elif self._waiting[share]:
                break  # no place: what comes after these has none either
        if delays:
            self._timer = self._loop.call_later(min(delays), self._serve)

    def _serve_share(self, share: Share, now: float) -> float | None:
        line = self._waiting[share]
        while line:
            if line[0].done():
                line.popleft()
                continue
            delay_s = self.flow.delay_s(share, now)
            if delay_s != 0:
                return delay_s
            self.flow.start(share, now)
            line.popleft().set_result(None)
        return None


class Slot:
    """A place among those in flight, left by `with`. All of one share are the same object: nothing tells them apart."""

    def __init__(self, limiter: Limiter, share: Share) -> None:
        self._limiter = limiter
        self._share = share

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.release(self._share)

    def succeeded(self, latency_s: float) -> None:
        """Tell how long the answer took."""
        self._limiter.learn(latency_s)

    def refused(self, retry_after_s: float) -> None:
        """Tell that the server asked for patience."""
        self._limiter.hold_back(self._share, retry_after_s)
