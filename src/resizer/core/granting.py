"""The succeeding half of the machine: steps 3 and 4, and the node's turn.

In: a driver's grant, or the news that a step is durable. Each function looks at what stands in the API server first
and asks only for what is still missing there, so that it may be run again after a conflict, a lost answer or a crash.
"""

from typing import Final

from msgspec.structs import replace

from resizer.core import noting, status
from resizer.core.eligibility import find_obstacle
from resizer.core.failing import record as record_failure
from resizer.core.node_label import NODES_TURN
from resizer.core.node_wait import find_delay
from resizer.core.restarting import restart
from resizer.core.state import (
    AwaitNode,
    Enter,
    Expanded,
    Failed,
    FinishRecorded,
    Leave,
    Memory,
    NodeAwaited,
    NodeFailed,
    Note,
    PendingRecorded,
    Policy,
    RecordClaim,
    RecordVolume,
    Say,
    Settle,
    Snapshot,
    Step,
    Users,
)
from resizer.core.verdict import short_answer
from resizer.core.wish import NO_WISH, wish_of
from resizer.model.objects import (
    FILE_SYSTEM_RESIZE_PENDING,
    NODE_RESIZE_ERROR,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    Claim,
    Volume,
)
from resizer.model.quantity import format_bytes
from resizer.model.timestamp import format_time

SOONEST_S: Final = 1.0
"""However short the node's time, what keeps it is looked into no more often than this."""


def record(claim: Claim, snapshot: Snapshot, memory: Memory, observation: Expanded, policy: Policy) -> Step:
    """Steps 3 and 4: the volume's capacity, then the claim; each only if it does not stand there yet.

    A claim in its node's state whose volume had less is the controller's first (step 1 again).
    """
    target, expansion, volume = observation.target, observation.expansion, snapshot.volume
    if expansion.capacity_bytes < target.size_bytes:
        failure = short_answer(target.size_bytes, expansion.capacity_bytes)
        return record_failure(claim, snapshot, memory, Failed(target, failure), policy)
    obstacle = find_obstacle(claim, volume, driver=snapshot.driver.name)
    if volume is None or obstacle in ("volume-of-another-claim", "driver-not-served", "not-bound"):
        return restart(claim, snapshot, memory, policy, reason="the volume is no longer this claim's")
    if claim.allocated_bytes != target.size_bytes:
        # Somebody else acted in our place: what they recorded since is newer than this answer.
        return restart(claim, snapshot, memory, policy, reason="the target was changed by somebody else")
    body = _volume_body(claim, volume, snapshot, observation)
    if body and claim.state in NODES_TURN and volume.capacity_bytes < target.size_bytes:
        # Once the volume has the size, a process that begins anew would leave the rest to the node.
        return Step(RecordClaim(status.record_under_way(claim), then=observation), memory)
    if body:
        return Step(RecordVolume(body, then=observation), memory)
    if expansion.node_expansion_required:
        return _record_pending(claim, snapshot, memory, observation, policy)
    progress = bool(observation.state) or expansion.capacity_bytes > memory.from_bytes
    finished = FinishRecorded(target, expansion.capacity_bytes, is_progress=progress)
    body = status.record_finished(claim, format_bytes(expansion.capacity_bytes))
    return Step(RecordClaim(body, finished), memory) if body else finish(claim, snapshot, memory, finished, policy)


def _volume_body(claim: Claim, volume: Volume, snapshot: Snapshot, observation: Expanded) -> status.JsonObject:
    granted_bytes = observation.expansion.capacity_bytes
    needs_node = observation.expansion.node_expansion_required and claim.capacity_bytes < granted_bytes
    # A driver with node expansion only has granted nothing: the volume takes the wish as it was written.
    by_controller = snapshot.driver.controller_expansion
    return status.record_volume_size(
        volume,
        format_bytes(granted_bytes) if by_controller else observation.target.text,
        pre_resize_capacity=(claim.capacity or "0") if needs_node else "",
        same_size=volume.capacity_bytes == granted_bytes,
    )


def _record_pending(claim: Claim, snapshot: Snapshot, memory: Memory, observation: Expanded, policy: Policy) -> Step:
    target = observation.target
    pending = PendingRecorded(target, is_verified=observation.state == NODE_RESIZE_INFEASIBLE)
    node_began = claim.state == NODE_RESIZE_IN_PROGRESS
    has_grown = claim.capacity_bytes > memory.from_bytes and claim.capacity_bytes >= target.size_bytes
    node_ended = has_grown and not claim.state
    if node_began or node_ended:
        # Our patch arrived although its answer did not, and the node has moved on since.
        return pend(claim, snapshot, memory, pending, policy)
    body = status.record_node_pending(claim, now=format_time(snapshot.now.wall_s))
    return Step(RecordClaim(body, pending), memory) if body else pend(claim, snapshot, memory, pending, policy)


def pend(claim: Claim, snapshot: Snapshot, memory: Memory, observation: PendingRecorded, policy: Policy) -> Step:
    """The node has been told: say so, and follow it."""
    target = observation.target
    memory = replace(
        _forget_failures(memory),
        phase="node-resize",
        target_bytes=target.size_bytes,
        granted_wall_s=snapshot.now.wall_s,
        node_verified_s=snapshot.now.mono_s if observation.is_verified else None,
        wish=wish_of(claim) if observation.is_verified else NO_WISH,
    )
    said = Say("Normal", "FileSystemResizeRequired", "Require file system resize of volume on node")
    memory, notes = noting.say_once(memory, snapshot.now, f"node/{target.size_bytes}", said)
    if claim.capacity_bytes >= target.size_bytes and not claim.state:
        step = restart(claim, snapshot, memory, policy, reason="the node was faster")
        finished = noting.finish(memory, snapshot.now, grown_to=claim.capacity_bytes)
        # Counted here: the next look begins with nothing to remember.
        return Step(step.effect, Memory(restarts=step.memory.restarts), (*notes, finished, Leave()))
    step = await_node(claim, snapshot, memory, policy)
    return replace(step, notes=(*notes, *step.notes))


