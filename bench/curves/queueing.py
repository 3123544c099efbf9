"""A small discrete-event simulator: jobs that go from station to station, each station serving so many at a time.

A job is a generator. It yields what it needs next (`Use` of a station for some seconds, `Take` and `Give` of a place
in a pool, `Start` of another job) and is resumed when it has had it. Time is a number; nothing here waits. The order
is fixed by time and then by arrival, so that the same jobs always give the same times.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Station:
    """Serves `places` at a time, first come first served, and the patient when nobody else waits.

    `busy_s` adds up what it has done.
    """

    places: int = 1
    busy_s: float = 0.0
    waiting: deque[Callable[[], None]] = field(default_factory=deque)
    patient: deque[Callable[[], None]] = field(default_factory=deque)


@dataclass(frozen=True)
class Use:
    """Be served by all of these stations together for so long (an event loop needs a core as well)."""

    stations: tuple[Station, ...]
    seconds: float


@dataclass(frozen=True)
class Take:
    """Take a place and keep it; `patient`: not before all others who want one."""

    station: Station
    patient: bool = False


@dataclass(frozen=True)
class Give:
    """Give it back."""

    station: Station


Step = Use | Take | Give
Job = Generator[Step, None, None]


class Simulation:
    """The clock and what happens next."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def start(self, job: Job, *, at_s: float | None = None) -> None:
        """Begin a job, now or later."""
        self._at(self.now_s if at_s is None else at_s, lambda: self._advance(job))

    def run(self) -> None:
        """Go on until nothing is left to happen."""
        while self._due:
            self.now_s, _, act = heapq.heappop(self._due)
            act()

    def _at(self, when_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when_s, next(self._count), act))

    def _advance(self, job: Job) -> None:
        step: Any = next(job, None)
        match step:
            case Use():
                self._gather(job, step, step.stations)
            case Take():
                self._take(step.station, lambda: self._advance(job), patient=step.patient)
            case Give():
                self._give(step.station)
                self._advance(job)

    def _gather(self, job: Job, use: Use, left: tuple[Station, ...]) -> None:
        """Get a place at one station after the other; then the time runs."""
        if left:
            self._take(left[0], lambda: self._gather(job, use, left[1:]))
            return
        self._at(self.now_s + use.seconds, lambda: self._finish(job, use))

    def _finish(self, job: Job, use: Use) -> None:
        for station in use.stations:
            station.busy_s += use.seconds
            self._give(station)
        self._advance(job)

    def _take(self, station: Station, then: Callable[[], None], *, patient: bool = False) -> None:
        if station.places > 0:
            station.places -= 1
            then()
        else:
            (station.patient if patient else station.waiting).append(then)

    def _give(self, station: Station) -> None:
        line = station.waiting or station.patient
        if line:
            # By way of the clock: a long line must not become a deep stack.
            self._at(self.now_s, line.popleft())
        else:
            station.places += 1
