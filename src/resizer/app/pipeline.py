"""The running pipeline: its parts put together, its task groups, and the order of the shutdown.

    outer group: event-loop lag, the sender of events
      > one task a driver: its connection, its lease, its work group
        > sources: the watches of claims, volumes and pods

`stop` (SIGTERM) goes from the inside out: work groups close their queues and finish what they have in hand within the
grace time, their leases are released, the watches end, queued events are sent, connections are closed.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import structlog

from resizer.core.pacing import Limits
from resizer.core.state import Policy
from resizer.csi.connection import ConnectedDriver, DriverConnection
from resizer.csi.rules import RuleBook
from resizer.kube.client import KubeClient
from resizer.kube.elector import AlwaysHeld
from resizer.kube.lease import LeaseTiming
from resizer.obs.metrics import Metrics
from resizer.obs.probe import LoopWatch
from resizer.pipeline.gate import RecoveryGate
from resizer.pipeline.group import DriverGroup, Surroundings
from resizer.pipeline.in_tree import InTreeRefuser
from resizer.pipeline.intake import Intake
from resizer.pipeline.modification import ModificationNotice
from resizer.pipeline.ports import JsonObject, LeaseGuard
from resizer.pipeline.stages.nudge import Nudger
from resizer.settings import Settings

EVENTS_DRAIN_S: Final = 3.0
NOT_SERVED: Final = "claims of this driver are not grown until this process is started again"

log = structlog.get_logger()


def _policy(settings: Settings) -> Policy:
    return Policy(
        limits=Limits(settings.retry_interval_start, settings.retry_interval_max),
        handle_in_use=settings.handle_volume_inuse_error,
        node_timeout_s=settings.node_timeout,
    )


class Pipeline:
    """Everything that runs, put together."""

    def __init__(
        self,
        settings: Settings,
        *,
        kube: KubeClient,
        metrics: Metrics,
        rules: RuleBook,
        connections: list[DriverConnection],
    ) -> None:
        self._settings = settings
        self._kube = kube
        self._metrics = metrics
        self._rules = rules
        self._connections = connections
        for connection in connections:
            connection.on_change(partial(self._driver_changed, connection))
        self._served_at: dict[str, str] = {}
        """The driver that each address had first: the one whose work group it has."""
        self._groups: dict[str, DriverGroup] = {}
        self.loop_watch = LoopWatch(metrics.loop, monotonic=time.monotonic)
        self._refusals: list[str] = []
        metrics.kube.attach(
            host=kube.transport.server, watch_ages_s=kube.watch_ages_s, cache_objects=kube.cache_objects
        )
        self._intake = Intake(kube.store)
        kube.store.subscribe_claims(self._intake.claim_changed)
        kube.store.subscribe_volumes(self._intake.volume_changed)
        kube.pods.subscribe(self._intake.pod_changed)
        kube.attachments.subscribe(self._intake.attachment_changed)
        self.gate = RecoveryGate()
        self._in_tree = InTreeRefuser(kube.store, kube.events, is_active=lambda: bool(self._groups))
        kube.store.subscribe_claims(self._in_tree.claim_changed)
        kube.store.subscribe_volumes(self._in_tree.volume_changed)
        self._modification = ModificationNotice(kube.store, kube.events)
        kube.store.subscribe_claims(self._modification.claim_changed)
        kube.store.subscribe_volumes(self._modification.volume_changed)
        self._nudger = Nudger(kube.writer, now=time.time, on_refused=self._refusals.append)
        self._around = Surroundings(
            objects=kube.store,
            writer=kube.writer,
            events=kube.events,
            secrets=kube.secrets,
            pods=kube.pods,
            attachments=kube.attachments,
            intake=self._intake,
            stages=metrics.stages,
            resizes=metrics.resizes,
            queues=metrics.queues,
            nudger=self._nudger if settings.nudge else None,
            policy=_policy(settings),
            now=time.time,
            gate=self.gate,
            workers=settings.workers,
            node_agents=settings.node_mode == "agent",
            nodes=kube.nodes,
            grace_s=settings.shutdown_grace,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run sources, connections and work groups until `stop`, then end them in order."""
        try:
            await self._run(stop)
        finally:
            await self._nudger.close()

    async def _run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as outer:
            background = [
                outer.create_task(self._kube.run_events(), name="events"),
                outer.create_task(self.loop_watch.run(), name="loop-lag"),
                outer.create_task(self._kube.run_sources(), name="sources"),
                outer.create_task(self._resync(), name="resync"),
                *(outer.create_task(c.run(), name=f"connection-{c.state.address}") for c in self._connections),
            ]
            async with asyncio.TaskGroup() as drivers:
                for connection in self._connections:
                    drivers.create_task(self._serve(connection, stop), name=f"driver-{connection.state.address}")
            await self._kube.events.drain(timeout_s=EVENTS_DRAIN_S)
            for task in background:
                task.cancel()

    async def _serve(self, connection: DriverConnection, stop: asyncio.Event) -> None:
        """Serve the driver behind one address: when it is there, and while the lease is ours."""
        if not await _ends_before(stop, connection.wait_driver()) or connection.driver is None:
            return
        driver = connection.driver
        name = driver.facts.name
        if name in self._groups:
            log.error("driver.twice", driver=name, address=connection.state.address, consequence="not served here")
            return
        self._metrics.add_driver(name)
        await self._lead(driver, stop)

    def _driver_changed(self, connection: DriverConnection, driver: ConnectedDriver | None) -> None:
        """Take up what waited for a driver that is connected again; one that is new has no group yet."""
        if driver is None:
            return
        name, address = driver.facts.name, connection.state.address
        served = self._served_at.setdefault(address, name)
        if served != name:
            log.error("driver.replaced", address=address, driver=name, served=served, consequence=NOT_SERVED)
        elif name in self._groups:
            self._groups[name].driver_returned()

    async def _lead(self, driver: ConnectedDriver, stop: asyncio.Event) -> None:
        settings, name = self._settings, driver.facts.name
        if not settings.leader_election:
            await self._work(driver, AlwaysHeld(), stop)
            return
        elector = self._kube.elector(
            name,
            namespace=settings.leader_election_namespace,
            timing=LeaseTiming(
                settings.leader_election_lease_duration,
                settings.leader_election_renew_deadline,
                settings.leader_election_retry_period,
            ),
            labels=dict(part.split("=", 1) for part in settings.leader_election_labels.split(",") if "=" in part),
        )
        # With a warm cache only: else a replica that has just started takes the lease from one that could act at once.
        if not await _ends_before(stop, self._kube.wait_synced()):
            return
        leading = elector.run(lambda: self._work(driver, elector, stop), is_ending=stop.is_set)
        await _ends_before(stop, leading, may_finish=elector.is_held)

    async def _work(self, driver: ConnectedDriver, lease: LeaseGuard, stop: asyncio.Event) -> None:
        """Run the driver's work group. Claims that are not read yet reach it as they are (docs/adr/0009)."""
        name = driver.facts.name
        group = DriverGroup(driver, lease, self._around, rules=self._rules.rules_of(name))
        self._groups[name] = group
        self._in_tree.look_at_all()
        self._modification.driver_served(driver.facts)
        self._metrics.resizes.set_active(name, active=True)
        try:
            await group.run(stop)
        finally:
            self._groups.pop(name, None)
            self._modification.driver_left(driver.facts)
            self._metrics.resizes.set_active(name, active=False)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_period)
            self._intake.resync()

    def state(self) -> JsonObject:
        """What `/debug/state` shows."""
        return {
            "drivers": [
                {
                    "address": c.state.address,
                    "driver": c.state.driver,
                    "phase": c.state.phase,
                    "reason": c.state.reason,
                    "working": c.state.driver in self._groups,
                    "circuit": group.circuit if (group := self._groups.get(c.state.driver)) else "",
                }
                for c in self._connections
            ],
            "claims": [
                {
                    "claim": s.claim,
                    "driver": s.driver,
                    "phase": s.phase,
                    "since": s.asked_at,
                    "class": s.class_,
                    "failures": s.failures,
                    "outcome": s.outcome,
                    "next_try": s.next_try_at,
                }
                for group in self._groups.values()
                for s in group.states()
            ],
            "kubernetes": self._kube.statistics(),
            "nudge": {"enabled": self._settings.nudge, "refused": self._refusals},
        }


async def _ends_before(
    stop: asyncio.Event, work: Coroutine[Any, Any, object], *, may_finish: Callable[[], bool] = lambda: False
) -> bool:
    """Wait for `work`; cut it off at `stop` unless it then `may_finish`. Whether it ended by itself."""
    task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and not may_finish():
            return False
        await task
        return True
    finally:
        stopping.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
