"""The Kubernetes client on `/metrics`: client-go's names for requests and election, our own for watches and caches.

Implements the telemetry protocol of `kube` by its shape (the two packages do not import each other). Ages and
sizes are asked for when somebody scrapes, by functions that the composition root attaches.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from resizer.obs.label import one_of
from resizer.obs.series import Counts, Observations

BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_HTTP_METHOD: Final = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
_RESTART_REASONS: Final = ("closed", "silent", "expired", "error")
_DROP_REASONS: Final = ("queue-full", "rate", "forbidden", "refused", "unavailable", "shutdown")
_RESOURCES: Final = ("persistentvolumeclaims", "persistentvolumes")
"""Always watched; their series exist from the start, so that a rate over the first loss is right."""


def _nothing() -> Mapping[str, float]:
    return {}


class KubeMetrics(Collector):
    """Counts requests, watches, events and leases. `host` is the API server's, as client-go labels it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.host = ""
        self._watch_ages: Callable[[], Mapping[str, float]] = _nothing
        self._cache_objects: Callable[[], Mapping[str, float]] = _nothing
        self._requests = Counts(
            "rest_client_requests_total",
            "HTTP requests to the API server by status code, method and host",
            ["code", "method", "host"],
            registry=registry,
        )
        self._latency = Observations(
            "rest_client_request_duration_seconds",
            "Time that requests to the API server took, watches left out",
            ["verb", "host"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._leader = Gauge(
            "leader_election_master_status",
            "1 while this process holds the lease of this name, 0 while it follows",
            ["name"],
            registry=registry,
        )
        self._restarts = Counts(
            "resizer_watch_restarts_total", "Watches opened again", ["resource", "reason"], registry=registry
        )
        self._malformed = Counts(
            "resizer_objects_malformed_total",
            "Objects skipped because they could not be read",
            ["resource"],
            registry=registry,
        )
        self._dropped = Counts(
            "resizer_events_dropped_total", "Kubernetes events that were not sent", ["reason"], registry=registry
        )
        self._create_at_zero()
        registry.register(self)

    def _create_at_zero(self) -> None:
        for resource in _RESOURCES:
            self._malformed.create(resource)
            for reason in _RESTART_REASONS:
                self._restarts.create(resource, reason)
        for reason in _DROP_REASONS:
            self._dropped.create(reason)

    def attach(
        self,
        *,
        host: str,
        watch_ages_s: Callable[[], Mapping[str, float]],
        cache_objects: Callable[[], Mapping[str, float]],
    ) -> None:
        """Say where to ask, at each scrape, for the age of each watch and the size of each cache, by resource."""
        self.host = host
        self._watch_ages = watch_ages_s
        self._cache_objects = cache_objects

    def request_finished(self, *, verb: str, resource: str, code: str, duration_s: float) -> None:
        """One request ended."""
        del resource  # client-go's labels, and no more
        method = _HTTP_METHOD.get(verb, "GET")
        self._requests.add(code, method, self.host)
        if verb != "watch":  # a watch lasts as long as it pleases: client-go does not time it either
            self._latency.observe(duration_s, method, self.host)

    def watch_restarted(self, *, resource: str, reason: str) -> None:
        """A watch ended and is opened again."""
        self._restarts.add(resource, one_of(reason, _RESTART_REASONS))

    def object_malformed(self, *, resource: str) -> None:
        """An object that cannot be read was skipped."""
        self._malformed.add(resource)

    def event_dropped(self, *, reason: str) -> None:
        """A Kubernetes event was not sent."""
        self._dropped.add(one_of(reason, _DROP_REASONS))

    def leader_changed(self, *, name: str, is_leader: bool) -> None:
        """This process gained or lost the lease of this name."""
        self._leader.labels(name).set(1 if is_leader else 0)

    def collect(self) -> Iterator[Metric]:
        """Write ages and sizes at this moment."""
        ages = GaugeMetricFamily(
            "resizer_watch_age_seconds",
            "Time since a watch last showed life (an event, a bookmark)",
            labels=["resource"],
        )
        for resource, age_s in self._watch_ages().items():
            ages.add_metric([resource], age_s)
        objects = GaugeMetricFamily("resizer_cache_objects", "Objects in the cache", labels=["resource"])
        for resource, count in self._cache_objects().items():
            objects.add_metric([resource], count)
        yield ages
        yield objects
