"""The label by which a node agent finds the claims that wait for its node, and for which nodes it is set. Pure.

A claim that is used on exactly one node carries that node's label while it waits for it; the agent there watches
claims with its own label only, so what it receives does not grow with the cluster. Claims used on several nodes are
left to the kubelets. A label of any other node is taken off: the pod has moved, or the node is gone.
"""

import hashlib
from collections.abc import Collection
from typing import Final

from resizer.core.status import JsonObject
from resizer.model.objects import NODE_LABEL_PREFIX, NODE_RESIZE_IN_PROGRESS, NODE_RESIZE_PENDING, Claim

_DIGITS: Final = 32
NODES_TURN: Final = frozenset({NODE_RESIZE_PENDING, NODE_RESIZE_IN_PROGRESS})


def node_label(node: str) -> str:
    """Return the label's key for this node: a node's name may be longer than a label allows, its digest is not."""
    return f"{NODE_LABEL_PREFIX}{hashlib.sha256(node.encode()).hexdigest()[:_DIGITS]}"


def label_changes(claim: Claim, nodes: Collection[str]) -> dict[str, str | None]:
    """Return the labels to set ("") and to remove (None) on a claim that waits for the nodes that use it."""
    wanted = {node_label(node) for node in nodes} if len(nodes) == 1 else set()
    present = set(claim.node_labels)
    return {**dict.fromkeys(present - wanted), **dict.fromkeys(wanted - present, "")}


def with_labels(body: JsonObject, changes: dict[str, str | None]) -> JsonObject:
    """Return the merge patch with these labels in it as well."""
    if not changes:
        return body
    metadata = body.get("metadata", {})
    return {**body, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **changes}}}


def has_stale_labels(claim: Claim) -> bool:
    """Whether labels are left on a claim that waits for no node."""
    return bool(claim.node_labels) and claim.state not in NODES_TURN
