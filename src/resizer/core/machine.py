"""The state machine of one resize: from what is known now to the one thing to do next.

`advance` is a pure function that the claim loop calls until it says `Settle`. Nothing is kept between calls but
the `Memory` it returns, and nothing depends on it for safety: a new process with an empty memory, reading only
what stands in the API server, ends in the same final state. The durable steps and their order are those of
DESIGN section 3:

    Started -> (1) intent in the claim -> IntentRecorded -> (2) driver -> Expanded
            -> (3) volume's capacity  -> Expanded        -> (4) claim: node pending -> PendingRecorded -> AwaitNode
                                                         or (4) claim: finished     -> FinishRecorded  -> Settle

After a version conflict the same observation is decided again on what is then read; every handler therefore looks
at the snapshot first and asks only for what is still missing. Steps 1 and 2 are here, what follows a grant is in
`granting`, what follows a failure in `failing`.
"""

from typing import Final, assert_never

from msgspec.structs import replace

from resizer.core import failing, granting, noting, status
from resizer.core.eligibility import find_obstacle, is_served, keeps_stale_annotation
from resizer.core.node_label import has_stale_labels
from resizer.core.restarting import restart
from resizer.core.state import (
    CallDriver,
    Expanded,
    Failed,
    FailureRecorded,
    FinishRecorded,
    IntentRecorded,
    Leave,
    Memory,
    NodeAwaited,
    Observation,
    PendingRecorded,
    Policy,
    RecordClaim,
    RecordVolume,
    Retry,
    Say,
    Settle,
    Snapshot,
    Started,
    Step,
)
from resizer.core.target import Target, find_target
from resizer.core.verdict import Failure
from resizer.core.waiting import remaining_wait
from resizer.core.wish import wish_of
from resizer.model.driver import Expansion
from resizer.model.objects import CONTROLLER_RESIZE_IN_PROGRESS, NODE_RESIZE_ERROR, Claim
from resizer.model.timestamp import format_time

UNSUPPORTED: Final = (
    "the API server dropped allocatedResources from the claim's status: Resizer needs Kubernetes 1.32 or newer "
    "(feature gate RecoverVolumeExpansionFailure on); the driver was not called"
)
UNSUPPORTED_RETRY_S: Final = 3600.0


def advance(snapshot: Snapshot, memory: Memory, observation: Observation, policy: Policy) -> Step:
    """Decide the next step of one claim. Pure: the same arguments always give the same step."""
    claim = snapshot.claim
    if claim is None:
        return Step(Settle("idle", reason="the claim is gone"), Memory(), (Leave(),))
    match observation:
        case Started():
            return _start(claim, snapshot, memory, observation, policy)
        case IntentRecorded():
            return _call(claim, snapshot, memory, observation, policy)
        case Expanded():
            return granting.record(claim, snapshot, memory, observation, policy)
        case Failed():
            return failing.record(claim, snapshot, memory, observation, policy)
        case FailureRecorded():
            return failing.settle(claim, snapshot, memory, observation, policy)
        case PendingRecorded():
            return granting.pend(claim, snapshot, memory, observation, policy)
        case FinishRecorded():
            return granting.finish(claim, snapshot, memory, observation, policy)
        case NodeAwaited():
            return granting.follow_node(claim, snapshot, memory, observation, policy)
        case _:  # pragma: no cover  # mypy proves it unreachable
            assert_never(observation)


def _start(claim: Claim, snapshot: Snapshot, memory: Memory, observation: Started, policy: Policy) -> Step:
    driver, volume = snapshot.driver, snapshot.volume
    if volume is not None and not observation.is_cleared and keeps_stale_annotation(claim, volume, driver=driver.name):
        return Step(RecordVolume(status.forget_pre_resize_capacity(volume), then=Started(is_cleared=True)), memory)
    if has_stale_labels(claim) and volume is not None and is_served(claim, volume, driver=driver.name):
        return Step(RecordClaim(status.forget_node_labels(claim), then=observation), memory)
    memory, notes = granting.notice_node(claim, snapshot, memory)
    obstacle = find_obstacle(claim, volume, driver=driver.name)
    if obstacle is not None or volume is None:
        # A wish taken back and made again must not forget how the last attempt ended.
        kept = Memory(attempt=memory.attempt) if obstacle == "no-growth-asked" else Memory()
        return Step(Settle("idle", reason=obstacle or ""), kept, (*notes, Leave()))
    aim = find_target(
        claim,
        volume,
        attempt=memory.attempt,
        controller_expansion=driver.controller_expansion,
    )
    if aim == "wait-for-node":
        step = granting.await_node(claim, snapshot, memory, policy)
        return replace(step, notes=(*notes, *step.notes))
    wait_s, reason = remaining_wait(claim, aim, snapshot, memory, policy)
    memory = _begin(claim, aim, snapshot, memory)
    notes = (*notes, noting.enter_controller(claim, memory, snapshot.now, waits_for=reason))
    if wait_s > 0:
        return Step(Settle("waiting", wait_s, reason), replace(memory, wish=wish_of(claim)), notes)
    step = _record_intent(claim, aim, snapshot, memory, policy)
    return replace(step, notes=(*notes, *step.notes))


