"""One driver's work group: its queue, its workers, its stages and what is remembered, from start to end.

A group runs while this process may act for the driver. It ends in one of two ways: `stop` is set (a clean end: the
queue is closed and work in hand may finish within the grace time), or it is cancelled (the lease is lost: every
call in flight is cut off at once, its outcome uncertain, and the next leader reads what stands in the API server).
Memory goes with the group: another process may have acted in between.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog
from msgspec import Struct

from resizer.core.state import Policy
from resizer.core.verdict import Rule
from resizer.core.waiting import end_wait_for_driver
from resizer.model.objects import Claim
from resizer.pipeline.claim import ClaimLoop, Stages, Telemetry
from resizer.pipeline.gate import RecoveryGate
from resizer.pipeline.intake import Intake
from resizer.pipeline.memory import Memories
from resizer.pipeline.ports import (
    AttachmentSource,
    Clock,
    EventSink,
    ExpandableVolumePlugin,
    LeaseGuard,
    NodeReader,
    Objects,
    PodSource,
    QueueTelemetry,
    ResizeTelemetry,
    SecretReader,
    StageTelemetry,
    Writer,
)
from resizer.pipeline.queue import ClaimQueue
from resizer.pipeline.stages.breaker import LONGEST_S, Breaker
from resizer.pipeline.stages.controller_resize import ControllerResize
from resizer.pipeline.stages.node_resize import NodeResize
from resizer.pipeline.stages.nudge import Nudger
from resizer.pipeline.stages.status_patch import StatusPatch
from resizer.pipeline.workers import Workers

log = structlog.get_logger()


class Surroundings(Struct, frozen=True):
    """What all work groups of a process share."""

    objects: Objects
    writer: Writer
    events: EventSink
    secrets: SecretReader
    pods: PodSource
    attachments: AttachmentSource
    intake: Intake
    stages: StageTelemetry
    resizes: ResizeTelemetry
    queues: QueueTelemetry
    nudger: Nudger | None
    policy: Policy
    now: Clock
    gate: RecoveryGate
    workers: int = 100
    node_agents: bool = False
    nodes: NodeReader | None = None
    grace_s: float = 20.0


class ClaimState(Struct, frozen=True):
    """One claim in hand, for `/debug/state`."""

    claim: str
    driver: str
    phase: str
    asked_at: float
    class_: str
    failures: int
    outcome: str
    next_try_at: float | None


class DriverGroup:
    """Works for one driver until it is told to stop, or cancelled."""

    def __init__(
        self,
        plugin: ExpandableVolumePlugin,
        lease: LeaseGuard,
        around: Surroundings,
        *,
        rules: Sequence[Rule] = (),
    ) -> None:
        driver = plugin.facts.name
        self.driver = driver
        self._around = around
        self._memories = Memories()
        self._queue = ClaimQueue(name=driver, telemetry=around.queues)
        limits = around.policy.limits
        self._breaker = Breaker(first_s=limits.retry_start_s, longest_s=min(LONGEST_S, limits.retry_max_s))
        self._node = NodeResize(
            around.pods,
            around.attachments,
            around.nudger,
            driver=driver,
            telemetry=around.stages,
            now=around.now,
            agents=around.writer if around.node_agents else None,
            nodes=around.nodes,
        )
        self._controller = ControllerResize(
            plugin,
            secrets=around.secrets,
            lease=lease,
            telemetry=around.stages,
            breaker=self._breaker,
            rules=rules,
        )
        stages = Stages(
            self._controller,
            self._node,
            StatusPatch(around.writer, driver=driver, telemetry=around.stages),
        )
        self._loop = ClaimLoop(
            lambda: plugin.facts,
            stages,
            objects=around.objects,
            writer=around.writer,
            telemetry=Telemetry(around.events, around.stages, around.resizes),
            memories=self._memories,
            policy=around.policy,
            now=around.now,
            gate=around.gate,
        )
        self._workers = Workers(self._queue, self._loop.look, count=around.workers, on_bug=self._count_bug)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then let the work in hand finish within the grace time."""
        intake = self._around.intake
        work = asyncio.create_task(self._workers.run(), name=f"workers-{self.driver}")
        stopping = asyncio.create_task(stop.wait(), name=f"stop-{self.driver}")
        end_listening = intake.on_gone(self._forget)
        intake.serve(self.driver, self._queue)
        self._around.resizes.follow_retries(driver=self.driver, next_retry=self._queue.next_delay_s)
        log.info("group.started", driver=self.driver, workers=self._around.workers)
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            intake.withdraw(self.driver)
            self._queue.close()
            await self._finish(work)
        finally:
            intake.withdraw(self.driver)
            self._queue.close()
            end_listening()
            stopping.cancel()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            self._node.close()
            log.info("group.ended", driver=self.driver)

    def driver_returned(self) -> None:
        """Look at once at the claims that were turned away while nobody answered: the driver does again."""
        self._controller.driver_returned()
        for record in self._memories:
            memory = end_wait_for_driver(record.memory)
            if memory != record.memory:
                record.memory = memory
                self._queue.add(record.key)

    @property
    def circuit(self) -> str:
        """Whether the driver is called: "closed", "open" (it is down), "half-open" (one call probes)."""
        return self._breaker.state

    def states(self) -> list[ClaimState]:
        """Say which claims are in hand and how they stand."""
        return [
            ClaimState(
                claim=record.key,
                driver=self.driver,
                phase=record.memory.phase,
                asked_at=record.memory.asked_wall_s,
                class_=record.class_,
                failures=record.memory.failures,
                outcome=record.outcome,
                next_try_at=record.next_try_wall_s,
            )
            for record in self._memories
        ]

    async def _finish(self, work: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(self._around.grace_s):
                await asyncio.shield(work)
        except TimeoutError:
            log.warning("group.grace_over", driver=self.driver, in_work=len(self._queue.ages_s()))

    def _forget(self, claim: Claim) -> None:
        self._loop.forget(claim)

    def _count_bug(self, key: str) -> None:
        del key
        self._around.stages.stage_failed(driver=self.driver, stage="status-patch", class_="bug")
