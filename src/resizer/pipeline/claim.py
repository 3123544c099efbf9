"""The claim loop: one look at one claim, from what stands in the API server to a verdict on when to look again.

    snapshot -> core.machine.advance -> effect -> one stage -> observation -> advance ... -> Result

The loop does what the core says and nothing of its own: it reads the cache, runs the stage that an effect names,
hands back what came of it, and keeps the core's memory by uid. A version conflict is no failure: the objects are
read afresh and the same observation is decided again, three times at once and then with a back-off. What a driver
answered while the API server could not be written to is kept and taken up at the next look.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final, assert_never

import structlog

from resizer.core import noting
from resizer.core.machine import advance
from resizer.core.pacing import delay_exponential
from resizer.core.state import (
    AwaitNode,
    CallDriver,
    Effect,
    Enter,
    Expanded,
    Failed,
    Finish,
    Instant,
    IntentRecorded,
    Leave,
    NodeFailed,
    Note,
    Observation,
    ObserveUsers,
    PendingRecorded,
    Policy,
    RecordClaim,
    RecordVolume,
    Retry,
    Say,
    Settle,
    Snapshot,
    Started,
    Users,
)
from resizer.model.driver import DriverFacts
from resizer.model.errors import ApiError, ConflictError, NotFoundError
from resizer.model.objects import Claim
from resizer.pipeline.gate import RecoveryGate
from resizer.pipeline.memory import Memories, Record
from resizer.pipeline.ports import Clock, EventSink, Objects, ResizeTelemetry, StageTelemetry, Writer
from resizer.pipeline.result import Result
from resizer.pipeline.stages.controller_resize import ControllerResize, LeaseNotHeldError
from resizer.pipeline.stages.node_resize import NodeResize
from resizer.pipeline.stages.status_patch import StatusPatch

CONFLICTS_AT_ONCE: Final = 3
MOST_STEPS: Final = 40
"""More steps than any path through the machine has: reaching it is a bug, and ends the look."""

_SILENT: Final = ("idle", "waiting", "finished")
"""Looks without a line of their own: nothing was done, or what was done is `claim.grown` already."""

log = structlog.get_logger()


class Stages:
    """The three stages of one driver."""

    def __init__(self, controller_resize: ControllerResize, node_resize: NodeResize, status_patch: StatusPatch) -> None:
        self.controller_resize = controller_resize
        self.node_resize = node_resize
        self.status_patch = status_patch


class Telemetry:
    """Where the loop reports to."""

    def __init__(self, events: EventSink, stages: StageTelemetry, resizes: ResizeTelemetry) -> None:
        self.events = events
        self.stages = stages
        self.resizes = resizes


class ClaimLoop:
    """Looks at the claims of one driver. `look` is what the workers call."""

    def __init__(
        self,
        driver: Callable[[], DriverFacts],
        stages: Stages,
        *,
        objects: Objects,
        writer: Writer,
        telemetry: Telemetry,
        memories: Memories,
        policy: Policy,
        now: Clock,
        gate: RecoveryGate,
    ) -> None:
        self._driver = driver
        self._name = driver().name
        self._stages = stages
        self._objects = objects
        self._writer = writer
        self._telemetry = telemetry
        self._memories = memories
        self._policy = policy
        self._now = now
        self._gate = gate
        self._clock = asyncio.get_running_loop().time

    async def look(self, key: str) -> Result:
        """Take one claim as far as it goes now."""
        claim = self._objects.claim(key)
        if claim is None:
            return Result("gone")
        record = self._memories.recall(claim)
        began_s = self._clock()
        settle = await self._run(claim, record)
        if record.memory.blockers == Users():
            self._stages.node_resize.end_observation(claim.uid)
        if settle.outcome == "unsupported":
            self._gate.note_dropped(settle.reason)
        delay_s = settle.requeue_after_s
        now = self._objects.claim(key)
        if now is None or now.uid != claim.uid:
            # Gone while we worked: it has been forgotten already, and must not be remembered again.
            self.forget(claim)
            return Result("gone")
        # Our own patch coming back, a nudge again: the node is waited for as before, and the claim is as it was.
        is_unchanged = settle.outcome == record.outcome == "waiting-for-node" and now.version == record.version
        record.outcome, record.version = settle.outcome, now.version
        record.next_try_wall_s = None if delay_s is None else self._now() + delay_s
        self._memories.keep(claim, record)
        if settle.is_news and settle.outcome not in _SILENT:
            took_s = self._clock() - began_s
            say = log.debug if is_unchanged and not settle.reason else log.info
            self._log_look(say, claim, settle, took_s)
        return Result(settle.outcome, delay_s)

    def forget(self, claim: Claim) -> None:
        """Forget a claim that is gone: memory, pods, metrics."""
        self._memories.forget(claim.uid)
        self._stages.node_resize.forget(claim.uid, outcome="cancelled")
        self._leave(claim)

    async def _run(self, claim: Claim, record: Record) -> Settle:
        observation: Observation = record.resume or Started()
        record.resume = None
        # A driver that wants the volume unused: whether it still is used decides whether to try before the time.
        is_blocked = record.memory.blockers != Users()
        users = await self._stages.node_resize.observe_users(claim) if is_blocked else None
        conflicts = 0
        for _ in range(MOST_STEPS):
            try:
                snapshot, effect = await self._decide(claim, record, observation, users)
                match effect:
                    case Settle():
                        record.api_failures = 0
                        return effect
                    case ObserveUsers():
                        users = await self._stages.node_resize.observe_users(claim)
                    case _:
                        observation = await self._perform(snapshot, effect)
                        record.is_current |= isinstance(effect, RecordClaim)
            except ConflictError:
                conflicts += 1
                await self._read_again(claim)
                if conflicts > CONFLICTS_AT_ONCE:
                    return self._after_api_failure(record, observation, "conflict")
            except LeaseNotHeldError:
                return Settle("waiting", None, "the lease is not held")
            except NotFoundError:
                await self._read_again(claim)
                return self._after_api_failure(record, observation, "not-found")
            except ApiError as error:
                log.warning("claim.api_error", claim=claim.key, driver=self._name, error=str(error))
                return self._after_api_failure(record, observation, type(error).__name__)
        raise RuntimeError(f"claim {claim.key}: no end after {MOST_STEPS} steps, last {type(observation).__name__}")

    async def _decide(
        self, claim: Claim, record: Record, observation: Observation, users: Users | None
    ) -> tuple[Snapshot, Effect]:
        """Decide what comes next, and keep what was decided.

        A target that stands already was recorded by another process, and our watch may lag behind what that one did
        afterwards: before a driver is called for it, claim and volume are read afresh, once, and it is decided again.
        """
        snapshot = self._snapshot(claim, users)
        step = advance(snapshot, record.memory, observation, self._policy)
        if not record.is_current and self._must_be_current(step.effect):
            await self._read_afresh(claim)
            record.is_current = True
            snapshot = self._snapshot(claim, users)
            step = advance(snapshot, record.memory, observation, self._policy)
        record.memory = step.memory
        for note in step.notes:
            if isinstance(note, Enter):
                record.class_ = note.class_
            self._tell(claim, note)
        return snapshot, step.effect

    def _must_be_current(self, effect: Effect) -> bool:
        """A call must not rest on a cache that lags; for a driver that is never called, its volume's record."""
        if self._driver().controller_expansion:
            return isinstance(effect, CallDriver)
        return isinstance(effect, RecordClaim | RecordVolume)

    def _snapshot(self, claim: Claim, users: Users | None) -> Snapshot:
        """What stands now. A claim of the same name but another uid is another claim: ours is gone."""
        found = self._objects.claim(claim.key)
        current = found if found is not None and found.uid == claim.uid else None
        volume = self._objects.volume(current.volume_name) if current and current.volume_name else None
        # The roll only spreads retries over time: nothing secret hangs on it.
        instant = Instant(self._now(), self._clock(), random.random())  # noqa: S311
        return Snapshot(current, volume, self._driver(), instant, users)

    async def _perform(self, snapshot: Snapshot, effect: Effect) -> Observation:
        """Run the stage that the effect names, and return what is to be decided on next."""
        claim, volume = snapshot.claim, snapshot.volume
        assert claim is not None
        match effect:
            case RecordClaim():
                if isinstance(effect.then, IntentRecorded):
                    self._stages.node_resize.prepare(claim)
                if isinstance(effect.then, PendingRecorded):
                    effect = await self._stages.node_resize.name_node(claim, effect)
                await self._stages.status_patch.write_claim(claim, effect)
                return effect.then
            case RecordVolume():
                assert volume is not None
                if isinstance(effect.then, Expanded):
                    self._gate.note_kept()
                await self._stages.status_patch.write_volume(volume, effect)
                return effect.then
            case CallDriver():
                assert volume is not None
                self._gate.note_kept()
                return await self._stages.controller_resize.run(volume, effect)
            case AwaitNode():
                return await self._stages.node_resize.run(claim, effect)
            case Settle() | ObserveUsers():
                raise AssertionError("handled by the loop itself")
            case _:
                assert_never(effect)

    async def _read_again(self, claim: Claim) -> None:
        """Bring the cache up to date, so that the next decision is made on what really stands."""
        try:
            await self._read_afresh(claim)
        except ApiError as error:
            log.info("claim.read_failed", claim=claim.key, error=str(error))

    async def _read_afresh(self, claim: Claim) -> None:
        found = await self._writer.read_claim(claim.key)
        if found is not None and found.volume_name:
            await self._writer.read_volume(found.volume_name)

    def _after_api_failure(self, record: Record, observation: Observation, class_: str) -> Settle:
        if isinstance(observation, Expanded | Failed):
            record.resume = observation
        record.api_failures += 1
        delay_s = delay_exponential(
            record.api_failures,
            limits=self._policy.limits,
            roll=random.random(),  # noqa: S311  # as above
        )
        return Settle("retry", delay_s, class_)

    def _tell(self, claim: Claim, note: Note) -> None:
        driver = self._name
        match note:
            case Say():
                self._telemetry.events.emit(
                    claim, type_=note.type_, reason=note.reason, message=note.message, driver=driver
                )
            case Enter():
                self._telemetry.resizes.resize_phase(
                    claim, driver=driver, phase=note.phase, class_=note.class_, since=note.since_wall_s
                )
            case Leave():
                self._leave(claim)
            case Finish():
                log.info("claim.grown", **self._facts(claim), **_milliseconds(note.duration_s))
                self._telemetry.resizes.resize_finished(
                    driver=driver,
                    outcome=note.outcome,
                    class_=note.class_,
                    duration_s=note.duration_s,
                    grown_bytes=note.grown_bytes,
                )
            case Retry():
                self._telemetry.stages.stage_retried(driver=driver, stage="controller-resize")
            case NodeFailed():
                log.warning("claim.node_failed", claim=claim.key, uid=claim.uid, driver=driver)
                self._telemetry.stages.stage_failed(driver=driver, stage="node-resize", class_="node-error")
            case _:
                assert_never(note)

    def _leave(self, claim: Claim) -> None:
        self._stages.node_resize.forget(claim.uid)
        self._telemetry.resizes.resize_settled(claim, driver=self._name)

    def _log_look(self, say: Callable[..., object], claim: Claim, settle: Settle, took_s: float) -> None:
        """One canonical line per look that did something."""
        say(
            "claim.looked_at",
            **self._facts(claim),
            outcome=settle.outcome,
            reason=settle.reason,
            retry_in_s=None if settle.requeue_after_s is None else round(settle.requeue_after_s, 3),
            took_s=round(took_s, 4),
        )

    def _facts(self, claim: Claim) -> dict[str, object]:
        """What a line says of its claim: which it is, and how it stands now."""
        now = self._objects.claim(claim.key) or claim
        return {
            "claim": claim.key,
            "uid": claim.uid,
            "volume": claim.volume_name,
            "driver": self._name,
            "requested": now.requested,
            "allocated": now.allocated,
            "capacity": now.capacity,
            "state": now.state,
            "resizing_since": noting.resizing_since(now) or None,
        }


def _milliseconds(duration_s: dict[str, float]) -> dict[str, int]:
    return {f"{phase.replace('-', '_')}_ms": round(seconds * 1000) for phase, seconds in duration_s.items()}
