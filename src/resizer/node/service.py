"""The node agent as a program: what `resizer node` runs until SIGTERM.

    outer group: events' sender, event-loop lag, the watch of claims with this node's label
      > workers on one queue

It watches claims with its own label and nothing else: no volumes, no pods, no secrets. Volumes are read one by one,
when a claim waits for this node.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec import Struct

from resizer.core.node_label import node_label
from resizer.csi.translation import translate
from resizer.kube.client import KubeClient, KubeOptions
from resizer.kube.credentials import CredentialsError
from resizer.model.objects import Claim
from resizer.node.agent import Agent, Surroundings
from resizer.node.driver_socket import SocketFinder
from resizer.obs.address import MalformedListenAddressError
from resizer.obs.http import Endpoint, EndpointError, serve_http
from resizer.obs.metrics import Metrics, new_metrics
from resizer.obs.probe import LoopWatch, Probe
from resizer.pipeline.queue import ClaimQueue
from resizer.pipeline.workers import Workers
from resizer.rpc.channel import MalformedAddressError

QUEUE: Final = "node-agent"
DRAIN_S: Final = 3.0

log = structlog.get_logger()


class AgentStartError(Exception):
    """The agent cannot start: one line for the person who started it, and the exit code."""

    def __init__(self, text: str, *, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class AgentOptions(Struct, frozen=True, kw_only=True):
    """The flags of `resizer node`. Durations in seconds."""

    node: str
    kubelet_dir: Path = Path("/var/lib/kubelet")
    csi_addresses: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    workers: int = 10
    timeout_s: float = 120.0
    grace_s: float = 20.0
    http_address: str = ""


async def run_agent(options: AgentOptions, *, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises AgentStartError when something that is needed cannot be had."""
    label = node_label(options.node)
    metrics = new_metrics()
    try:
        finder = SocketFinder(options.kubelet_dir, addresses=options.csi_addresses, telemetry=metrics.csi)
    except MalformedAddressError as error:
        raise AgentStartError(f"csi-address: {error}", exit_code=2) from error
    if not await asyncio.to_thread(options.kubelet_dir.is_dir):
        raise AgentStartError(
            f"kubelet-dir {options.kubelet_dir} is no folder: mount the host's there, at the same path", exit_code=2
        )
    kube_options = KubeOptions(kubeconfig=options.kubeconfig, claim_selector=label, watch_volumes=False)
    try:
        kube = await KubeClient.open(kube_options, telemetry=metrics.kube, translate=translate)
    except CredentialsError as error:
        raise AgentStartError(str(error), exit_code=2) from error
    try:
        await _serve(options, kube=kube, finder=finder, metrics=metrics, label=label, stop=stop)
    finally:
        await kube.close()


async def _serve(
    options: AgentOptions, *, kube: KubeClient, finder: SocketFinder, metrics: Metrics, label: str, stop: asyncio.Event
) -> None:
    around = Surroundings(
        objects=kube.store,
        writer=kube.writer,
        events=kube.events,
        secrets=kube.secrets,
        finder=finder,
        telemetry=metrics.csi,
        now=time.time,
        label=label,
        root=options.kubelet_dir,
        timeout_s=options.timeout_s,
    )
    metrics.queues.add_queue(QUEUE)
    metrics.kube.attach(host=kube.transport.server, watch_ages_s=kube.watch_ages_s, cache_objects=kube.cache_objects)
    queue = ClaimQueue(name=QUEUE, telemetry=metrics.queues)
    workers = Workers(queue, Agent(around).look, count=options.workers, on_bug=lambda _: None)

    def claim_changed(old: Claim | None, new: Claim | None) -> None:
        found = new or old
        assert found is not None
        queue.add(found.key)

    kube.store.subscribe_claims(claim_changed)
    loop_watch = LoopWatch(metrics.loop, monotonic=time.monotonic)
    async with _endpoints(options, kube=kube, metrics=metrics, loop_watch=loop_watch):
        log.info("agent.started", node=options.node, label=label, kubelet_dir=str(options.kubelet_dir))
        async with asyncio.TaskGroup() as outer:
            background = [
                outer.create_task(kube.run_events(), name="events"),
                outer.create_task(kube.run_sources(), name="sources"),
                outer.create_task(loop_watch.run(), name="loop-lag"),
            ]
            await _work(workers, queue, stop=stop, grace_s=options.grace_s)
            await kube.events.drain(timeout_s=DRAIN_S)
            for task in background:
                task.cancel()
        log.info("agent.ended", node=options.node)


async def _work(workers: Workers, queue: ClaimQueue, *, stop: asyncio.Event, grace_s: float) -> None:
    """Work until `stop`, then let the work in hand finish within the grace time."""
    work = asyncio.create_task(workers.run(), name="workers")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        queue.close()
        async with asyncio.timeout(grace_s):
            await asyncio.shield(work)
    except TimeoutError:
        log.warning("agent.grace_over", in_work=len(queue.ages_s()))
    finally:
        queue.close()
        stopping.cancel()
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


@contextlib.asynccontextmanager
async def _endpoints(
    options: AgentOptions, *, kube: KubeClient, metrics: Metrics, loop_watch: LoopWatch
) -> AsyncIterator[None]:
    """Serve metrics, probes and state for the block, if an address is set."""
    if not options.http_address:
        yield
        return
    liveness, readiness = Probe(), Probe()
    liveness.add("event-loop", loop_watch.check)
    liveness.add("loops", lambda: "; ".join(kube.liveness_problems()) or None)
    readiness.add("kubernetes", lambda: "; ".join(kube.readiness_problems()) or None)

    def state() -> dict[str, Any]:
        return {"node": options.node, "kubernetes": kube.statistics()}

    endpoint = Endpoint(
        registry=metrics.registry, liveness=liveness, readiness=readiness, leader_election=Probe(), state=state
    )
    try:
        async with serve_http(options.http_address, endpoint):
            yield
    except (EndpointError, MalformedListenAddressError) as error:
        raise AgentStartError(str(error), exit_code=1) from error
