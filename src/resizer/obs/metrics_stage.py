"""The three stages on `/metrics`: duration, in flight, retries, failures, by driver. Implements StageTelemetry."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from resizer.obs.label import FAILURES, STAGE_OUTCOMES, STAGES, class_label, one_of
from resizer.obs.series import Counts, Observations
from resizer.pipeline.ports import StageName

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class StageMetrics(Collector):
    """Counts and times runs of stages. Every series of a driver exists from `add_driver` on, at zero."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._duration = Observations(
            "resizer_stage_duration_seconds",
            "Time that one run of a stage took",
            ["driver", "stage", "outcome"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._in_flight: dict[tuple[str, str], int] = {}
        self._retries = Counts(
            "resizer_stage_retries_total",
            "Runs of a stage for a target it has been run for before",
            ["driver", "stage"],
            registry=registry,
        )
        self._failures = Counts(
            "resizer_stage_failures_total",
            "Runs of a stage that failed, by class of failure",
            ["driver", "stage", "class"],
            registry=registry,
        )
        registry.register(self)

    def add_driver(self, driver: str) -> None:
        """Create the driver's series at zero: a rate over the first failure is only right if zero was seen before."""
        for stage in STAGES:
            self._in_flight.setdefault((driver, stage), 0)
            self._retries.create(driver, stage)
            for outcome in STAGE_OUTCOMES:
                self._duration.create(driver, stage, outcome)
            for class_ in FAILURES:
                self._failures.create(driver, stage, class_)

    def stage_started(self, *, driver: str, stage: StageName) -> None:
        """One more in flight."""
        self._in_flight[driver, stage] = self._in_flight.get((driver, stage), 0) + 1

    def stage_finished(self, *, driver: str, stage: StageName, outcome: str, duration_s: float) -> None:
        """One less in flight, and its duration by outcome."""
        self._in_flight[driver, stage] -= 1
        self._duration.observe(duration_s, driver, stage, one_of(outcome, STAGE_OUTCOMES))

    def stage_retried(self, *, driver: str, stage: StageName) -> None:
        """One more try for the same target."""
        self._retries.add(driver, stage)

    def stage_failed(self, *, driver: str, stage: StageName, class_: str) -> None:
        """One more failure of this class."""
        self._failures.add(driver, stage, class_label(class_))

    def collect(self) -> Iterator[Metric]:
        """Write what is in flight at this moment."""
        in_flight = GaugeMetricFamily(
            "resizer_stage_inflight", "Runs of a stage going on right now", labels=["driver", "stage"]
        )
        for labels, runs in self._in_flight.items():
            in_flight.add_metric(labels, runs)
        yield in_flight
