"""The node's side: the back-end has grown, the filesystem has not.

A node grows a volume only while a pod there has it mounted for writing, its kubelet is alive and the driver has
registered with it. Without a nudge a kubelet looks at its pods' volumes up to 82 seconds later.
"""

from typing import Final

from resizer.core.node_wait import DelayCause
from resizer.explain.facts import SHOWN, Facts, listed, writes
from resizer.explain.finding import Check, block, ok, skip, unknown, wait
from resizer.model.objects import NODE_RESIZE_ERROR, NODE_RESIZE_IN_PROGRESS, NODE_RESIZE_INFEASIBLE, Pod
from resizer.model.text import printable

KUBELET_SYNC_S: Final = 82
# Which check tells of which cause that keeps a node from growing a claim (core.node_wait).
_OF_PODS: Final[frozenset[DelayCause]] = frozenset({"no-pod", "read-only", "not-scheduled", "pod-not-running"})
_OF_NODE: Final[frozenset[DelayCause]] = frozenset({"node-not-ready", "kubelet-too-old"})
_OF_ANSWER: Final[frozenset[DelayCause]] = frozenset({"in-use", "node-error"})


def check_pods(facts: Facts) -> Check:
    """Who uses the claim; when it is the node's turn, somebody has to."""
    users = facts.using_pods()
    if users is None:
        return unknown("pods", "pods could not be read")
    if not facts.is_nodes_turn:
        return ok("pods", f"used by {listed(pod.name for pod in users)}" if users else "no pod uses it")
    found = facts.node_delay
    if found.cause in _OF_PODS:
        return block("pods", found.cause, found.text, found.next_step)
    return ok("pods", f"used by {listed(pod.name for pod in users)}")


def check_attachment(facts: Facts) -> Check:
    """Whether the volume is attached where the pods run."""
    if not facts.is_nodes_turn:
        return skip("attachment", "not needed before the node's turn")
    driver, claim = facts.driver, facts.claim
    if driver is None or facts.attachments is None:
        return unknown("attachment", "VolumeAttachments could not be read")
    if not driver.needs_attach:
        return ok("attachment", "the driver needs none")
    attached = {a.node for a in facts.attachments if a.volume_name == claim.volume_name and a.attached}
    runs_on = {pod.node for pod in _runners(facts)}
    if runs_on and not runs_on & attached and driver.is_declared:
        text = f"the volume is not attached to {listed(runs_on)}, where it is used"
        return block("attachment", "not-attached", text, "look at the external-attacher of the driver")
    return ok("attachment", f"attached to {listed(attached)}" if attached else "no VolumeAttachment")


def check_node(facts: Facts) -> Check:
    """Whether the nodes in question are alive and have the driver."""
    if not facts.is_nodes_turn:
        return skip("node", "not the node's turn yet")
    runs_on = sorted({pod.node for pod in _runners(facts)})
    if not runs_on:
        is_known = facts.pods is not None
        return skip("node", "no pod runs with it") if is_known else unknown("node", "no node is known")
    found = facts.node_delay
    if found.cause in _OF_NODE:
        return block("node", found.cause, found.text, found.next_step)
    if facts.driver is not None and facts.driver.nodes is not None and not facts.driver.nodes & set(runs_on):
        text = f"driver {facts.driver_name} has not registered with the kubelet on {listed(runs_on)}"
        return block("node", "driver-not-on-node", text, f"look after the driver's node pod on {runs_on[0]}")
    return ok("node", f"{listed(runs_on)}: Ready" if facts.nodes is not None else listed(runs_on))


def check_node_refusal(facts: Facts) -> Check:
    """What the node said, if it has failed."""
    claim = facts.claim
    if not facts.is_nodes_turn:
        return skip("node's answer", "not the node's turn yet")
    if claim.state == NODE_RESIZE_INFEASIBLE:
        condition = claim.condition(NODE_RESIZE_ERROR)
        said = ""
        if condition is not None and condition.status == "True":
            said = printable(condition.message.strip(), limit=SHOWN)
        text = f"the node refused to grow the filesystem: {said or 'it does not say why'}"
        step = f"mend the filesystem or what the driver names; look at the driver's node pod on {_where(facts)}"
        return block("node's answer", "node-refused", text, step)
    found = facts.node_delay
    if found.cause in _OF_ANSWER:
        return block("node's answer", found.cause, found.text, found.next_step)
    return ok("node's answer", "no failure is known of")


def check_kubelet(facts: Facts) -> Check:
    """Nothing blocks: the kubelet is at work, or has not looked yet."""
    if not facts.is_nodes_turn:
        return skip("kubelet", "not the node's turn yet")
    if facts.pods is not None and not _runners(facts):
        return skip("kubelet", "no pod runs with it")
    where = _where(facts)
    if facts.claim.state == NODE_RESIZE_IN_PROGRESS:
        text = f"the kubelet on {where} is growing the filesystem"
        return wait(
            "kubelet", "node-in-progress", text, "nothing blocks: growing takes as long as the filesystem needs"
        )
    nudged = [pod.nudged_at for pod in _runners(facts) if pod.nudged_at]
    how = (
        f"nudged at {printable(nudged[0], limit=80)}"
        if nudged
        else f"it looks within {KUBELET_SYNC_S}s, or when nudged"
    )
    text = f"the kubelet on {where} has not begun yet ({how})"
    return wait(
        "kubelet", "waiting-for-kubelet", text, f"nothing blocks; after {KUBELET_SYNC_S}s look at the kubelet's log"
    )


def _runners(facts: Facts) -> tuple[Pod, ...]:
    return tuple(pod for pod in facts.using_pods() or () if pod.uses_volumes and writes(pod, facts.claim.name))


def _where(facts: Facts) -> str:
    return listed({pod.node for pod in _runners(facts)}) or "the node"
