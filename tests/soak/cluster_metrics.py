"""What kube-state-metrics and the kubelet would export of the claims on a development API server.

Neither program is at hand. Their series are read from the objects themselves, at each scrape, by the names and labels
that their documents give: a server in their place, with real data.
"""

import contextlib
import json
from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from resizer.model.quantity import parse_quantity
from tests.e2e.rig import Rig

FILESYSTEM_SHARE = 0.98
"""An ext4 filesystem keeps about this much of its volume for files."""


@contextlib.asynccontextmanager
async def cluster_metrics(rig: Rig) -> AsyncIterator[int]:
    """Serve the series at /metrics; yields the port."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(_collect(rig)), content_type="text/plain")

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _collect(rig: Rig) -> CollectorRegistry:
    registry = CollectorRegistry()

    def gauge(name: str, *labels: str) -> Gauge:
        return Gauge(name, name, labels, registry=registry)

    claim = ("namespace", "persistentvolumeclaim")
    info = gauge("kube_persistentvolumeclaim_info", *claim, "volumename", "volumemode")
    requested = gauge("kube_persistentvolumeclaim_resource_requests_storage_bytes", *claim)
    capacity = gauge("kubelet_volume_stats_capacity_bytes", *claim)
    used = gauge("kubelet_volume_stats_used_bytes", *claim)
    volume = gauge("kube_persistentvolume_capacity_bytes", "persistentvolume")
    for (namespace, name), stored in rig.server.store.named("persistentvolumeclaims", group="").objects.items():
        body = json.loads(stored.raw)
        size = parse_quantity(body["status"].get("capacity", {}).get("storage", "0")).bytes
        info.labels(namespace, name, body["spec"]["volumeName"], "Filesystem").set(1)
        requested.labels(namespace, name).set(parse_quantity(body["spec"]["resources"]["requests"]["storage"]).bytes)
        capacity.labels(namespace, name).set(size * FILESYSTEM_SHARE)
        used.labels(namespace, name).set(1 << 30)
    for (_, name), stored in rig.server.store.named("persistentvolumes", group="").objects.items():
        volume.labels(name).set(parse_quantity(json.loads(stored.raw)["spec"]["capacity"]["storage"]).bytes)
    return registry
