"""Timestamps, and what is said and counted: each cause once, repeated hourly while it lasts."""

from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from resizer.core.state import Enter, Finish, Instant, Memory, Note, Say
from resizer.model.objects import RESIZING, Claim

REMEMBERED_CAUSES: Final = 8


def timestamp(now: Instant) -> str:
    """Write the wall clock as Kubernetes does, in whole seconds."""
    return datetime.fromtimestamp(now.wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """Read a Kubernetes timestamp as Unix seconds; 0 for none or nonsense."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except (ValueError, OverflowError):
        return 0.0


def resizing_since(claim: Claim) -> float:
    """Since when the claim has been resizing by its own word, Unix seconds; 0 when it does not say."""
    condition = claim.condition(RESIZING)
    return seconds_of(condition.last_transition_time) if condition and condition.status == "True" else 0.0


def enter_controller(claim: Claim, memory: Memory) -> Enter:
    """The claim is in the controller's hands."""
    class_ = memory.failure.class_ if memory.failure else ""
    return Enter("controller-resize", class_, memory.asked_wall_s or resizing_since(claim))


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


def say_once(
    memory: Memory, now: Instant, cause: str, say: Say, *, repeat_s: float | None = None
) -> tuple[Memory, tuple[Note, ...]]:
    """Say it unless this cause was said before (`repeat_s`: unless within that time, in seconds)."""
    last = next((at for known, at in memory.said if known == cause), None)
    if last is not None and (repeat_s is None or now.mono_s - last < repeat_s):
        return memory, ()
    others = tuple(entry for entry in memory.said if entry[0] != cause)
    kept = (*others, (cause, now.mono_s))[-REMEMBERED_CAUSES:]
    return replace(memory, said=kept), (say,)
