"""The node's side: the back-end has grown, the filesystem has not.

A node grows a volume only while a pod there has it mounted for writing, its kubelet is alive and the driver has
registered with it. Without a nudge a kubelet looks at its pods' volumes up to 82 seconds later.
"""

from typing import Final

from resizer.explain.facts import SHOWN, Facts, listed, writes
from resizer.explain.finding import Check, block, ok, skip, unknown, wait
from resizer.model.objects import NODE_RESIZE_ERROR, NODE_RESIZE_IN_PROGRESS, NODE_RESIZE_INFEASIBLE, Pod
from resizer.model.text import printable

KUBELET_SYNC_S: Final = 82


def check_pods(facts: Facts) -> Check:
    """Who uses the claim; when it is the node's turn, somebody has to."""
    users = facts.using_pods()
    if users is None:
        return unknown("pods", "pods could not be read")
    name = facts.claim.name
    if not facts.is_nodes_turn:
        return ok("pods", f"used by {listed(pod.name for pod in users)}" if users else "no pod uses it")
    if not users:
        text = f"the back-end has grown to {facts.volume.capacity if facts.volume else '?'}, but no pod uses the claim"
        return block(
            "pods", "no-pod", text, "start a pod that uses the claim: its node grows the filesystem on mounting"
        )
    if not any(writes(pod, name) for pod in users):
        text = f"only mounted read-only ({listed(pod.name for pod in users)}): no node may grow the filesystem"
        return block("pods", "read-only", text, "start a pod that mounts the claim for writing")
    if not any(pod.uses_volumes for pod in users):
        shown = listed(f"{pod.name} ({pod.phase or 'no phase'})" for pod in users)
        text = f"no pod that uses the claim runs: {shown}"
        return block("pods", "pod-not-running", text, f"kubectl describe pod {users[0].name} says why it does not run")
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
    if facts.nodes_ready is not None and not any(facts.nodes_ready.get(node) for node in runs_on):
        gone = [node for node in runs_on if node not in facts.nodes_ready]
        how = "not in the cluster any more" if gone else "not Ready"
        text = f"node {listed(runs_on)} is {how}: its kubelet cannot grow the filesystem"
        return block(
            "node", "node-not-ready", text, f"mend the node, or move the pod: kubectl describe node {runs_on[0]}"
        )
    if facts.driver is not None and facts.driver.nodes is not None and not facts.driver.nodes & set(runs_on):
        text = f"driver {facts.driver_name} has not registered with the kubelet on {listed(runs_on)}"
        return block("node", "driver-not-on-node", text, f"look after the driver's node pod on {runs_on[0]}")
    return ok("node", f"{listed(runs_on)}: Ready" if facts.nodes_ready is not None else listed(runs_on))


def check_node_refusal(facts: Facts) -> Check:
    """What the node said, if it has failed."""
    claim = facts.claim
    if not facts.is_nodes_turn:
        return skip("node's answer", "not the node's turn yet")
    condition = claim.condition(NODE_RESIZE_ERROR)
    said = (
        printable(condition.message.strip(), limit=SHOWN)
        if condition is not None and condition.status == "True"
        else ""
    )
    if claim.state == NODE_RESIZE_INFEASIBLE:
        text = f"the node refused to grow the filesystem: {said or 'it does not say why'}"
        step = f"mend the filesystem or what the driver names; look at the driver's node pod on {_where(facts)}"
        return block("node's answer", "node-refused", text, step)
    if said:
        text = f"growing the filesystem failed on the node: {said}"
        step = f"the kubelet tries again; look at the driver's node pod on {_where(facts)} if it lasts"
        return block("node's answer", "node-error", text, step)
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
