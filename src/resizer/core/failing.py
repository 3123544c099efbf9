"""The failing half of the machine: what is recorded of a failed attempt, and when it is tried again."""

from typing import Final

from msgspec.structs import replace

from resizer.core import noting, status
from resizer.core.pacing import delay_after, write_wait
from resizer.core.state import (
    Enter,
    Failed,
    FailureRecorded,
    Memory,
    ObserveUsers,
    Policy,
    RecordClaim,
    Say,
    Settle,
    Snapshot,
    Step,
    Users,
)
from resizer.core.verdict import Failure
from resizer.model.objects import Claim

REWRITE_MESSAGE_AFTER_S: Final = 3600.0


def record(claim: Claim, snapshot: Snapshot, memory: Memory, observation: Failed, policy: Policy) -> Step:
    """Write what a final failure leaves in the claim, if it does not say so already."""
    failure = observation.failure
    if failure.class_ == "offline-required" and policy.handle_in_use and snapshot.users is None:
        return Step(ObserveUsers(), memory)
    delay_s = delay_after(
        failure,
        failures=memory.failures + 1,
        limits=policy.limits,
        roll=snapshot.now.roll,
        is_in_use=snapshot.users.running_pod if snapshot.users else None,
        handle_in_use=policy.handle_in_use,
    )
    recorded = FailureRecorded(observation.target, failure, delay_s)
    body = status.record_failure(
        claim,
        failure,
        rewrite_message=_may_rewrite(memory, snapshot.now.mono_s, failure),
        retry=write_wait(failure, target=observation.target.text, delay_s=delay_s, now_s=snapshot.now.wall_s),
        now=noting.timestamp(snapshot.now),
    )
    if body:
        return Step(RecordClaim(body, recorded), replace(memory, error_written_s=snapshot.now.mono_s))
    return settle(claim, snapshot, memory, recorded, policy)


def _may_rewrite(memory: Memory, now_s: float, failure: Failure) -> bool:
    """Another cause is written at once; the same cause with other words (ids, times) once an hour."""
    if memory.failure is None or memory.failure.cause != failure.cause:
        return True
    is_news = memory.failure.message != failure.message
    return is_news and now_s - memory.error_written_s >= REWRITE_MESSAGE_AFTER_S


def settle(claim: Claim, snapshot: Snapshot, memory: Memory, observation: FailureRecorded, policy: Policy) -> Step:
    """Remember the failure, say it, and wait."""
    failure, now = observation.failure, snapshot.now
    failed_for_good = memory.failed_for_good if failure.outcome == "unchanged" else failure.outcome == "final"
    memory = replace(
        memory,
        failures=memory.failures + 1,
        failure=failure,
        failed_for_good=failed_for_good,
        not_before_s=now.mono_s + observation.delay_s,
        wish=(claim.requested_bytes, claim.storage_resizer),
        blockers=_blockers(failure, snapshot.users),
    )
    volume = snapshot.volume.name if snapshot.volume else claim.volume_name
    text = f'resize volume "{volume}" by resizer "{snapshot.driver.name}" failed: {failure.message}'
    memory, notes = noting.say_once(
        memory,
        now,
        f"failed/{failure.cause}",
        Say("Warning", "VolumeResizeFailed", text),
        repeat_s=policy.repeat_event_s,
    )
    since_s = memory.asked_wall_s or noting.resizing_since(claim) or now.wall_s
    entered = Enter("controller-resize", failure.class_, since_s)
    return Step(Settle("retry", observation.delay_s, failure.class_), memory, (*notes, entered))


def _blockers(failure: Failure, users: Users | None) -> Users:
    return users if failure.class_ == "offline-required" and users is not None else Users()


def is_released(memory: Memory, users: Users | None) -> bool:
    """Whether what kept an offline-only driver from growing the volume has gone since: the pod, or the attachment."""
    if users is None or memory.failure is None or memory.failure.class_ != "offline-required":
        return False
    pod_went = memory.blockers.running_pod is True and users.running_pod is False
    detached = memory.blockers.attached is True and users.attached is False
    return pod_went or detached
