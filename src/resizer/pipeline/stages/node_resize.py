"""node-resize: the filesystem's turn. In `kubelet` mode the kubelet grows it; this stage sees that it looks.

In `agent` mode a node agent grows it, where the claim is used on one node only: then this stage keeps the label of
that node on the claim (core.node_label), and nudges nobody.

In: a claim that waits for its node. Out: when to look again. The pods of a namespace are listed and watched only
while a claim there is being resized, from the moment its target is recorded, so that the list is ready when it
is needed. Each pod that mounts the claim read-write and runs is nudged: at once, after 5 s and after 30 s.
The stage also tells who uses a volume when a driver demands that nobody does: running pods of the namespace, and
VolumeAttachments, which are watched only while a claim waits for its volume to be free. Once a node is late it
gathers what `core.node_wait` finds the reason in: the claim's pods and their nodes, each read once.
"""

import asyncio
from typing import Final

import structlog
from msgspec.structs import replace

from resizer.core.node_label import label_changes, with_labels
from resizer.core.node_wait import MOST_NODES, NodeFacts
from resizer.core.state import AwaitNode, NodeAwaited, RecordClaim, Users
from resizer.model.errors import ApiError
from resizer.model.objects import Claim, Node, Pod
from resizer.pipeline.ports import (
    AttachmentSource,
    Clock,
    NamespacePods,
    NodeReader,
    PodSource,
    StageTelemetry,
    Writer,
)
from resizer.pipeline.stages.nudge import Nudger

NUDGE_AFTER_S: Final = (0.0, 5.0, 30.0)
LISTED_WITHIN_S: Final = 5.0
LABELS_CHECKED_AFTER_S: Final = 10.0
SOONEST_S: Final = 0.05
NODE_KEPT_S: Final = 30.0
"""A node that many late claims share is read once in so long for all of them."""

log = structlog.get_logger()


