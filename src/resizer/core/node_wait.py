"""Why the node has not grown a claim yet: the first thing that stands in the way, and what to do about it. Pure.

In: the claim, the pods that name it, their nodes, and whether kubelets may be nudged; what could not be found out
is None and never blamed. Out: one cause of a closed set, which is also a class of the metrics, what was found, and
the next step, for an event, a log line and `resizer explain`.

A kubelet grows a volume for a running pod that may write to it (or that is just mounting it), on a node that is
alive, from Kubernetes 1.32 on. A volume that the driver refuses to grow while it is in use (FAILED_PRECONDITION) is
tried once and left alone until its pods have gone. Sources: the kubelet's volume manager, KEP-1790.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct

from resizer.model.objects import NODE_RESIZE_ERROR, NODE_RESIZE_IN_PROGRESS, Claim, Node, Pod
from resizer.model.text import printable

DelayCause = Literal[
    "no-pod",
    "read-only",
    "not-scheduled",
    "pod-not-running",
    "node-not-ready",
    "kubelet-too-old",
    "in-use",
    "node-error",
    "nudge-refused",
    "slow",
]

OLDEST_KUBELET: Final = (1, 32)
MOST_NODES: Final = 8
"""So many nodes of one claim are looked at; of the others nothing is known."""
_MOST_NAMED: Final = 3
_SHOWN: Final = 400
_VERSION: Final = re.compile(r"v?(\d{1,4})\.(\d{1,4})")
_IN_USE: Final = re.compile(r"FailedPrecondition|FAILED_PRECONDITION")


class NodeFacts(Struct, frozen=True):
    """What was found out about where a claim is used."""

    pods: tuple[Pod, ...] | None = None
    """Pods that name the claim, in any phase; None when they could not be read."""
    nodes: Mapping[str, Node | None] = {}
    """Nodes of those pods: None for one that is gone; not in it, one that could not be read."""
    nudge_refused: str = ""
    """Why kubelets may not be nudged, with the right to add; empty while they may."""


class NodeDelay(Struct, frozen=True):
    """The cause, what was found (it names the objects), and the next step."""

    cause: DelayCause
    text: str
    next_step: str

    @property
    def message(self) -> str:
        """Both in one sentence."""
        return f"{self.text}: {self.next_step}"


def find_delay(claim: Claim, facts: NodeFacts, *, volume_mode: str = "Filesystem") -> NodeDelay:
    """Say what comes first of all that keeps the node from growing the claim; "slow" when nothing is known of."""
    what = "block device" if volume_mode == "Block" else "filesystem"
    if facts.pods is None:
        return _find_error(claim, "its node") or _unknown_pods(claim, what)
    users = [pod for pod in facts.pods if not pod.finished]
    writers = [pod for pod in users if _may_write(pod, claim.name)]
    placed = [pod for pod in writers if pod.node]
    if not users:
        text = f"no pod uses the claim, and its {what} is grown as soon as one mounts it"
        return NodeDelay("no-pod", text, "start a pod that uses the claim")
    if not writers:
        text = f"it is mounted read-only ({_listed(pod.name for pod in users)}), and a node never grows the {what} then"
        return NodeDelay("read-only", text, "start a pod that mounts the claim for writing")
    if not placed:
        text = f"no pod that uses it for writing is on a node yet ({_listed(pod.name for pod in writers)})"
        step = f"kubectl -n {claim.namespace} describe pod {writers[0].name} says why it is not scheduled"
        return NodeDelay("not-scheduled", text, step)
    return _find_on_nodes(claim, placed, facts, what=what)


def _find_on_nodes(claim: Claim, placed: list[Pod], facts: NodeFacts, *, what: str) -> NodeDelay:
    """Pods that may write are on nodes: what is wrong there. One node that can grow the volume is enough."""
    where = _listed(pod.node for pod in placed)
    names = sorted({pod.node for pod in placed})
    alive = [name for name in names if name not in facts.nodes or _is_ready(facts.nodes[name])]
    by_agent = bool(claim.node_labels)
    if not alive:
        gone = all(facts.nodes[name] is None for name in names)
        state = "is not in the cluster any more" if gone else "is not Ready"
        text = f"node {where} {state}, so that nobody there can grow the {what}"
        return NodeDelay("node-not-ready", text, f"mend it (kubectl describe node {names[0]}) or move the pod")
    too_old = [node for name in alive if (node := facts.nodes.get(name)) is not None and _is_too_old(node)]
    if len(too_old) == len(alive) and not by_agent:
        shown = _listed(f"{node.name} has {printable(node.kubelet_version, limit=40)}" for node in too_old)
        text = f"the kubelet is older than 1.32 and does not know how this growth is recorded ({shown})"
        return NodeDelay("kubelet-too-old", text, "update the node, or move the pod to a newer one")
    found = _find_error(claim, f"node {where}") or _find_waiting_pod(claim, placed, what=what)
    if found is not None:
        return found
    if facts.nudge_refused and not by_agent:
        text = f"the kubelet on {where} could not be nudged and grows the {what} at a sync of its own"
        return NodeDelay("nudge-refused", text, printable(facts.nudge_refused, limit=_SHOWN))
    who = "node agent" if by_agent else "kubelet"
    if claim.state == NODE_RESIZE_IN_PROGRESS:
        text = f"the {who} on {where} is growing the {what} and has not finished"
    else:
        text = f"the {who} on {where} has not begun to grow the {what}, although nothing is known to stand in its way"
    return NodeDelay("slow", text, "look at its log, and at that of the driver's node pod there")


def _find_error(claim: Claim, where: str) -> NodeDelay | None:
    """What the node itself says in the claim's condition, if it says anything."""
    condition = claim.condition(NODE_RESIZE_ERROR)
    if condition is None or condition.status != "True":
        return None
    said = printable(condition.message.strip(), limit=_SHOWN) or "no reason given"
    if _IN_USE.search(condition.message):
        text = (
            "the driver does not grow the volume while it is in use, and the kubelet tries it no more until then "
            f"(it said: {said})"
        )
        return NodeDelay("in-use", text, f"stop the pods that use it on {where} and start them again")
    text = f"growing it failed on {where}, and is tried again ({said})"
    return NodeDelay("node-error", text, "look at the log of the driver's node pod there")


def _find_waiting_pod(claim: Claim, placed: list[Pod], *, what: str) -> NodeDelay | None:
    """Every pod has its node, and none of them runs there yet."""
    if any(pod.uses_volumes for pod in placed):
        return None
    pod = placed[0]
    text = (
        f"pod {pod.name} is on node {pod.node} but does not run yet ({pod.phase or 'no phase'}); the {what} is grown "
        "when it is mounted"
    )
    step = f"kubectl -n {claim.namespace} describe pod {pod.name} says what it waits for"
    return NodeDelay("pod-not-running", text, step)


def _unknown_pods(claim: Claim, what: str) -> NodeDelay:
    text = f"the node has not grown the {what}; the pods of namespace {claim.namespace} could not be read to say why"
    step = 'add the right to do so: apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch"]'
    return NodeDelay("slow", text, step)


def _may_write(pod: Pod, claim_name: str) -> bool:
    return any(mount.claim_name == claim_name and not mount.read_only for mount in pod.mounts)


def _is_ready(node: Node | None) -> bool:
    return node is not None and node.is_ready


def _is_too_old(node: Node) -> bool:
    found = _VERSION.match(node.kubelet_version)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST_KUBELET


def _listed(names: Iterable[str]) -> str:
    found = sorted(set(names))
    more = len(found) - _MOST_NAMED
    return ", ".join(found[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
