"""When a growth reached which stage, read off the objects themselves. Pure: times and objects come in as arguments.

The stages are those of a resize as it shows on the API server (claim, volume, pod), and the driver's two answers.
"""

from collections.abc import Mapping
from typing import Any, Final

from resizer.model.objects import (
    NODE_RESIZE_ERROR,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_PENDING,
    NUDGED_AT,
    RESIZE_CONDITIONS,
)
from resizer.model.quantity import parse_bytes

Document = Mapping[str, Any]

ASKED: Final = "asked"
RECORDED: Final = "recorded"
DRIVER_GROWN: Final = "driver grown"
VOLUME_UPDATED: Final = "volume updated"
NODE_PENDING: Final = "node pending"
NUDGED: Final = "nudged"
NODE_GROWING: Final = "node growing"
FILESYSTEM_GROWN: Final = "filesystem grown"
DONE: Final = "done"
STAGES: Final = (
    ASKED,
    RECORDED,
    DRIVER_GROWN,
    VOLUME_UPDATED,
    NODE_PENDING,
    NUDGED,
    NODE_GROWING,
    FILESYSTEM_GROWN,
    DONE,
)
MEANING: Final = {
    ASKED: "the claim is edited",
    RECORDED: "its status says what is aimed at",
    DRIVER_GROWN: "ControllerExpandVolume (csi.v0: ControllerResizeVolume) has answered",
    VOLUME_UPDATED: "the volume object has the new size",
    NODE_PENDING: "it is the node's turn",
    NUDGED: "the pod is touched, so that the kubelet looks now",
    NODE_GROWING: "the kubelet has begun",
    FILESYSTEM_GROWN: "NodeExpandVolume (csi.v0: NodeResizeVolume) has answered",
    DONE: "the claim has its new capacity",
}
_DRIVER_STAGES: Final = {
    "ControllerExpandVolume": DRIVER_GROWN,
    "ControllerResizeVolume": DRIVER_GROWN,
    "NodeExpandVolume": FILESYSTEM_GROWN,
    "NodeResizeVolume": FILESYSTEM_GROWN,
}


class Timeline:
    """One claim on its way to one size; `times_s` are seconds since it was asked for, by stage as reached."""

    def __init__(self, *, claim: str, volume: str, target_bytes: int, asked_at: float, nudged_before: str = "") -> None:
        """`asked_at` is the clock's reading before the edit; `nudged_before` the pod's annotation then."""
        self.claim = claim
        self.volume = volume
        self.target_bytes = target_bytes
        self.times_s: dict[str, float] = {ASKED: 0.0}
        self.node_error = ""
        self.state = ""
        self._asked_at = asked_at
        self._nudged_before = nudged_before

    @property
    def is_done(self) -> bool:
        """Whether the claim says that all is done."""
        return DONE in self.times_s

    def _reach(self, stage: str, at: float) -> bool:
        if stage in self.times_s:
            return False
        self.times_s[stage] = max(0.0, at - self._asked_at)
        return True

    def see_claim(self, claim: Document, at: float) -> bool:
        """Take a state of the claim; tell whether a stage was reached by it."""
        status = claim.get("status", {})
        state = status.get("allocatedResourceStatuses", {}).get("storage", "")
        self.state = state
        allocated = parse_bytes(status.get("allocatedResources", {}).get("storage", "0"))
        errors = [one for one in status.get("conditions", []) if one["type"] == NODE_RESIZE_ERROR]
        self.node_error = errors[0].get("message", "") if errors else ""
        reached = False
        if state and allocated >= self.target_bytes:
            reached |= self._reach(RECORDED, at)
            if state == NODE_RESIZE_PENDING:
                reached |= self._reach(NODE_PENDING, at)
            elif state == NODE_RESIZE_IN_PROGRESS:
                reached |= self._reach(NODE_GROWING, at)
        elif not state and self._has_target(claim):
            reached |= self._reach(DONE, at)
        return reached

    def _has_target(self, claim: Document) -> bool:
        status = claim.get("status", {})
        open_conditions = {one["type"] for one in status.get("conditions", [])} & RESIZE_CONDITIONS
        capacity_bytes = parse_bytes(status.get("capacity", {}).get("storage", "0"))
        requested_bytes = parse_bytes(claim["spec"]["resources"]["requests"]["storage"])
        return capacity_bytes >= self.target_bytes and requested_bytes >= self.target_bytes and not open_conditions

    def see_volume(self, volume: Document, at: float) -> bool:
        """Take a state of the claim's volume."""
        grown = parse_bytes(volume["spec"]["capacity"]["storage"]) >= self.target_bytes
        return grown and self._reach(VOLUME_UPDATED, at)

    def see_pod(self, pod: Document, at: float) -> bool:
        """Take a state of the claim's pod."""
        nudged_at = (pod["metadata"].get("annotations") or {}).get(NUDGED_AT, "")
        return bool(nudged_at) and nudged_at != self._nudged_before and self._reach(NUDGED, at)

    def see_driver(self, method: str, at: float) -> bool:
        """Take a good answer of the driver about the volume."""
        stage = _DRIVER_STAGES.get(method)
        return stage is not None and self._reach(stage, at)
