"""Whether the process is ready, and whether it should be killed: named checks, asked when a probe comes.

A check is a function that returns None, or what is wrong in one line. Liveness fails only for what a restart
mends: the event loop is stuck, or a loop that must go round (a reflector, a lease) has made no *attempt* within its
deadline. An API server or a driver that is away must never restart us; that is readiness, and metrics.

A loop that is wholly stuck answers no HTTP at all, and the probe times out. The beat's age is for one that is so
slow that it answers a probe but is late with everything else.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from resizer.obs.metrics import LoopMetrics
from resizer.pipeline.ports import Clock

Check = Callable[[], str | None]

BEAT_S: Final = 0.25
STUCK_AFTER_S: Final = 15.0


class Probe:
    """A set of named checks. Synchronous; a check may be added at any time, one of the same name replaces it."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Ask this check from now on."""
        self._checks[name] = check

    def remove(self, name: str) -> None:
        """Ask this check no longer."""
        self._checks.pop(name, None)

    def results(self) -> dict[str, str | None]:
        """Ask all checks: name to None, or to what is wrong."""
        return {name: check() for name, check in self._checks.items()}


def attempt_check(age_s: Callable[[], float], *, deadline_s: float, what: str) -> Check:
    """Make a liveness check of a loop from the age of its last attempt, whatever came of it."""

    def check() -> str | None:
        age = age_s()
        return (
            f"{what} has made no attempt for {age:.0f} s, at most {deadline_s:.0f} s are allowed"
            if (age > deadline_s)
            else None
        )

    return check


class LoopWatch:
    """Measures how late the event loop is with a timer. `monotonic` is a clock in seconds."""

    def __init__(self, metrics: LoopMetrics, *, monotonic: Clock) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._beat_at = monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            began = self._beat_at = self._monotonic()
            await asyncio.sleep(BEAT_S)
            self._metrics.lagged(max(0.0, self._monotonic() - began - BEAT_S))

    def check(self) -> str | None:
        """Say that the loop is stuck, if its last beat is too old."""
        age = self._monotonic() - self._beat_at
        return f"the event loop is {age:.0f} s late" if age > STUCK_AFTER_S else None
