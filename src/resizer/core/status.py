"""What a claim's status and a volume become at each durable step, as JSON merge patches.

Each function compares with what stands there and returns only what differs; an empty dict means that nothing
is to be written. Conditions are one list in a merge patch, so foreign ones are written back as they were.
`lastTransitionTime` moves only when a condition's status does.
"""

from typing import Any, Final

from resizer.core.verdict import Failure
from resizer.model.objects import (
    CONTROLLER_RESIZE_ERROR,
    CONTROLLER_RESIZE_IN_PROGRESS,
    CONTROLLER_RESIZE_INFEASIBLE,
    FILE_SYSTEM_RESIZE_PENDING,
    NODE_EXPANSION_NOT_REQUIRED,
    NODE_RESIZE_PENDING,
    PRE_RESIZE_CAPACITY,
    RESIZE_CONDITIONS,
    RESIZING,
    RETRY,
    Claim,
    Condition,
    Volume,
)

JsonObject = dict[str, Any]

PENDING_MESSAGE: Final = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."
"""Word for word the peer's: dashboards and scripts look for it."""
MESSAGE_LIMIT: Final = 1024


class ClaimChange:
    """A claim's next status, gathered field by field; `patch()` gives the difference to the present one."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._status: JsonObject = {}
        self._annotations: JsonObject = {}
        self._labels: JsonObject = {}
        self._conditions = list(claim.conditions)

    def allocate(self, text: str) -> None:
        """Record the target."""
        if self._claim.allocated != text:
            self._status["allocatedResources"] = {"storage": text}

    def capacity(self, text: str) -> None:
        """Record the size that the claim now has."""
        if self._claim.capacity != text:
            self._status["capacity"] = {"storage": text}

    def state(self, state: str) -> None:
        """Set allocatedResourceStatuses for storage; empty text removes it."""
        if self._claim.state != state:
            self._status["allocatedResourceStatuses"] = {"storage": state or None}

    def drop_conditions(self, *types: str) -> None:
        """Remove conditions of these types."""
        self._conditions = [c for c in self._conditions if c.type not in types]

    def assert_condition(self, type_: str, *, message: str = "", now: str) -> None:
        """Make the condition True. One that is True already keeps its transition time."""
        for i, old in enumerate(self._conditions):
            if old.type == type_:
                since = old.last_transition_time if old.status == "True" else now
                self._conditions[i] = Condition(type_, "True", message=message, last_transition_time=since)
                return
        self._conditions.append(Condition(type_, "True", message=message, last_transition_time=now))

    def node_expansion_not_required(self, *, value: bool) -> None:
        """Set or remove the annotation that tells the kubelet to leave the claim alone."""
        if self._claim.node_expansion_not_required != value:
            self._annotations[NODE_EXPANSION_NOT_REQUIRED] = "true" if value else None

    def retry(self, text: str) -> None:
        """Set the annotation that remembers a long wait; empty text removes it."""
        if self._claim.retry != text:
            self._annotations[RETRY] = text or None

    def drop_node_labels(self) -> None:
        """Remove the labels that named nodes this claim waited for."""
        for label in self._claim.node_labels:
            self._labels[label] = None

    def patch(self) -> JsonObject:
        """Return the merge patch with the version it was decided on, or an empty dict for no difference."""
        status = dict(self._status)
        if tuple(self._conditions) != self._claim.conditions:
            status["conditions"] = [_condition_json(c) for c in self._conditions] or None
        metadata: JsonObject = {}
        if self._annotations:
            metadata["annotations"] = self._annotations
        if self._labels:
            metadata["labels"] = self._labels
        if not status and not metadata:
            return {}
        metadata["resourceVersion"] = self._claim.version
        body: JsonObject = {"metadata": metadata}
        if status:
            body["status"] = status
        return body


def record_intent(claim: Claim, target_text: str, *, is_same_target: bool, now: str) -> JsonObject:
    """Step 1: the target stands in the claim before the driver hears of it, as it was written.

    The same target again leaves state and old conditions as they are; a new one begins afresh.
    """
    change = ClaimChange(claim)
    change.allocate(target_text)
    if not is_same_target:
        change.state(CONTROLLER_RESIZE_IN_PROGRESS)
        change.drop_conditions(*(RESIZE_CONDITIONS - {RESIZING}))
    resizing = claim.condition(RESIZING)
    if resizing is None or resizing.status != "True":
        change.assert_condition(RESIZING, now=now)
    change.node_expansion_not_required(value=False)
    return change.patch()


def record_failure(claim: Claim, failure: Failure, *, rewrite_message: bool, retry: str, now: str) -> JsonObject:
    """Record a failed attempt: ControllerResizeError, and the infeasible state, when the outcome is final.

    `rewrite_message`: an error condition for the same cause takes the new text (an id in it may differ each
    time, so the caller allows it once in a while only).
    """
    change = ClaimChange(claim)
    change.retry(retry)
    if failure.outcome == "final":
        if failure.class_ == "infeasible":
            change.state(CONTROLLER_RESIZE_INFEASIBLE)
        old = claim.condition(CONTROLLER_RESIZE_ERROR)
        if old is None or old.status != "True" or rewrite_message:
            text = f"failed to expand pvc with {failure.message}"[:MESSAGE_LIMIT]
            change.assert_condition(CONTROLLER_RESIZE_ERROR, message=text, now=now)
    return change.patch()


def record_under_way(claim: Claim) -> JsonObject:
    """Step 1 again, for a claim whose volume had less than its node was told: what follows is the controller's."""
    change = ClaimChange(claim)
    change.state(CONTROLLER_RESIZE_IN_PROGRESS)
    return change.patch()


