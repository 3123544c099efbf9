"""Whole resizes on `/metrics`: how they ended, how long they took, which are pending. Implements ResizeTelemetry.

What is pending is kept as one small entry a claim, as many as the pipeline itself remembers, and turned into
series when somebody scrapes: so ages are right at that moment, a claim that is settled leaves no series behind,
and a flood of claims costs a bounded answer. Series that name a claim are written for the longest pending ones
only; how many are left out is a series of its own. A follower (`set_active(..., active=False)`) writes none.

A resize is counted as overdue once a phase, with the class it has at that moment: what docs/slo.md counts as bad.
Time alone makes it so, therefore it is noticed by each scrape, and when the claim moves on. One that was overdue when
this process first saw it has been counted by the process before.

A claim that its node has refused stands in the controller's phase while the controller verifies the size; people
look for the cause at the node, so it is shown there, with the class node-error.
"""

import heapq
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from resizer.model.objects import NODE_RESIZE_INFEASIBLE, Claim
from resizer.obs.label import (
    DURATION_PHASES,
    FAILURES,
    NO_CLASS,
    NODE_DELAYS,
    NODE_ERROR,
    OTHER,
    PHASES,
    RESIZE_OUTCOMES,
    class_label,
    one_of,
)
from resizer.obs.series import Counts, Observations
from resizer.pipeline.ports import Clock, NextRetry

BUCKETS: Final = (
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0),
)
CLAIM_SERIES: Final = 1000
OVERDUE_S: Final = 120.0
"""The objective of docs/slo.md, one of the buckets above: a phase that takes longer is overdue."""


class _Pending(Struct, frozen=True):
    namespace: str
    name: str
    driver: str
    phase: str
    class_: str
    since: float
    sizes: tuple[tuple[str, int], ...]
    is_counted: bool
    """Whether this phase has been counted as overdue."""


