"""Every stage is timed and counted the same way: in flight, duration by outcome, failures by class."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from resizer.model.errors import ConflictError
from resizer.pipeline.ports import StageName, StageTelemetry


class StageRun:
    """One run of a stage, timed and counted for the length of a `with` block, whatever way that ends.

    A class and not a generator, which costs twice as much: a growth has four of these.
    """

    def __init__(self, telemetry: StageTelemetry, stage: StageName, *, driver: str, clock: Callable[[], float]) -> None:
        self._telemetry = telemetry
        self._stage = stage
        self._driver = driver
        self._clock = clock
        self._began_s = 0.0
        self._failed_class = ""

    def fail(self, class_: str) -> None:
        """Count this run as a failure of this class, although nothing is raised."""
        self._failed_class = class_

    def __enter__(self) -> Self:
        self._began_s = self._clock()
        self._telemetry.stage_started(driver=self._driver, stage=self._stage)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = self._outcome(error)
        duration_s = self._clock() - self._began_s
        self._telemetry.stage_finished(driver=self._driver, stage=self._stage, outcome=outcome, duration_s=duration_s)
        if outcome == "failure":
            self._telemetry.stage_failed(driver=self._driver, stage=self._stage, class_=self._failed_class)

    def _outcome(self, error: BaseException | None) -> str:
        if error is None:
            return "failure" if self._failed_class else "success"
        if isinstance(error, asyncio.CancelledError):
            return "cancelled"
        if isinstance(error, ConflictError):
            return "conflict"
        self._failed_class = type(error).__name__
        return "failure"
