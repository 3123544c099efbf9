"""Metrics that have seen one of everything, and an endpoint that serves them."""

import contextlib

import aiohttp
from prometheus_client import CollectorRegistry

from resizer.model.driver import DriverFacts
from resizer.model.objects import Claim
from resizer.obs.http import Endpoint, serve_http
from resizer.obs.metrics import Metrics
from resizer.obs.probe import Probe

DRIVER = "scripted.csi.example.com"


def claim(number: int = 0) -> Claim:
    return Claim(
        namespace="db",
        name=f"data-{number}",
        uid=f"uid-{number}",
        version="1",
        requested="5Gi",
        allocated="4Gi",
        capacity="3Gi",
    )


def busy_metrics() -> Metrics:
    metrics = Metrics(CollectorRegistry(), now=lambda: 1000.0)
    metrics.csi.driver_connected(address="unix:///csi.sock", facts=DriverFacts(name=DRIVER))
    metrics.csi.call_finished(
        driver=DRIVER, method="/csi.v1.Controller/ControllerExpandVolume", code="OK", duration_s=1
    )
    metrics.kube.attach(
        host="10.0.0.1:443",
        watch_ages_s=lambda: {"persistentvolumeclaims": 3.0},
        cache_objects=lambda: {"persistentvolumeclaims": 7},
    )
    metrics.kube.request_finished(verb="patch", resource="persistentvolumeclaims", code="200", duration_s=0.01)
    metrics.kube.watch_restarted(resource="persistentvolumeclaims", reason="closed")
    metrics.kube.object_malformed(resource="persistentvolumeclaims")
    metrics.kube.event_dropped(reason="queue-full")
    metrics.kube.leader_changed(name="external-resizer-x", is_leader=True)
    metrics.resizes.resize_phase(claim(), driver=DRIVER, phase="node-resize", class_="timeout", since=900.0)
    metrics.resizes.follow_retries(driver=DRIVER, next_retry=lambda: 30.0)
    metrics.loop.lagged(0.001)
    return metrics


def endpoint(metrics: Metrics | None = None, **changes) -> Endpoint:
    fields = {
        "registry": (metrics or busy_metrics()).registry,
        "liveness": Probe(),
        "readiness": Probe(),
        "leader_election": Probe(),
        "state": lambda: {"claims": []},
    }
    return Endpoint(**(fields | changes))


@contextlib.asynccontextmanager
async def client(served: Endpoint, *, host: str = "127.0.0.1"):
    async with serve_http("127.0.0.1:0", served) as port, aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session