def record_node_pending(claim: Claim, *, now: str) -> JsonObject:
    """Step 4, when the node must act."""
    change = ClaimChange(claim)
    change.state(NODE_RESIZE_PENDING)
    change.drop_conditions(CONTROLLER_RESIZE_ERROR)
    change.assert_condition(FILE_SYSTEM_RESIZE_PENDING, message=PENDING_MESSAGE, now=now)
    change.node_expansion_not_required(value=False)
    change.retry("")
    return change.patch()


def record_finished(claim: Claim, capacity_text: str) -> JsonObject:
    """Step 4, when no node has to act: the claim has its size, and nothing of the resize is left."""
    change = ClaimChange(claim)
    change.capacity(capacity_text)
    change.state("")
    change.drop_conditions(*RESIZE_CONDITIONS)
    change.node_expansion_not_required(value=True)
    change.retry("")
    change.drop_node_labels()
    return change.patch()


def forget_node_labels(claim: Claim) -> JsonObject:
    """Take off labels of nodes that the claim waits for no longer."""
    change = ClaimChange(claim)
    change.drop_node_labels()
    return change.patch()


def record_volume_size(volume: Volume, capacity_text: str, *, pre_resize_capacity: str, same_size: bool) -> JsonObject:
    """Step 3: the volume object has the size that the back-end granted.

    `pre_resize_capacity`: what the claim had before, written once per growth when the node must act; empty
    when it need not. `same_size`: the volume object has this size already, in whatever notation.
    """
    metadata: JsonObject = {}
    if pre_resize_capacity and volume.pre_resize_capacity is None:
        metadata["annotations"] = {PRE_RESIZE_CAPACITY: pre_resize_capacity}
    body: JsonObject = {} if same_size else {"spec": {"capacity": {"storage": capacity_text}}}
    if not metadata and not body:
        return {}
    return {"metadata": {**metadata, "resourceVersion": volume.version}, **body}


def forget_pre_resize_capacity(volume: Volume) -> JsonObject:
    """Remove the annotation once the claim has caught up with its volume."""
    return {"metadata": {"annotations": {PRE_RESIZE_CAPACITY: None}, "resourceVersion": volume.version}}


def _condition_json(condition: Condition) -> JsonObject:
    body: JsonObject = {"type": condition.type, "status": condition.status}
    body["lastProbeTime"] = condition.last_probe_time or None
    body["lastTransitionTime"] = condition.last_transition_time or None
    if condition.reason:
        body["reason"] = condition.reason
    if condition.message:
        body["message"] = condition.message
    return body
