"""Whether a target may be asked for now, or how long it still waits, and for what.

A back-off is jumped by a change of the wish (spec or `storage-resizer`), or by the event that the failure's class
names; nothing else shortens it. What a new process does not remember it reads from the retry annotation.
"""

from msgspec.structs import replace

from resizer.core.failing import is_released
from resizer.core.pacing import read_wait
from resizer.core.state import Memory, Policy, Snapshot
from resizer.core.target import Target
from resizer.core.wish import NO_WISH, wish_of
from resizer.model.objects import NODE_RESIZE_INFEASIBLE, Claim


def remaining_wait(claim: Claim, aim: Target, snapshot: Snapshot, memory: Memory, policy: Policy) -> tuple[float, str]:
    """Seconds this target still has to wait, and for what; 0 when it may go now."""
    now = snapshot.now
    if memory.wish not in (NO_WISH, wish_of(claim)) or is_released(memory, snapshot.users):
        return 0.0, ""
    if claim.state == NODE_RESIZE_INFEASIBLE and memory.node_verified_s is not None:
        # A node's refusal is verified at once the first time, then once per slow window.
        left_s = memory.node_verified_s + policy.limits.retry_max_s - now.mono_s
        if left_s > 0:
            return left_s, "node-infeasible"
    if memory.failure is not None:
        return max(0.0, memory.not_before_s - now.mono_s), memory.failure.class_
    remembered = read_wait(claim.retry, target=aim.text, now_s=now.wall_s)
    return (remembered.not_before_s - now.wall_s, remembered.class_) if remembered else (0.0, "")


def end_wait_for_driver(memory: Memory) -> Memory:
    """The driver is connected again: what was turned away while it was down has nothing to wait for any more.

    Told by the time that was named with it: a claim that was not called for another reason (its secret, its access
    modes) keeps its back-off, and so does one that was called.
    """
    failure = memory.failure
    if failure is None or failure.class_ != "not-called" or not failure.retry_after_s:
        return memory
    return replace(memory, not_before_s=0.0)
