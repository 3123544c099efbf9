"""Which size a growth aims at. The table of DESIGN section 3, case by case.

S = requested, C = the claim's capacity, A = allocatedResources, T = its state, V = the volume's capacity.
The rule behind the table: an attempt whose outcome is unknown keeps its target until the outcome is known.
"""

from typing import Literal

from msgspec import Struct

from resizer.model.objects import (
    CONTROLLER_RESIZE_IN_PROGRESS,
    CONTROLLER_RESIZE_INFEASIBLE,
    FILE_SYSTEM_RESIZE_PENDING,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    NODE_RESIZE_PENDING,
    Claim,
    Volume,
)


class Target(Struct, frozen=True):
    """A size to ask the driver for, with its text as the API server knows it."""

    size_bytes: int
    text: str


Attempt = Literal["", "unknown", "failed"]
"""What this process knows of the last attempt at A: nothing, that its outcome is open, that it failed for good."""

Aim = Target | Literal["wait-for-node"]


def find_target(claim: Claim, volume: Volume, *, attempt: Attempt = "", controller_expansion: bool = True) -> Aim:
    """Return the size to aim at, or that the node has to act first.

    `attempt`: what this process knows of the last attempt at A; "" after a restart.
    `controller_expansion`: whether the driver grows volumes by a controller call at all.
    """
    asked = Target(claim.requested_bytes, claim.requested)
    # An A below what the claim already has is nonsense (written by hand): nothing may ask for less than C.
    has_allocated = bool(claim.allocated) and claim.allocated_bytes >= claim.capacity_bytes
    recorded = Target(claim.allocated_bytes, claim.allocated) if has_allocated else None
    if volume.capacity_bytes < asked.size_bytes:
        return _aim_below_request(claim, volume, asked, recorded, attempt=attempt)
    return _aim_at_grown_volume(claim, asked, recorded, controller_expansion=controller_expansion)


def _aim_below_request(
    claim: Claim, volume: Volume, asked: Target, recorded: Target | None, *, attempt: Attempt
) -> Aim:
    """V < S: the back-end has to grow, once what was begun before has ended."""
    match claim.state:
        case s if s in (NODE_RESIZE_PENDING, NODE_RESIZE_IN_PROGRESS):
            # (1) The node still owes the last growth; if the volume has it already, let the node finish.
            # That holds for a nonsensical A, too: nothing has to be asked for it.
            owed_bytes = claim.allocated_bytes if claim.allocated else asked.size_bytes
            return "wait-for-node" if volume.capacity_bytes >= owed_bytes else recorded or asked
        case s if s == NODE_RESIZE_INFEASIBLE:
            # (2) The node refused A: confirm A with the controller before anything larger.
            return recorded or asked
        case s if s == CONTROLLER_RESIZE_IN_PROGRESS:
            # (3) Unknown outcome: A stands. Known failure: the user's present wish counts.
            return asked if attempt == "failed" else (recorded or asked)
        case _:
            # (4) Infeasible before, or nothing begun: the present wish, unless A was tried again and may be under way.
            return recorded if recorded and attempt == "unknown" else asked


def _aim_at_grown_volume(claim: Claim, asked: Target, recorded: Target | None, *, controller_expansion: bool) -> Aim:
    """V >= S: the back-end has grown; the records or the node are behind."""
    match claim.state:
        case s if s in (NODE_RESIZE_PENDING, NODE_RESIZE_IN_PROGRESS):
            # (5) Nothing for the controller to do.
            return "wait-for-node"
        case s if s == NODE_RESIZE_INFEASIBLE:
            # (6) Confirm A with the controller, so that the node may safely try again.
            return recorded if recorded and controller_expansion else asked
        case s if s in (CONTROLLER_RESIZE_IN_PROGRESS, CONTROLLER_RESIZE_INFEASIBLE):
            # (7) A crash before the records were written, or a wish made smaller afterwards: finish A.
            return recorded or asked
        case _:
            # (8) No state: resume A; without A, an old API server's pending condition means the node is at it.
            if recorded:
                return recorded
            return "wait-for-node" if claim.has_condition(FILE_SYSTEM_RESIZE_PENDING) else asked
