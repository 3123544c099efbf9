"""Counters and histograms for what happens often: counted here, written by prometheus_client when somebody scrapes.

The library's own take a lock or two and go through all buckets each time, which was 5 % of a growth's instructions
(docs/performance.md). No lock is needed: everything here, scrapes included, happens on the event loop.

A series is there from the first time its labels are named, or from `create` on, at zero; one without labels from the
start. Label values come in the order of the labels' names.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Counts(Collector):
    """A counter for each set of label values. Without a registry, whoever made it calls `collect`."""

    def __init__(self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry | None) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        if registry is not None:
            registry.register(self)

    def create(self, *labels: str) -> None:
        """Begin this series at zero. Raises ValueError for more or fewer values than the family has labels."""
        _check_labels(self._name, self._labels, labels)
        self._values.setdefault(labels, 0.0)

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count once, or by so much at once. Raises ValueError as `create` does."""
        if labels not in self._values:
            self.create(*labels)
        self._values[labels] += by

    def collect(self) -> Iterator[Metric]:
        """Write all series."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


class _Observed:
    """How many observations fell into each bucket (not cumulative, the last is what is above all), and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0


class Observations(Collector):
    """A histogram for each set of label values. `buckets` are their upper bounds, rising, without infinity."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._bounds = tuple(buckets)
        self._edges = (*map(str, self._bounds), "+Inf")
        self._series: dict[tuple[str, ...], _Observed] = {}
        if not labels:
            self.create()
        registry.register(self)

    def create(self, *labels: str) -> None:
        """Begin this series at zero. Raises ValueError for more or fewer values than the family has labels."""
        self._of(labels)

    def observe(self, value: float, *labels: str) -> None:
        """Count one observation. Raises ValueError as `create` does."""
        series = self._series.get(labels) or self._of(labels)
        series.counts[bisect_left(self._bounds, value)] += 1
        series.total += value

    def collect(self) -> Iterator[Metric]:
        """Write all series."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, series in self._series.items():
            family.add_metric(labels, list(zip(self._edges, accumulate(series.counts), strict=True)), series.total)
        yield family

    def _of(self, labels: tuple[str, ...]) -> _Observed:
        _check_labels(self._name, self._labels, labels)
        return self._series.setdefault(labels, _Observed(len(self._edges)))


def _check_labels(family: str, names: Sequence[str], values: tuple[str, ...]) -> None:
    if len(values) != len(names):
        raise ValueError(f"metric {family} has the labels {', '.join(names) or '(none)'}; given were {values!r}")
