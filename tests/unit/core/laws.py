"""What has to hold in every state, by the numbers of section 5 of the design."""

from resizer.core.state import (
    CallDriver,
    Finish,
    Memory,
    Say,
    Step,
)
from resizer.model.objects import (
    CONTROLLER_RESIZE_ERROR,
    FILE_SYSTEM_RESIZE_PENDING,
    NODE_RESIZE_INFEASIBLE,
)
from tests.unit.core.world import AT_WORK, AWAY, CURRENT, BrokenLawError, Process, World


def check_call(world: World, call: CallDriver) -> None:
    """Laws 1 and 2, at the moment of a call and on the server's own records."""
    target = call.target.size_bytes
    if world.claim.allocated_bytes != target:
        raise BrokenLawError("law 1: the driver is called for a target that the claim does not record")
    if target < world.claim.capacity_bytes:
        raise BrokenLawError("law 2: less is asked for than the claim has")
    if world.unknown not in (0, target):
        raise BrokenLawError("law 2: another target is asked for while the outcome of the last attempt is unknown")


def check_truth(world: World, step: Step) -> None:
    """Law 6: what is said to have happened is durable."""
    for note in step.notes:
        grown = world.claim.capacity_bytes >= step.memory.target_bytes
        if isinstance(note, Finish) and not grown:
            raise BrokenLawError("law 6: a growth is counted that is not durable")
        if isinstance(note, Say) and note.reason == "VolumeResizeSuccessful" and not grown:
            raise BrokenLawError("law 6: a success is announced that is not durable")
        if isinstance(note, Say) and note.reason == "FileSystemResizeRequired":
            told = world.claim.state in (*AT_WORK, NODE_RESIZE_INFEASIBLE)
            if not told and not (grown or world.claim.has_condition(FILE_SYSTEM_RESIZE_PENDING)):
                raise BrokenLawError("law 6: the node is announced before it was told")


def is_settled(process: Process) -> bool:
    """Whether the process rests, knows all there is to know, and has nothing to take up again."""
    return (
        process.at is None
        and not process.dirty
        and process.resume is None
        and process.timer not in ("now", AWAY)
        and process.claim.version == CURRENT
        and process.volume.version == CURRENT
    )


def check_rest(world: World) -> None:
    """A claim that wants more and rests says why, and somebody is to act next: the node, or a timer."""
    process = world.process
    if process is None or not world.is_sound or not is_settled(process) or process.memory == Memory():
        return
    claim = world.claim
    if claim.requested_bytes <= claim.capacity_bytes:
        return
    if not claim.conditions and not claim.state:
        raise BrokenLawError("a claim rests without an explanation")
    if process.memory.attempt == "failed" and not claim.has_condition(CONTROLLER_RESIZE_ERROR):
        raise BrokenLawError("an attempt failed for good, and the claim does not say so")
    if process.timer == "none" and claim.state not in AT_WORK:
        raise BrokenLawError("a claim rests, and nobody will ever look at it again")
