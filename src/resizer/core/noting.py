"""What is said and counted: each cause once, repeated hourly while it lasts."""

from typing import Final

from msgspec.structs import replace

from resizer.core.state import Enter, Finish, Instant, Memory, Note, Say
from resizer.model.objects import RESIZING, Claim
from resizer.model.timestamp import parse_time

REMEMBERED_CAUSES: Final = 24


def true_since(claim: Claim, type_: str, now: Instant | None = None) -> float:
    """Since when this condition is True by the claim's own word, Unix seconds, never later than `now`; 0 if not."""
    condition = claim.condition(type_)
    if condition is None or condition.status != "True":
        return 0.0
    since_s = max(0.0, parse_time(condition.last_transition_time))
    return since_s if now is None else min(since_s, now.wall_s)


def resizing_since(claim: Claim, now: Instant | None = None) -> float:
    """Since when the claim has been resizing by its own word, Unix seconds; 0 when it does not say."""
    return true_since(claim, RESIZING, now)


def enter_controller(claim: Claim, memory: Memory, now: Instant, *, waits_for: str = "") -> Enter:
    """The claim is in the controller's hands. `waits_for`: what it waits for by its own word.

    A process that has not seen the failure needs that: a claim that its provider lets wait is not one that nobody has
    answered.
    """
    class_ = memory.failure.class_ if memory.failure else waits_for
    return Enter("controller-resize", class_, memory.asked_wall_s or resizing_since(claim, now))


def finish(memory: Memory, now: Instant, *, grown_to: int) -> Finish:
    """A growth succeeded: its durations by phase, and by how much it grew."""
    asked_s = memory.asked_wall_s or now.wall_s
    durations = {"total": max(0.0, now.wall_s - asked_s)}
    if memory.granted_wall_s:
        durations["controller-resize"] = max(0.0, memory.granted_wall_s - asked_s)
        durations["node-resize"] = max(0.0, now.wall_s - memory.granted_wall_s)
    else:
        durations["controller-resize"] = durations["total"]
    grown = max(0, grown_to - memory.from_bytes) if memory.from_bytes else 0
    return Finish("success", "", durations, grown)


def is_due(memory: Memory, now: Instant, cause: str, *, repeat_s: float | None = None) -> bool:
    """Whether this cause is news: never said before, or nothing of its kind said for `repeat_s` seconds.

    The kind is the cause's first part. A driver that fails in a new way each time is so heard once for each way and
    then once in `repeat_s`, not at every turn.
    """
    if all(known != cause for known, _ in memory.said):
        return True
    kind = cause.partition("/")[0]
    last_s = max(at for known, at in memory.said if known.partition("/")[0] == kind)
    return repeat_s is not None and now.mono_s - last_s >= repeat_s


def say_once(
    memory: Memory, now: Instant, cause: str, say: Say, *, repeat_s: float | None = None
) -> tuple[Memory, tuple[Note, ...]]:
    """Say it if it is news (`is_due`), and remember that it was said."""
    if not is_due(memory, now, cause, repeat_s=repeat_s):
        return memory, ()
    others = tuple(entry for entry in memory.said if entry[0] != cause)
    kept = (*others, (cause, now.mono_s))[-REMEMBERED_CAUSES:]
    return replace(memory, said=kept), (say,)
