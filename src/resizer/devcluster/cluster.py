"""The development cluster put together: an API server and the parts that make claims, volumes and pods move.

    async with Cluster.start(state_dir=folder, drivers=["unix:///run/csi.sock"]) as cluster:
        cluster.server.url, cluster.server.token

Used by `resizer demo`, `resizer dev` and tests. The parts talk to the API server through its socket, as they would
in a real cluster. They end with the block; what they mounted is let go by whoever deletes the pods before, or by
the driver's own clean-up.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Self

from resizer.devcluster.apiserver.server import ApiServer
from resizer.devcluster.attacher import Attacher
from resizer.devcluster.client import Client
from resizer.devcluster.ephemeral import EphemeralClaims
from resizer.devcluster.kubelet import Containers, Kubelet
from resizer.devcluster.kubelet_growth import KubeletTiming
from resizer.devcluster.kubelet_scheduler import Scheduler
from resizer.devcluster.mirror import Mirrors
from resizer.devcluster.plugin import Plugin, open_plugin
from resizer.devcluster.provisioner import Provisioner


class Cluster:
    """A running cluster: its server, a client with all rights, the live copies and the kubelets by node name."""

    def __init__(self, *, server: ApiServer, client: Client, mirrors: Mirrors) -> None:
        self.server = server
        self.client = client
        self.mirrors = mirrors
        self.kubelets: dict[str, Kubelet] = {}

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        *,
        state_dir: Path,
        drivers: Sequence[str],
        nodes: Sequence[str] = ("node-1",),
        timing: KubeletTiming | None = None,
        containers: Containers | None = None,
        server: ApiServer | None = None,
    ) -> AsyncIterator[Self]:
        """Run a cluster until the block is left.

        `drivers` are the sockets of CSI drivers that serve controller and node (each must answer within 30 s, else
        DriverError); every node talks to the same ones, which must know the nodes' names as ids if there are
        several. Each node's kubelet directory lies below `state_dir/kubelet`. `server` is an API server that runs
        already; without it one is started.
        """
        async with contextlib.AsyncExitStack() as stack:
            if server is None:
                server = await stack.enter_async_context(ApiServer.start())
            client = Client(server.url, token=server.token, ca_pem=server.ca_pem, connections=200)
            await stack.enter_async_context(client)
            plugins = [await stack.enter_async_context(open_plugin(address)) for address in drivers]
            cluster = cls(server=server, client=client, mirrors=Mirrors(client))
            for node in nodes:
                cluster.kubelets[node] = Kubelet(
                    client=client,
                    mirrors=cluster.mirrors,
                    plugins=plugins,
                    node=node,
                    root=(state_dir / "kubelet" / node).resolve(),
                    timing=timing,
                    containers=containers,
                    is_only_node=len(nodes) == 1,
                )
            async with _running(cluster, plugins):
                yield cluster


@contextlib.asynccontextmanager
async def _running(cluster: Cluster, plugins: Sequence[Plugin]) -> AsyncIterator[None]:
    """Run the parts beside the block; one that fails ends the block. The block's own error leaves as it is."""
    client, mirrors = cluster.client, cluster.mirrors
    parts = [mirror.run() for mirror in mirrors.all]
    parts += [Scheduler(client=client, mirrors=mirrors).run(), EphemeralClaims(client=client, mirrors=mirrors).run()]
    parts += [Provisioner(client=client, mirrors=mirrors, plugin=plugin).run() for plugin in plugins]
    parts += [Attacher(client=client, mirrors=mirrors, plugin=plugin).run() for plugin in plugins]
    parts += [kubelet.run() for kubelet in cluster.kubelets.values()]
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part) for part in parts]
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- raised again below, outside the group that would wrap it
            failure = error
        finally:
            for task in tasks:
                task.cancel()
    if failure is not None:
        raise failure