class ResizeMetrics(Collector):
    """Counts resizes and knows what is pending. `collect` is called by each scrape."""

    def __init__(self, registry: CollectorRegistry, *, now: Clock) -> None:
        self._now = now
        self._pending: dict[str, _Pending] = {}
        self._active: set[str] = set()
        self._next_retry: dict[str, NextRetry] = {}
        self._resizes = Counts(
            "resizer_resizes_total", "Resizes that ended", ["driver", "outcome", "class"], registry=registry
        )
        self._duration = Observations(
            "resizer_resize_duration_seconds",
            "Time that finished resizes took, by phase; total is from asked to finished",
            ["driver", "phase"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._grown = Counts(
            "resizer_bytes_grown_total", "Bytes by which volumes have grown", ["driver"], registry=registry
        )
        self._overdue = Counts(
            "resizer_resizes_overdue_total",
            "Resizes that stayed in a phase for more than 120 seconds, by class of failure at that moment",
            ["driver", "phase", "class"],
            registry=None,  # written by `collect`, after what has become overdue by then has been counted
        )
        registry.register(self)

    def add_driver(self, driver: str) -> None:
        """Create the driver's series at zero."""
        self._active.add(driver)
        self._grown.create(driver)
        self._resizes.create(driver, "success", NO_CLASS)
        self._resizes.create(driver, "failure", OTHER)
        for phase in DURATION_PHASES:
            self._duration.create(driver, phase)
        for class_ in FAILURES:
            self._overdue.create(driver, "controller-resize", class_)
        for class_ in (NO_CLASS, *NODE_DELAYS):
            self._overdue.create(driver, "node-resize", class_)

    def set_active(self, driver: str, *, active: bool) -> None:
        """Say whether this process works for the driver; if not, what it knew as pending is forgotten."""
        if active:
            self._active.add(driver)
            return
        self._active.discard(driver)
        self._next_retry.pop(driver, None)
        self._pending = {uid: entry for uid, entry in self._pending.items() if entry.driver != driver}

    def resize_phase(self, claim: Claim, *, driver: str, phase: str, class_: str, since: float) -> None:
        """The claim is pending in this phase since `since` (Unix seconds)."""
        if claim.state == NODE_RESIZE_INFEASIBLE:
            phase, class_ = "node-resize", NODE_ERROR
        phase = one_of(phase, PHASES)
        known = self._count_if_overdue(claim.uid)
        was_overdue = self._now() - since > OVERDUE_S
        is_counted = was_overdue if known is None else known.is_counted and known.phase == phase
        self._pending[claim.uid] = _Pending(
            namespace=claim.namespace,
            name=claim.name,
            driver=driver,
            phase=phase,
            class_=class_label(class_),
            since=since,
            sizes=_sizes(claim),
            is_counted=is_counted,
        )

    def resize_settled(self, claim: Claim, *, driver: str) -> None:
        """The claim is pending no longer, or gone."""
        del driver
        self._count_if_overdue(claim.uid)
        self._pending.pop(claim.uid, None)

    def _count_if_overdue(self, uid: str) -> _Pending | None:
        """Count this claim's phase as overdue if it has become so, and return what is known of the claim."""
        entry = self._pending.get(uid)
        if entry is not None and not entry.is_counted and self._now() - entry.since > OVERDUE_S:
            self._overdue.add(entry.driver, entry.phase, entry.class_)
            entry = self._pending[uid] = replace(entry, is_counted=True)
        return entry

    def resize_finished(
        self, *, driver: str, outcome: str, class_: str, duration_s: Mapping[str, float], grown_bytes: int
    ) -> None:
        """A resize ended."""
        self._resizes.add(driver, one_of(outcome, RESIZE_OUTCOMES), class_label(class_))
        for phase, seconds in duration_s.items():
            self._duration.observe(seconds, driver, one_of(phase, DURATION_PHASES))
        self._grown.add(driver, by=max(0, grown_bytes))

    def follow_retries(self, *, driver: str, next_retry: NextRetry) -> None:
        """Ask this for the earliest next try of the driver's claims, at each scrape until it is not active."""
        self._next_retry[driver] = next_retry

    def collect(self) -> Iterator[Metric]:
        """Write what is pending at this moment."""
        now = self._now()
        for uid in self._pending:
            self._count_if_overdue(uid)
        tally: Tally[tuple[str, str]] = Tally()
        oldest: dict[tuple[str, str], float] = {}
        for entry in self._pending.values():
            key = (entry.driver, entry.phase)
            tally[key] += 1
            oldest[key] = min(entry.since, oldest.get(key, entry.since))
        pending = GaugeMetricFamily("resizer_resizes_pending", "Claims being resized", labels=["driver", "phase"])
        age = GaugeMetricFamily(
            "resizer_oldest_pending_seconds",
            "Age of the resize that has been pending longest, 0 when none is",
            labels=["driver", "phase"],
        )
        for key in sorted({*tally, *((driver, phase) for driver in self._active for phase in PHASES)}):
            pending.add_metric(key, tally[key])
            age.add_metric(key, max(0.0, now - oldest[key]) if key in oldest else 0.0)
        retry = GaugeMetricFamily(
            "resizer_next_retry_seconds",
            "Time until the earliest next try of a claim that failed; absent when none waits",
            labels=["driver"],
        )
        for driver, next_retry in sorted(self._next_retry.items()):
            delay_s = next_retry()
            if delay_s is not None:
                retry.add_metric([driver], delay_s)
        yield from self._overdue.collect()
        yield pending
        yield age
        yield retry
        yield from self._collect_claims()

    def _collect_claims(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "resizer_claim_pending_since_timestamp_seconds",
            "Since when this claim has been pending, Unix time; the longest pending claims only",
            labels=["namespace", "persistentvolumeclaim", "driver", "phase", "class"],
        )
        sizes = GaugeMetricFamily(
            "resizer_claim_size_bytes",
            "Sizes of a pending claim: requested, allocated, capacity; the longest pending claims only",
            labels=["namespace", "persistentvolumeclaim", "size"],
        )
        entries = heapq.nsmallest(CLAIM_SERIES, self._pending.values(), key=lambda entry: entry.since)
        seen: set[tuple[str, ...]] = set()
        named: set[tuple[str, str]] = set()
        for entry in entries:
            labels = (entry.namespace, entry.name, entry.driver, entry.phase, entry.class_)
            if labels not in seen:  # a claim deleted and made again under its name, before the old one is settled
                seen.add(labels)
                family.add_metric(labels, entry.since)
            for size, size_bytes in entry.sizes if (entry.namespace, entry.name) not in named else ():
                sizes.add_metric((entry.namespace, entry.name, size), size_bytes)
            named.add((entry.namespace, entry.name))
        yield family
        yield sizes
        yield GaugeMetricFamily(
            "resizer_claim_pending_series_omitted",
            "Pending claims without a series of their own because there are too many",
            value=len(self._pending) - len(entries),
        )


def _sizes(claim: Claim) -> tuple[tuple[str, int], ...]:
    """Sizes that the claim names, in bytes."""
    sizes = {
        "requested": claim.requested_bytes,
        "allocated": claim.allocated_bytes,
        "capacity": claim.capacity_bytes,
    }
    return tuple((size, size_bytes) for size, size_bytes in sizes.items() if size_bytes)
