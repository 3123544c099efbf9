"""Queues on `/metrics`, by client-go's names and buckets, so that dashboards for any Kubernetes controller work.

Implements QueueTelemetry. What is unfinished is computed when somebody scrapes, from when the keys in work were
taken; `done` says how long a key was worked on, which is enough to find its beginning again.
"""

import bisect
from collections.abc import Iterator
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from resizer.pipeline.ports import Clock

BUCKETS: Final = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


class QueueMetrics(Collector):
    """Counts keys by queue. `monotonic` is a clock in seconds, the same that durations are measured with."""

    def __init__(self, registry: CollectorRegistry, *, monotonic: Clock) -> None:
        self._monotonic = monotonic
        self._begun: dict[str, list[float]] = {}
        self._depths: dict[str, int] = {}
        self._adds = Counter(
            "workqueue_adds_total", "Total number of adds handled by workqueue", ["name"], registry=registry
        )
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "Time that keys waited for a worker",
            ["name"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "Time that workers spent on a key",
            ["name"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._retries = Counter(
            "workqueue_retries_total", "Keys added again after a delay", ["name"], registry=registry
        )
        self._adds_of = cache(self._adds.labels)
        self._waited_of, self._worked_of = cache(self._waited.labels), cache(self._worked.labels)
        registry.register(self)

    def add_queue(self, name: str) -> None:
        """Create the queue's series at zero."""
        self._begun.setdefault(name, [])
        self._depths.setdefault(name, 0)
        for family in (self._adds, self._waited, self._worked, self._retries):
            family.labels(name)

    def added(self, *, name: str, depth: int) -> None:
        """A key was added."""
        self._adds_of(name).inc()
        self._depths[name] = depth

    def taken(self, *, name: str, depth: int, waited_s: float) -> None:
        """A worker took a key."""
        self._depths[name] = depth
        self._waited_of(name).observe(waited_s)
        self._begun.setdefault(name, []).append(self._monotonic())

    def done(self, *, name: str, worked_s: float) -> None:
        """A worker finished a key."""
        self._worked_of(name).observe(worked_s)
        begun = self._begun.get(name)
        if begun:  # in order of time; the one nearest to when this key was taken is taken out
            at = self._monotonic() - worked_s
            after = bisect.bisect_left(begun, at)
            near = min((i for i in (after - 1, after) if 0 <= i < len(begun)), key=lambda i: abs(begun[i] - at))
            del begun[near]

    def retried(self, *, name: str) -> None:
        """A key was added again after a delay."""
        self._retries.labels(name).inc()

    def collect(self) -> Iterator[Metric]:
        """Write what waits and what is in work at this moment."""
        now = self._monotonic()
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
        for name, waiting in self._depths.items():
            depth.add_metric([name], waiting)
        for name, begun in self._begun.items():
            unfinished.add_metric([name], sum(now - at for at in begun))
            longest.add_metric([name], now - begun[0] if begun else 0.0)
        yield depth
        yield unfinished
        yield longest
