"""How far a growth is: one row of `status` a claim, and whether waiting for it is over.

Read from claim and volume alone, with the controller's own decisions, so that it is right whoever the controller is.
"""

from typing import Final, Literal

from msgspec import Struct

from resizer.core.noting import resizing_since
from resizer.core.target import find_target
from resizer.explain.facts import SHOWN, Facts
from resizer.explain.failure import count_failures, find_failure
from resizer.model.objects import (
    CONTROLLER_RESIZE_IN_PROGRESS,
    CONTROLLER_RESIZE_INFEASIBLE,
    FILE_SYSTEM_RESIZE_PENDING,
    NODE_RESIZE_ERROR,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    NODE_RESIZE_PENDING,
    Claim,
    Volume,
)
from resizer.model.text import printable

Phase = Literal["Done", "Asked", "Controller", "ControllerRefused", "NodePending", "Node", "NodeRefused"]
_BY_STATE: Final[dict[str, Phase]] = {
    CONTROLLER_RESIZE_IN_PROGRESS: "Controller",
    CONTROLLER_RESIZE_INFEASIBLE: "ControllerRefused",
    NODE_RESIZE_PENDING: "NodePending",
    NODE_RESIZE_IN_PROGRESS: "Node",
    NODE_RESIZE_INFEASIBLE: "NodeRefused",
}


class Row(Struct, frozen=True):
    """One growth, as `status` shows it. Sizes in bytes, times in Unix seconds, 0 for not known."""

    namespace: str
    name: str
    driver: str
    volume: str
    from_bytes: int
    to_bytes: int
    phase: Phase
    since_s: float
    failures: int
    """Failed attempts that events tell of; there may have been more."""
    next_s: float
    class_: str
    message: str


def is_grown(claim: Claim) -> bool:
    """Whether the claim has what it asks for."""
    return bool(claim.capacity) and claim.capacity_bytes >= claim.requested_bytes


def is_refused(claim: Claim) -> bool:
    """Whether what is asked for has been refused for good: it goes on only when somebody changes something."""
    is_refusal = claim.state in (CONTROLLER_RESIZE_INFEASIBLE, NODE_RESIZE_INFEASIBLE)
    return is_refusal and claim.allocated_bytes == claim.requested_bytes


def is_growing(claim: Claim) -> bool:
    """Whether `status` lists it: bound, and asks for more than it has."""
    return claim.phase == "Bound" and not is_grown(claim)


def find_phase(claim: Claim, volume: Volume | None) -> Phase:
    """Return how far the growth is."""
    if is_grown(claim) and not claim.state:
        return "Done"
    if claim.state:
        return _BY_STATE.get(claim.state, "Asked")
    if claim.has_condition(FILE_SYSTEM_RESIZE_PENDING) and volume is not None:
        return "NodePending" if find_target(claim, volume) == "wait-for-node" else "Controller"
    return "Controller" if resizing_since(claim) else "Asked"


def row_of(facts: Facts) -> Row:
    """Put the row of a claim together, from claim, volume and events."""
    claim, volume = facts.claim, facts.volume
    since_s = resizing_since(claim)
    failure = find_failure(facts)
    class_, message = (failure.class_, failure.text) if failure is not None else ("", "")
    refused = claim.condition(NODE_RESIZE_ERROR)
    if facts.is_nodes_turn and refused is not None and refused.status == "True":
        class_ = "node-refused" if claim.state == NODE_RESIZE_INFEASIBLE else "node-error"
        message = printable(refused.message.strip(), limit=SHOWN)
    return Row(
        namespace=claim.namespace,
        name=claim.name,
        driver=volume.driver if volume is not None else "",
        volume=claim.volume_name,
        from_bytes=claim.capacity_bytes,
        to_bytes=claim.requested_bytes,
        phase=find_phase(claim, volume),
        since_s=since_s,
        failures=count_failures(facts.events or (), since_s=since_s) if since_s else 0,
        next_s=failure.wait.not_before_s if failure is not None and failure.wait is not None else 0.0,
        class_=class_,
        message=message,
    )
