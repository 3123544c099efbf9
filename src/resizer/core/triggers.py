"""What a watch event means for the queue: nothing, look again, or look again although a back-off is running.

In: the claim before and after. Only a change of the wish (`spec`) or of the `storage-resizer` annotation jumps a
back-off; our own patches coming back, labels and other people's annotations wake nobody. A node's error is looked at
when it appears and when it goes, so that each is counted.
"""

from typing import Literal

from resizer.model.objects import NODE_RESIZE_ERROR, Claim

Trigger = Literal["ignore", "look", "jump"]


def find_trigger(old: Claim | None, new: Claim) -> Trigger:
    """Say what the change from `old` (None: first seen) to `new` asks for."""
    if old is None or old.uid != new.uid:
        return "look" if wants_attention(new) else "ignore"
    if old.requested_bytes != new.requested_bytes or old.storage_resizer != new.storage_resizer:
        return "jump"
    if old.volume_name != new.volume_name or old.phase != new.phase:
        return "look" if wants_attention(new) else "ignore"
    if old.state != new.state or old.capacity_bytes != new.capacity_bytes:
        return "look"
    if old.attributes_class != new.attributes_class:
        return "look"
    if old.has_condition(NODE_RESIZE_ERROR) != new.has_condition(NODE_RESIZE_ERROR):
        return "look"
    return "ignore"


def wants_attention(claim: Claim) -> bool:
    """Whether a claim seen for the first time, or at a resync, is worth a look.

    It asks for more than it has, or it bears the traces of a growth that may not have been cleared up.
    """
    if claim.phase != "Bound":
        return False
    has_traces = bool(claim.state or claim.retry or claim.node_labels)
    return claim.requested_bytes > claim.capacity_bytes or has_traces
