"""The state machine of one resize: from what is known now to the one thing to do next.

`advance` is a pure function that the claim loop calls until it says `Settle`. Nothing is kept between calls but
the `Memory` it returns, and nothing depends on it for safety: a new process with an empty memory, reading only
what stands in the API server, ends in the same final state. The durable steps and their order are those of
DESIGN section 3:

    Started -> (1) intent in the claim -> IntentRecorded -> (2) driver -> Expanded
            -> (3) volume's capacity  -> Expanded        -> (4) claim: node pending -> PendingRecorded -> AwaitNode
                                                         or (4) claim: finished     -> FinishRecorded  -> Settle

After a version conflict the same observation is decided again on what is then read; every handler below
therefore looks at the snapshot first and asks only for what is still missing.
"""

from typing import Final, assert_never

from msgspec.structs import replace

from resizer.core import failing, noting, status
from resizer.core.eligibility import find_obstacle, keeps_stale_annotation
from resizer.core.pacing import read_wait
from resizer.core.state import (
    AwaitNode,
    CallDriver,
    Effect,
    Enter,
    Expanded,
    Failed,
    FailureRecorded,
    Finish,
    FinishRecorded,
    IntentRecorded,
    Leave,
    Memory,
    NodeAwaited,
    Note,
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
from resizer.core.verdict import short_answer
from resizer.model.driver import Expansion
from resizer.model.objects import (
    CONTROLLER_RESIZE_IN_PROGRESS,
    FILE_SYSTEM_RESIZE_PENDING,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    Claim,
    Volume,
)
from resizer.model.quantity import format_bytes

UNSUPPORTED: Final = (
    "the API server dropped allocatedResources from the claim's status: Resizer needs Kubernetes 1.32 or newer "
    "(feature gate RecoverVolumeExpansionFailure on); the driver was not called"
)


def advance(snapshot: Snapshot, memory: Memory, observation: Observation, policy: Policy) -> Step:
    """Decide the next step of one claim. Pure: the same arguments always give the same step."""
    claim = snapshot.claim
    if claim is None:
        return Step(Settle("idle", reason="the claim is gone"), Memory(), (Leave(),))
    match observation:
        case Started():
            return _start(claim, snapshot, memory, policy)
        case IntentRecorded():
            return _call(claim, snapshot, memory, observation)
        case Expanded():
            return _record_expansion(claim, snapshot, memory, observation, policy)
        case Failed():
            return failing.record(claim, snapshot, memory, observation, policy)
        case FailureRecorded():
            return failing.settle(claim, snapshot, memory, observation, policy)
        case PendingRecorded():
            return _pend(claim, snapshot, memory, observation)
        case FinishRecorded():
            return _finish(claim, snapshot, memory, observation)
        case NodeAwaited():
            return Step(Settle("waiting-for-node", observation.check_after_s), memory)
        case _:
            assert_never(observation)


def _start(claim: Claim, snapshot: Snapshot, memory: Memory, policy: Policy) -> Step:
    driver = snapshot.driver
    volume = snapshot.volume
    if volume is not None and keeps_stale_annotation(claim, volume, driver=driver.name):
        return Step(RecordVolume(status.forget_pre_resize_capacity(volume), then=Started()), memory)
    memory, notes = _notice_node_success(claim, snapshot, memory)
    obstacle = find_obstacle(claim, volume, driver=driver.name)
    if obstacle is not None or volume is None:
        return Step(Settle("idle", reason=obstacle or ""), Memory(), (*notes, Leave()))
    aim = find_target(
        claim,
        volume,
        failed_for_good=memory.failed_for_good,
        controller_expansion=driver.controller_expansion,
    )
    if aim == "wait-for-node":
        step = _await_node(claim, snapshot, memory)
        return replace(step, notes=(*notes, *step.notes))
    wait_s, reason = _remaining_wait(claim, aim, snapshot, memory, policy)
    memory = _begin(claim, aim, snapshot, memory)
    notes = (*notes, noting.enter_controller(claim, memory))
    if wait_s > 0:
        return Step(Settle("waiting", wait_s, reason), memory, notes)
    step = _record_intent(claim, aim, snapshot, memory)
    return replace(step, notes=(*notes, *step.notes))


def _notice_node_success(claim: Claim, snapshot: Snapshot, memory: Memory) -> tuple[Memory, tuple[Note, ...]]:
    """The node has finished what this process was waiting for: count it, and begin afresh."""
    if memory.phase != "node-resize" or claim.capacity_bytes < memory.target_bytes or claim.state:
        return memory, ()
    return Memory(), (noting.finish(memory, snapshot.now, grown_to=claim.capacity_bytes),)


def _begin(claim: Claim, aim: Target, snapshot: Snapshot, memory: Memory) -> Memory:
    """Note when this growth was first seen, unless it is the one already under way."""
    if memory.phase == "controller-resize" and memory.target_bytes == aim.size_bytes:
        return memory
    return replace(
        memory,
        phase="controller-resize",
        target_bytes=aim.size_bytes,
        from_bytes=claim.capacity_bytes,
        asked_wall_s=memory.asked_wall_s or noting.resizing_since(claim) or snapshot.now.wall_s,
        granted_wall_s=0.0,
    )


def _remaining_wait(claim: Claim, aim: Target, snapshot: Snapshot, memory: Memory, policy: Policy) -> tuple[float, str]:
    """Seconds this target still has to wait, and for what; 0 when it may go now."""
    now = snapshot.now
    if claim.state == NODE_RESIZE_INFEASIBLE and memory.node_verified_s is not None:
        # A node's refusal is verified at once the first time, then once per slow window.
        left_s = memory.node_verified_s + policy.limits.retry_max_s - now.mono_s
        if left_s > 0 and memory.wish in ((0, ""), _wish(claim)):
            return left_s, "node-infeasible"
    if memory.failure is None:
        remembered = read_wait(claim.retry, target=aim.text, now_s=now.wall_s)
        return (remembered.not_before_s - now.wall_s, remembered.class_) if remembered else (0.0, "")
    if memory.wish != _wish(claim) or failing.is_released(memory, snapshot.users):
        return 0.0, ""
    return max(0.0, memory.not_before_s - now.mono_s), memory.failure.class_


def _wish(claim: Claim) -> tuple[int, str]:
    return claim.requested_bytes, claim.storage_resizer


def _record_intent(claim: Claim, target: Target, snapshot: Snapshot, memory: Memory) -> Step:
    is_same = bool(claim.allocated) and claim.allocated_bytes == target.size_bytes
    state = claim.state if is_same else CONTROLLER_RESIZE_IN_PROGRESS
    then = IntentRecorded(target, state)
    body = status.record_intent(claim, target.text, is_same_target=is_same, now=noting.timestamp(snapshot.now))
    if body:
        return Step(RecordClaim(body, then), memory)
    return _call(claim, snapshot, memory, then)


def _call(claim: Claim, snapshot: Snapshot, memory: Memory, observation: IntentRecorded) -> Step:
    """Check that the intent really stands in the claim, then call the driver for it."""
    target, volume = observation.target, snapshot.volume
    if not claim.allocated or (observation.state and not claim.state):
        memory, notes = noting.say_once(
            memory, snapshot.now, "unsupported", Say("Warning", "VolumeResizeFailed", UNSUPPORTED)
        )
        return Step(Settle("unsupported", reason=UNSUPPORTED), memory, notes)
    obstacle = find_obstacle(claim, volume, driver=snapshot.driver.name)
    if volume is None or obstacle is not None or claim.allocated_bytes != target.size_bytes:
        return Step(Settle("restart", 0.0, reason=obstacle or "the target was changed by somebody else"), memory)
    said = Say("Normal", "Resizing", f"External resizer is resizing volume {volume.name}")
    memory, notes = noting.say_once(memory, snapshot.now, f"resizing/{target.size_bytes}", said)
    if memory.failures:
        notes = (*notes, Retry())
    if snapshot.driver.controller_expansion:
        return Step(CallDriver(target, claim.capacity_bytes, claim.state), memory, notes)
    granted = Expanded(target, Expansion(target.size_bytes, node_expansion_required=True), claim.state)
    step = _record_expansion(claim, snapshot, memory, granted, Policy())
    return replace(step, notes=(*notes, *step.notes))


def _record_expansion(claim: Claim, snapshot: Snapshot, memory: Memory, observation: Expanded, policy: Policy) -> Step:
    """Steps 3 and 4: the volume's capacity, then the claim; each only if it does not stand there yet."""
    target, expansion, volume = observation.target, observation.expansion, snapshot.volume
    if expansion.capacity_bytes < target.size_bytes:
        failure = short_answer(target.size_bytes, expansion.capacity_bytes)
        return failing.record(claim, snapshot, memory, Failed(target, failure), policy)
    if volume is None or find_obstacle(claim, volume, driver=snapshot.driver.name) in (
        "volume-of-another-claim",
        "driver-not-served",
        "not-bound",
    ):
        return Step(Settle("restart", 0.0, reason="the volume is no longer this claim's"), memory)
    body = _volume_body(claim, volume, snapshot, observation)
    if body:
        return Step(RecordVolume(body, then=observation), memory)
    effect, then = _claim_body(claim, snapshot, memory, observation)
    return Step(effect, memory) if effect else advance(snapshot, memory, then, policy)


def _volume_body(claim: Claim, volume: Volume, snapshot: Snapshot, observation: Expanded) -> status.JsonObject:
    granted_bytes = observation.expansion.capacity_bytes
    needs_node = observation.expansion.node_expansion_required and claim.capacity_bytes < granted_bytes
    # A driver with node expansion only has granted nothing: the volume takes the wish as it was written.
    by_controller = snapshot.driver.controller_expansion
    return status.record_volume_size(
        volume,
        format_bytes(granted_bytes) if by_controller else observation.target.text,
        pre_resize_capacity=claim.capacity if needs_node else "",
        same_size=volume.capacity_bytes == granted_bytes,
    )


def _claim_body(
    claim: Claim, snapshot: Snapshot, memory: Memory, observation: Expanded
) -> tuple[Effect | None, Observation]:
    target, expansion = observation.target, observation.expansion
    if not expansion.node_expansion_required:
        progress = bool(observation.state) or expansion.capacity_bytes > memory.from_bytes
        finished = FinishRecorded(target, expansion.capacity_bytes, is_progress=progress)
        body = status.record_finished(claim, format_bytes(expansion.capacity_bytes))
        return (RecordClaim(body, finished) if body else None), finished
    pending = PendingRecorded(target)
    node_began = claim.state == NODE_RESIZE_IN_PROGRESS and observation.state != NODE_RESIZE_IN_PROGRESS
    node_ended = memory.from_bytes < target.size_bytes <= claim.capacity_bytes and not claim.state
    if node_began or node_ended:
        # Our patch arrived although its answer did not, and the node has moved on since.
        return None, pending
    body = status.record_node_pending(claim, now=noting.timestamp(snapshot.now))
    return (RecordClaim(body, pending) if body else None), pending


def _pend(claim: Claim, snapshot: Snapshot, memory: Memory, observation: PendingRecorded) -> Step:
    was_infeasible = memory.node_verified_s is not None or claim.has_condition("NodeResizeError")
    memory = replace(
        _forget_failures(memory),
        phase="node-resize",
        target_bytes=observation.target.size_bytes,
        granted_wall_s=snapshot.now.wall_s,
        node_verified_s=snapshot.now.mono_s if was_infeasible else None,
        wish=_wish(claim) if was_infeasible else (0, ""),
    )
    said = Say("Normal", "FileSystemResizeRequired", "Require file system resize of volume on node")
    memory, notes = noting.say_once(memory, snapshot.now, f"node/{observation.target.size_bytes}", said)
    if claim.capacity_bytes >= observation.target.size_bytes and not claim.state:
        memory, finished = _notice_node_success(claim, snapshot, memory)
        return Step(Settle("restart", 0.0, reason="the node was faster"), memory, (*notes, *finished, Leave()))
    step = _await_node(claim, snapshot, memory)
    return replace(step, notes=(*notes, *step.notes))


def _await_node(claim: Claim, snapshot: Snapshot, memory: Memory) -> Step:
    now = snapshot.now
    # Conditions carry whole seconds; what this process saw itself is exact.
    pending = claim.condition(FILE_SYSTEM_RESIZE_PENDING)
    since_s = memory.granted_wall_s if memory.phase == "node-resize" else 0.0
    since_s = since_s or noting.seconds_of(pending.last_transition_time if pending else "") or now.wall_s
    if memory.phase != "node-resize":
        memory = replace(
            memory,
            phase="node-resize",
            target_bytes=claim.allocated_bytes or claim.requested_bytes,
            from_bytes=claim.capacity_bytes,
            asked_wall_s=memory.asked_wall_s or noting.resizing_since(claim) or since_s,
            granted_wall_s=since_s,
        )
    effect = AwaitNode(since_s, is_begun=claim.state == NODE_RESIZE_IN_PROGRESS)
    return Step(effect, memory, (Enter("node-resize", "", since_s),))


def _finish(claim: Claim, snapshot: Snapshot, memory: Memory, observation: FinishRecorded) -> Step:
    said = Say("Normal", "VolumeResizeSuccessful", "Resize volume succeeded")
    finish: Finish = noting.finish(memory, snapshot.now, grown_to=observation.capacity_bytes)
    # A finish that moved neither size nor state (records written by hand) could follow itself for ever: the next
    # resync goes on from there, as the peer does.
    wants_more = claim.requested_bytes > claim.capacity_bytes and observation.is_progress
    outcome = Settle("restart", 0.0, "more was asked for meanwhile") if wants_more else Settle("finished")
    return Step(outcome, Memory(), (said, finish, Leave()))


def _forget_failures(memory: Memory) -> Memory:
    return replace(
        memory, failures=0, failure=None, failed_for_good=False, not_before_s=0.0, blockers=Memory().blockers
    )