def await_node(claim: Claim, snapshot: Snapshot, memory: Memory, policy: Policy) -> Step:
    """Have the node stage follow the claim."""
    now = snapshot.now
    # Conditions carry whole seconds; what this process saw itself is exact.
    since_s = memory.granted_wall_s if memory.phase == "node-resize" else 0.0
    since_s = since_s or noting.true_since(claim, FILE_SYSTEM_RESIZE_PENDING, now) or now.wall_s
    late_after_s = since_s + policy.node_timeout_s - now.wall_s
    # Once the node is late the class of the metric says why, and stays until that has been found out again.
    entered = () if late_after_s <= 0 and memory.phase == "node-resize" else (Enter("node-resize", "", since_s),)
    if memory.phase != "node-resize":
        memory = replace(
            memory,
            phase="node-resize",
            target_bytes=claim.allocated_bytes or claim.requested_bytes,
            from_bytes=claim.capacity_bytes,
            asked_wall_s=memory.asked_wall_s or noting.resizing_since(claim, now) or since_s,
            granted_wall_s=since_s,
            node_failed=claim.has_condition(NODE_RESIZE_ERROR),
        )
    effect = AwaitNode(since_s, is_begun=claim.state == NODE_RESIZE_IN_PROGRESS, late_after_s=late_after_s)
    return Step(effect, memory, entered)


def follow_node(claim: Claim, snapshot: Snapshot, memory: Memory, observation: NodeAwaited, policy: Policy) -> Step:
    """Put the claim down until there is something to do for its node; say what keeps a node that is late.

    A node that something known has kept (no pod, say) has its whole time again once that is mended.
    """
    facts, volume, now = observation.facts, snapshot.volume, snapshot.now
    is_nodes_turn = claim.state in NODES_TURN or claim.has_condition(FILE_SYSTEM_RESIZE_PENDING)
    if facts is None or volume is None or not is_nodes_turn:
        return Step(Settle("waiting-for-node", observation.check_after_s), memory)
    delay = find_delay(claim, facts, volume_mode=volume.volume_mode)
    again_s = max(SOONEST_S, policy.node_timeout_s)
    check_after_s = again_s if observation.check_after_s is None else min(again_s, observation.check_after_s)
    if delay.cause != "slow":
        memory = replace(memory, excused_s=now.mono_s)
    elif memory.excused_s is not None and now.mono_s - memory.excused_s < policy.node_timeout_s:
        entered = Enter("node-resize", "", memory.granted_wall_s)
        return Step(Settle("waiting-for-node", check_after_s), memory, (entered,))
    # Nobody uses it: the filesystem grows when somebody does, and nothing is wrong until then.
    say = Say("Normal" if delay.cause == "no-pod" else "Warning", "NodeResizeDelayed", delay.message)
    cause = f"node-delay/{delay.cause}"
    memory, notes = noting.say_once(memory, now, cause, say, repeat_s=policy.repeat_event_s)
    entered = Enter("node-resize", delay.cause, memory.granted_wall_s)
    settle = Settle("waiting-for-node", check_after_s, delay.message, is_news=bool(notes))
    return Step(settle, memory, (entered, *notes))


def notice_node(claim: Claim, snapshot: Snapshot, memory: Memory) -> tuple[Memory, tuple[Note, ...]]:
    """What the node has done of which this process was waiting: count a growth and begin afresh; count a failure once.

    A node that tries again leaves its error where it is: it is counted when it appears. A refusal ends the node's turn
    in this very look, and so is seen once. What stood there before this process did is not counted again.
    """
    if memory.phase != "node-resize":
        return memory, ()
    if claim.capacity_bytes >= memory.target_bytes and not claim.state:
        # Left even if more is asked for already: that is another growth, and its node has not been asked yet.
        return Memory(), (noting.finish(memory, snapshot.now, grown_to=claim.capacity_bytes), Leave())
    has_error = claim.has_condition(NODE_RESIZE_ERROR)
    is_news = claim.state == NODE_RESIZE_INFEASIBLE or (has_error and not memory.node_failed)
    return replace(memory, node_failed=has_error), (NodeFailed(),) if is_news else ()


def finish(claim: Claim, snapshot: Snapshot, memory: Memory, observation: FinishRecorded, policy: Policy) -> Step:
    """No node has to act: the growth is over."""
    notes = (
        Say("Normal", "VolumeResizeSuccessful", "Resize volume succeeded"),
        noting.finish(memory, snapshot.now, grown_to=observation.capacity_bytes),
        Leave(),
    )
    # A finish that moved neither size nor state (records written by hand) could follow itself for ever: the next
    # resync goes on from there, as the peer does.
    if claim.requested_bytes > claim.capacity_bytes and observation.is_progress:
        step = restart(claim, snapshot, memory, policy, reason="more was asked for meanwhile")
        return Step(step.effect, Memory(restarts=step.memory.restarts), notes)
    return Step(Settle("finished"), Memory(), notes)


def _forget_failures(memory: Memory) -> Memory:
    return replace(
        memory,
        failures=0,
        repeats=0,
        failure=None,
        attempt="",
        attempt_before="",
        not_before_s=0.0,
        blockers=Users(),
    )
