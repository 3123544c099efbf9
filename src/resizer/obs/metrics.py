"""Everything on `/metrics`, in one registry that is passed in: one part for each concern, put together here.

The composition root builds one `Metrics` and hands its parts to those who report: `stages`, `resizes` and `queues`
implement the pipeline's ports, `kube` and `csi` the telemetry of those packages, `loop` takes the event loop's lag.
docs/metrics.md says what each metric means; a test holds the two together.
"""

import platform
import time
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from resizer import __version__
from resizer.obs.metrics_csi import CsiMetrics
from resizer.obs.metrics_kube import KubeMetrics
from resizer.obs.metrics_queue import QueueMetrics
from resizer.obs.metrics_resize import ResizeMetrics
from resizer.obs.metrics_stage import StageMetrics
from resizer.obs.series import Observations
from resizer.pipeline.ports import Clock

_LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class LoopMetrics:
    """The event loop's lag: by how much a timer came late."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lag = Observations(
            "resizer_event_loop_lag_seconds",
            "By how much a timer of the event loop came late",
            [],
            buckets=_LAG_BUCKETS,
            registry=registry,
        )

    def lagged(self, lag_s: float) -> None:
        """One timer came this late."""
        self._lag.observe(lag_s)


class Metrics:
    """All metrics of one process. `now` is wall-clock time in Unix seconds."""

    def __init__(self, registry: CollectorRegistry, *, now: Clock = time.time) -> None:
        # Only a switch for the whole library exists. Without it each counter has a second series, its birthday.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there
        self.registry = registry
        self.stages = StageMetrics(registry)
        self.resizes = ResizeMetrics(registry, now=now)
        self.queues = QueueMetrics(registry)
        self.kube = KubeMetrics(registry)
        self.csi = CsiMetrics(registry, on_driver=self.add_driver)
        self.loop = LoopMetrics(registry)
        self._drivers: set[str] = set()
        build = Gauge(
            "resizer_build_info",
            "Version of the program and its Python, always 1",
            ["version", "python"],
            registry=registry,
        )
        build.labels(__version__, platform.python_version()).set(1)
        ProcessCollector(registry=registry)

    def add_driver(self, driver: str) -> None:
        """Create all series of this driver at zero. A driver that connects is added without being told."""
        if driver in self._drivers:
            return
        self._drivers.add(driver)
        self.stages.add_driver(driver)
        self.resizes.add_driver(driver)
        self.queues.add_queue(driver)


def new_metrics() -> Metrics:
    """Make the metrics of a process, in a registry of their own."""
    return Metrics(CollectorRegistry())
