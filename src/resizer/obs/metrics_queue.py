"""Queues on `/metrics`, by client-go's names and buckets, so that dashboards for any Kubernetes controller work.

Implements QueueTelemetry. What waits and what is in work is asked of the queues themselves when somebody scrapes.
"""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from resizer.obs.series import Counts, Observations
from resizer.pipeline.ports import QueueLoad

BUCKETS: Final = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


class QueueMetrics(Collector):
    """Counts keys by queue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queues: dict[str, QueueLoad | None] = {}
        self._adds = Counts(
            "workqueue_adds_total", "Total number of adds handled by workqueue", ["name"], registry=registry
        )
        self._waited = Observations(
            "workqueue_queue_duration_seconds",
            "Time that keys waited for a worker",
            ["name"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._worked = Observations(
            "workqueue_work_duration_seconds",
            "Time that workers spent on a key",
            ["name"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._retries = Counts("workqueue_retries_total", "Keys added again after a delay", ["name"], registry=registry)
        registry.register(self)

    def add_queue(self, name: str) -> None:
        """Create the queue's series at zero."""
        self._queues.setdefault(name, None)
        for family in (self._adds, self._waited, self._worked, self._retries):
            family.create(name)

    def follow(self, queue: QueueLoad) -> None:
        """This is the queue of its name from now on."""
        self._queues[queue.name] = queue

    def added(self, *, name: str) -> None:
        """A key was added."""
        self._adds.add(name)

    def taken(self, *, name: str, waited_s: float) -> None:
        """A worker took a key."""
        self._waited.observe(waited_s, name)

    def done(self, *, name: str, worked_s: float) -> None:
        """A worker finished a key."""
        self._worked.observe(worked_s, name)

    def retried(self, *, name: str) -> None:
        """A key was added again after a delay."""
        self._retries.add(name)

    def collect(self) -> Iterator[Metric]:
        """Write what waits and what is in work at this moment."""
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds",
            "Time spent so far on keys in work, summed; grows when workers are stuck",
            labels=["name"],
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds",
            "Time that the longest busy worker has spent on its key",
            labels=["name"],
        )
        depth = GaugeMetricFamily("workqueue_depth", "Keys that wait for a worker", labels=["name"])
        for name, queue in self._queues.items():
            ages_s = queue.ages_s() if queue is not None else []
            depth.add_metric([name], queue.depth() if queue is not None else 0)
            unfinished.add_metric([name], sum(ages_s))
            longest.add_metric([name], max(ages_s, default=0.0))
        yield depth
        yield unfinished
        yield longest
