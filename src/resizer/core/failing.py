"""The failing half of the machine: what is recorded of a failed attempt, and when it is tried again."""

from typing import Final, assert_never

from msgspec.structs import replace

from resizer.core import noting, status
from resizer.core.pacing import delay_after, read_wait, write_wait
from resizer.core.restarting import restart
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
from resizer.core.target import Attempt
from resizer.core.verdict import Failure
from resizer.core.wish import wish_of
from resizer.model.objects import Claim
from resizer.model.timestamp import format_time

RELEASE_HINT: Final = "; this driver grows the volume only while no running pod uses it: it is tried again then"


def record(claim: Claim, snapshot: Snapshot, memory: Memory, observation: Failed, policy: Policy) -> Step:
    """Write what a final failure leaves in the claim, if it does not say so already."""
    failure, target, now = observation.failure, observation.target, snapshot.now
    if claim.allocated_bytes != target.size_bytes:
        # Somebody else acted in our place: this failure is not about what the claim is now doing.
        return restart(claim, snapshot, memory, policy, reason="the target was changed by somebody else")
    if failure.class_ == "offline-required" and policy.handle_in_use and snapshot.users is None:
        return Step(ObserveUsers(), memory)
    delay_s = delay_after(
        failure,
        failures=memory.failures + 1,
        repeats=_repeats(memory, failure),
        limits=policy.limits,
        roll=now.roll,
        is_in_use=snapshot.users.running_pod if snapshot.users else None,
        handle_in_use=policy.handle_in_use,
    )
    recorded = FailureRecorded(target, failure, delay_s)
    retry = write_wait(failure, target=target.text, delay_s=delay_s, now_s=now.wall_s)
    if not retry and read_wait(claim.retry, target=target.text, now_s=now.wall_s) is None:
        retry = claim.retry  # what has lapsed or never held is ignored anyway: not worth a write
    body = status.record_failure(
        claim,
        failure,
        rewrite_message=noting.is_due(memory, now, _cause(recorded), repeat_s=policy.repeat_event_s),
        retry=retry,
        now=format_time(now.wall_s),
    )
    if body:
        return Step(RecordClaim(body, recorded), memory)
    return settle(claim, snapshot, memory, recorded, policy)


def settle(claim: Claim, snapshot: Snapshot, memory: Memory, observation: FailureRecorded, policy: Policy) -> Step:
    """Remember the failure, say it, and wait."""
    failure, now = observation.failure, snapshot.now
    blockers = snapshot.users if failure.class_ == "offline-required" and snapshot.users else Users()
    memory = replace(
        memory,
        failures=memory.failures + 1,
        repeats=_repeats(memory, failure),
        restarts=0,
        failure=failure,
        attempt=_known(memory, failure),
        not_before_s=now.mono_s + observation.delay_s,
        blockers=blockers,
    )
    volume = snapshot.volume.name if snapshot.volume else claim.volume_name
    hint = RELEASE_HINT if blockers.running_pod else ""
    text = f'resize volume "{volume}" by resizer "{snapshot.driver.name}" failed: {failure.message}{hint}'
    said = Say("Warning", "VolumeResizeFailed", text)
    memory, notes = noting.say_once(memory, now, _cause(observation), said, repeat_s=policy.repeat_event_s)
    since_s = memory.asked_wall_s or noting.resizing_since(claim, now) or now.wall_s
    entered = Enter("controller-resize", failure.class_, since_s)
    # A wish that changed while the driver was at work has not been tried: it goes at once.
    delay_s = observation.delay_s if memory.wish == wish_of(claim) else 0.0
    return Step(Settle("retry", delay_s, failure.class_), memory, (*notes, entered))


def _known(memory: Memory, failure: Failure) -> Attempt:
    match failure.outcome:
        case "unchanged":
            return memory.attempt_before
        case "final":
            return "failed"
        case "uncertain":
            return "unknown"
        case _:  # pragma: no cover  # mypy proves it unreachable
            assert_never(failure.outcome)


def _cause(observation: FailureRecorded) -> str:
    return f"failed/{observation.target.size_bytes}/{observation.failure.cause}"


def _repeats(memory: Memory, failure: Failure) -> int:
    """How often the driver has named a time for the next try since it last succeeded, with this failure."""
    return memory.repeats + (failure.retry_after_s > 0 and failure.outcome != "unchanged")


def is_released(memory: Memory, users: Users | None) -> bool:
    """Whether what kept an offline-only driver from growing the volume has gone since: the pod, or the attachment."""
    if users is None or memory.failure is None or memory.failure.class_ != "offline-required":
        return False
    pod_went = memory.blockers.running_pod is True and users.running_pod is False
    detached = memory.blockers.attached is True and users.attached is False
    return pod_went or detached