def _begin(claim: Claim, aim: Target, snapshot: Snapshot, memory: Memory) -> Memory:
    """Note when this growth was first seen, unless it is the one already under way."""
    if memory.phase == "controller-resize" and memory.target_bytes == aim.size_bytes:
        return memory
    now = snapshot.now
    return replace(
        memory,
        phase="controller-resize",
        target_bytes=aim.size_bytes,
        from_bytes=claim.capacity_bytes,
        asked_wall_s=memory.asked_wall_s or noting.resizing_since(claim, now) or now.wall_s,
        granted_wall_s=0.0,
    )


def _record_intent(claim: Claim, target: Target, snapshot: Snapshot, memory: Memory, policy: Policy) -> Step:
    is_same = bool(claim.allocated) and claim.allocated_bytes == target.size_bytes
    state = claim.state if is_same else CONTROLLER_RESIZE_IN_PROGRESS
    then = IntentRecorded(target, state)
    body = status.record_intent(claim, target.text, is_same_target=is_same, now=format_time(snapshot.now.wall_s))
    if body:
        return Step(RecordClaim(body, then), memory)
    return _call(claim, snapshot, memory, then, policy)


def _call(claim: Claim, snapshot: Snapshot, memory: Memory, observation: IntentRecorded, policy: Policy) -> Step:
    """Check that the intent really stands in the claim, then call the driver for it."""
    target, volume = observation.target, snapshot.volume
    is_behind = claim.capacity_bytes < target.size_bytes
    if not claim.allocated or (observation.state and not claim.state and is_behind):
        return _give_up_on_cluster(claim, snapshot, memory)
    obstacle = find_obstacle(claim, volume, driver=snapshot.driver.name)
    if volume is None or obstacle is not None or claim.allocated_bytes != target.size_bytes:
        reason = obstacle or "the target was changed by somebody else"
        return restart(claim, snapshot, memory, policy, reason=reason)
    # What the node says from now on is about this target, though the answer to our next patch be lost.
    memory = replace(memory, node_failed=claim.has_condition(NODE_RESIZE_ERROR))
    said = Say("Normal", "Resizing", f"External resizer is resizing volume {volume.name}")
    memory, notes = noting.say_once(memory, snapshot.now, f"resizing/{target.size_bytes}", said)
    if memory.failures:
        notes = (*notes, Retry())
    if snapshot.driver.controller_expansion:
        # From here on the outcome is open, unless the call turns out not to have been made.
        memory = replace(memory, attempt="unknown", attempt_before=memory.attempt, wish=wish_of(claim))
        return Step(CallDriver(target, claim.capacity_bytes, claim.state), memory, notes)
    granted = Expanded(target, Expansion(target.size_bytes, node_expansion_required=True), claim.state)
    step = granting.record(claim, snapshot, memory, granted, policy)
    return replace(step, notes=(*notes, *step.notes))


def _give_up_on_cluster(claim: Claim, snapshot: Snapshot, memory: Memory) -> Step:
    """The API server does not know the recovery fields: no driver is called; an hour later it may be newer."""
    now = snapshot.now
    memory, notes = noting.say_once(memory, now, "unsupported", Say("Warning", "VolumeResizeFailed", UNSUPPORTED))
    memory = replace(
        memory,
        failure=Failure("unsupported-cluster", "unchanged", UNSUPPORTED),
        not_before_s=now.mono_s + UNSUPPORTED_RETRY_S,
        wish=wish_of(claim),
    )
    return Step(Settle("unsupported", UNSUPPORTED_RETRY_S, UNSUPPORTED), memory, notes)
