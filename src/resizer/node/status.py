"""What the agent makes of a claim's status, as a kubelet 1.36 was recorded to do (tests/data/kubelet-decisions).

Each function returns a merge patch with the version it was decided on, an empty one when nothing differs.
"""

from typing import Final, Literal

from resizer.core.node_label import NODES_TURN
from resizer.core.status import MESSAGE_LIMIT, ClaimChange, JsonObject
from resizer.model.errors import DriverError
from resizer.model.objects import (
    NODE_RESIZE_ERROR,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    RESIZE_CONDITIONS,
    Claim,
)

_INFEASIBLE: Final = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND"})

Turn = Literal["ours", "not-ours", "finished"]
Refusal = Literal["infeasible", "in-use", "failed"]


def find_turn(claim: Claim, *, label: str) -> Turn:
    """Say whether the claim waits for this node: by its label and its state, and by nothing else."""
    if label not in claim.node_labels:
        return "not-ours"
    if claim.state in NODES_TURN:
        return "ours"
    # A kubelet has been faster, or the controller has other plans; a label on a finished claim is left over.
    is_over = not claim.state and claim.capacity_bytes >= max(claim.allocated_bytes, 1)
    return "finished" if is_over else "not-ours"


def refusal_of(error: DriverError) -> Refusal:
    """Class a failed NodeExpandVolume as the kubelet does."""
    if error.code in _INFEASIBLE:
        return "infeasible"
    return "in-use" if error.code == "FAILED_PRECONDITION" else "failed"


def message_of(error: DriverError) -> str:
    """What the condition and the event say: the kubelet's words, which people and scripts know."""
    joint = " " if refusal_of(error) == "infeasible" else " : "
    text = f"rpc error: code = {_go_name(error.code)} desc = {error.message}"
    return f"failed to expand pvc with Expander.NodeExpand failed to expand the volume{joint}{text}"[:MESSAGE_LIMIT]


def begin(claim: Claim) -> JsonObject:
    """The node is at work; conditions stay as they are."""
    change = ClaimChange(claim)
    change.state(NODE_RESIZE_IN_PROGRESS)
    return change.patch()


def finish(claim: Claim, capacity_text: str) -> JsonObject:
    """The filesystem has the size: nothing of the resize is left but allocatedResources, and the label goes, too."""
    change = ClaimChange(claim)
    change.capacity(capacity_text)
    change.state("")
    change.drop_conditions(*RESIZE_CONDITIONS)
    change.drop_node_labels()
    return change.patch()


def refuse(claim: Claim, message: str, *, is_infeasible: bool, now: str) -> JsonObject:
    """The driver refused: NodeResizeError; when it can never work also NodeResizeInfeasible, and no label any more."""
    change = ClaimChange(claim)
    change.assert_condition(NODE_RESIZE_ERROR, message=message[:MESSAGE_LIMIT], now=now)
    if is_infeasible:
        change.state(NODE_RESIZE_INFEASIBLE)
        change.drop_node_labels()
    return change.patch()


def drop_label(claim: Claim) -> JsonObject:
    """Somebody else has finished the claim."""
    change = ClaimChange(claim)
    change.drop_node_labels()
    return change.patch()


def _go_name(code: str) -> str:
    return "Canceled" if code == "CANCELLED" else "".join(word.capitalize() for word in code.split("_"))