class NodeResize:
    """Follows the claims of one driver on their nodes."""

    def __init__(
        self,
        pods: PodSource,
        attachments: AttachmentSource,
        nudger: Nudger | None,
        *,
        driver: str,
        telemetry: StageTelemetry,
        now: Clock,
        agents: Writer | None = None,
        nodes: NodeReader | None = None,
    ) -> None:
        self._pods = pods
        self._attachments = attachments
        self._nudger = nudger
        self._driver = driver
        self._telemetry = telemetry
        self._now = now
        self._agents = agents
        self._nodes = nodes
        self._held: dict[str, tuple[str, NamespacePods]] = {}
        self._waiting: dict[str, float] = {}
        self._observed: set[str] = set()
        self._known_nodes: dict[str, tuple[float, bool, Node | None]] = {}

    def prepare(self, claim: Claim) -> None:
        """Have the claim's pods at hand by the time its node's turn comes, if anything is done for them then."""
        if self._agents is not None or (self._nudger is not None and not self._nudger.is_refused):
            self._hold(claim)

    def forget(self, claim_uid: str, *, outcome: str = "success") -> None:
        """Let go of a claim that is finished, given up or gone."""
        self.end_observation(claim_uid)
        held = self._held.pop(claim_uid, None)
        if held is not None:
            self._pods.release(held[0])
        began_s = self._waiting.pop(claim_uid, None)
        if began_s is not None:
            duration_s = asyncio.get_running_loop().time() - began_s
            self._telemetry.stage_finished(
                driver=self._driver, stage="node-resize", outcome=outcome, duration_s=duration_s
            )

    def close(self) -> None:
        """Let go of every claim: the group ends."""
        for uid in {*self._held, *self._waiting, *self._observed}:
            self.forget(uid, outcome="cancelled")

    async def run(self, claim: Claim, effect: AwaitNode) -> NodeAwaited:
        """Nudge where a nudge is due, and say when to look again. Never fails for want of a right.

        A node that is late: where the claim is used goes with the answer.
        """
        if claim.uid not in self._waiting:
            self._waiting[claim.uid] = asyncio.get_running_loop().time()
            self._telemetry.stage_started(driver=self._driver, stage="node-resize")
        if self._agents is not None and await self._keep_labels(claim, self._agents):
            check_after_s: float | None = LABELS_CHECKED_AFTER_S
        else:
            check_after_s = await self._nudge(claim, effect)
        late_after_s = effect.late_after_s
        if late_after_s is None:
            return NodeAwaited(check_after_s)
        if late_after_s <= 0:
            return NodeAwaited(check_after_s, await self._find_facts(claim))
        soonest_s = max(SOONEST_S, late_after_s)
        return NodeAwaited(soonest_s if check_after_s is None else min(soonest_s, check_after_s))

    async def _nudge(self, claim: Claim, effect: AwaitNode) -> float | None:
        """Nudge the pods whose time it is; return in how many seconds the next one's is, None for never."""
        if self._nudger is None or self._nudger.is_refused or effect.is_begun:
            return None
        try:
            pods = _running(await self._list_pods(claim), claim)
        except TimeoutError:
            return LISTED_WITHIN_S  # the list may yet come, and the nudge is not lost
        except ApiError:
            return None
        due = [self._next_nudge(pod, effect.since_wall_s) for pod in pods]
        now_s = self._now()
        ripe = [pod for pod, at in zip(pods, due, strict=True) if at is not None and at <= now_s]
        if ripe:
            if any(self._nudger.times_since(pod, effect.since_wall_s) for pod in ripe):
                self._telemetry.stage_retried(driver=self._driver, stage="node-resize")
            await asyncio.gather(*(self._nudger.nudge(pod) for pod in ripe))
            due = [self._next_nudge(pod, effect.since_wall_s) for pod in pods]
        later = [at - now_s for at in due if at is not None]
        return max(SOONEST_S, min(later)) if later else None

    async def name_node(self, claim: Claim, effect: RecordClaim) -> RecordClaim:
        """In agent mode, have the patch that hands the claim over name the node in a label as well."""
        nodes = await self._nodes_of(claim) if self._agents is not None else None
        if nodes is None:
            return effect
        return replace(effect, body=with_labels(effect.body, label_changes(claim, nodes)))

    async def _keep_labels(self, claim: Claim, writer: Writer) -> bool:
        """Keep the label in step with where the pods are; tell whether an agent is to grow the claim."""
        nodes = await self._nodes_of(claim)
        if nodes is None:
            return bool(claim.node_labels)
        body = with_labels({}, label_changes(claim, nodes))
        if body:
            body["metadata"]["resourceVersion"] = claim.version
            await writer.patch_claim_status(claim, body)
        return len(nodes) <= 1

    async def _nodes_of(self, claim: Claim) -> set[str] | None:
        """Nodes on which a running pod may write to the claim; None when pods could not be listed."""
        pods = await self._pods_of(claim)
        return None if pods is None else {pod.node for pod in pods}

    async def observe_users(self, claim: Claim) -> Users:
        """Find out whether a running pod uses the claim, and whether its volume is attached to a node.

        Unknown where that may not be read. Both watches go on until `end_observation`, so that their end is noticed.
        """
        self._hold(claim)
        if claim.uid not in self._observed:
            self._observed.add(claim.uid)
            self._attachments.hold()
        pods, attached = await asyncio.gather(self._pods_of(claim, read_write_only=False), self._is_attached(claim))
        return Users(running_pod=None if pods is None else bool(pods), attached=attached)

    def end_observation(self, claim_uid: str) -> None:
        """Nobody waits any longer for this claim's volume to be free."""
        if claim_uid in self._observed:
            self._observed.remove(claim_uid)
            self._attachments.release()

    async def _find_facts(self, claim: Claim) -> NodeFacts:
        """Find out where the claim is used; what may not be read stays unknown."""
        self._hold(claim)
        pods = await self._all_pods_of(claim)
        names = sorted({pod.node for pod in pods or () if pod.node and not pod.finished})[:MOST_NODES]
        found = await asyncio.gather(*(self._read_node(name) for name in names))
        refusal = self._nudger.refusal if self._nudger is not None else ""
        return NodeFacts(
            None if pods is None else tuple(pods),
            {name: node for name, (is_known, node) in zip(names, found, strict=True) if is_known},
            refusal,
        )

    async def _read_node(self, name: str) -> tuple[bool, Node | None]:
        """Whether this could be found out, and the node if it is there."""
        if self._nodes is None:
            return False, None
        now_s = asyncio.get_running_loop().time()
        self._known_nodes = {key: known for key, known in self._known_nodes.items() if now_s - known[0] < NODE_KEPT_S}
        if name in self._known_nodes:
            return self._known_nodes[name][1:]
        is_known, node = False, None
        try:
            is_known, node = True, await self._nodes.read_node(name)
        except ApiError as error:
            log.debug("node.unknown", node=name, error=str(error))
        self._known_nodes[name] = (now_s, is_known, node)
        return is_known, node

    def _hold(self, claim: Claim) -> None:
        if claim.uid not in self._held:
            self._held[claim.uid] = (claim.namespace, self._pods.hold(claim.namespace))

    async def _is_attached(self, claim: Claim) -> bool | None:
        """Whether a VolumeAttachment of the claim's volume is there; None when they could not be listed."""
        try:
            async with asyncio.timeout(LISTED_WITHIN_S):
                await self._attachments.wait_synced()
        except (TimeoutError, ApiError) as error:
            log.info("node.attachments_unknown", volume=claim.volume_name, error=str(error) or "no list in time")
            return None
        attachments = self._attachments.attachments_of(claim.volume_name)
        return None if attachments is None else bool(attachments)

    async def _pods_of(self, claim: Claim, *, read_write_only: bool = True) -> list[Pod] | None:
        """Running pods that mount the claim; None when they could not be listed."""
        self.prepare(claim)
        pods = await self._all_pods_of(claim)
        return None if pods is None else _running(pods, claim, read_write_only=read_write_only)

    async def _all_pods_of(self, claim: Claim) -> list[Pod] | None:
        """Pods that mount the claim, in any phase; None when they are not held or could not be listed."""
        if claim.uid not in self._held:
            return None
        try:
            return await self._list_pods(claim)
        except (TimeoutError, ApiError):
            return None

    async def _list_pods(self, claim: Claim) -> list[Pod]:
        """Pods that mount the claim, in any phase. Raises TimeoutError when the list is late, or what refuses it."""
        self._hold(claim)
        held = self._held[claim.uid][1]
        try:
            async with asyncio.timeout(LISTED_WITHIN_S):
                await held.wait_synced()
        except (TimeoutError, ApiError) as error:
            log.info("node.pods_unknown", namespace=claim.namespace, error=str(error) or "no list in time")
            raise
        return held.pods_of(claim.name)

    def _next_nudge(self, pod: Pod, since_s: float) -> float | None:
        """When this pod is to be nudged next, Unix seconds; None when it has had all its nudges."""
        assert self._nudger is not None
        sent = self._nudger.times_since(pod, since_s)
        if len(sent) >= len(NUDGE_AFTER_S):
            return None
        return (sent[0] if sent else since_s) + NUDGE_AFTER_S[len(sent)]


def _running(pods: list[Pod], claim: Claim, *, read_write_only: bool = True) -> list[Pod]:
    """Those that run and mount the claim, unless only for reading."""
    return [
        pod
        for pod in pods
        if pod.uses_volumes
        and any(m.claim_name == claim.name and not (read_write_only and m.read_only) for m in pod.mounts)
    ]
