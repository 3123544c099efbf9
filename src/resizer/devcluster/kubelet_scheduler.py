"""Assigns pods to nodes: the ready node with the fewest pods, for every pod that has none.

A claim of a class that waits for its first consumer is told the node first, and the pod waits until it is bound,
as in a real cluster.
"""

import collections
from typing import Final

from resizer.devcluster.client import CLAIMS, PODS, Client, ConflictError, Document, NotFoundError
from resizer.devcluster.mirror import Mirrors, claim_mounts, split_key, uses_volumes
from resizer.devcluster.reconciler import Reconciler

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"


class Scheduler:
    """One for the cluster."""

    def __init__(self, *, client: Client, mirrors: Mirrors) -> None:
        self._client = client
        self._mirrors = mirrors
        self._pods = Reconciler("scheduler", self._schedule)
        self._chosen: dict[str, str] = {}

    async def run(self) -> None:
        """Schedule until cancelled."""
        self._mirrors.pods.subscribe(self._on_pod)
        self._mirrors.nodes.subscribe(self._on_node)
        self._mirrors.claims.subscribe(self._on_claim)
        await self._pods.run()

    def _on_pod(self, key: str) -> None:
        pod = self._mirrors.pods.get(key)
        if pod is not None and not pod["spec"].get("nodeName"):
            self._pods.wake(key)
        else:
            self._chosen.pop(key, None)

    def _on_claim(self, key: str) -> None:
        for name in self._mirrors.users.of(key):
            self._wake_if_unscheduled(name)

    def _on_node(self, key: str) -> None:
        del key
        for name in self._mirrors.pods.objects:
            self._wake_if_unscheduled(name)

    def _wake_if_unscheduled(self, name: str) -> None:
        pod = self._mirrors.pods.get(name)
        if pod is not None and not pod["spec"].get("nodeName"):
            self._pods.wake(name)

    async def _schedule(self, key: str) -> float | None:
        pod = self._mirrors.pods.get(key)
        if pod is None or pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
            return None
        node = self._choose(key)
        if not node or not await self._claims_ready(pod, node):
            return None
        namespace, name = split_key(key)
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self._chosen[key] = node
        try:
            await self._client.call("POST", PODS.path(namespace, name, "binding"), body=body)
        except (NotFoundError, ConflictError):
            return None
        return None

    def _choose(self, key: str) -> str:
        """The node with the fewest pods, counting those just assigned; "" while there is none."""
        ready = [name for name, node in self._mirrors.nodes.objects.items() if _is_ready(node)]
        placed = dict(self._chosen)
        for name, pod in self._mirrors.pods.objects.items():
            if pod["spec"].get("nodeName") and uses_volumes(pod):
                placed[name] = pod["spec"]["nodeName"]
        placed.pop(key, None)
        counts = collections.Counter(placed.values())
        return min(sorted(ready), key=lambda node: counts[node], default="")

    async def _claims_ready(self, pod: Document, node: str) -> bool:
        """Whether all claims are bound or wait for a node; those that wait are told."""
        is_ready = True
        for key in claim_mounts(pod):
            claim = self._mirrors.claims.get(key)
            if claim is None:
                return False
            if claim.get("status", {}).get("phase") == "Bound":
                continue
            is_ready = False
            found = self._mirrors.classes.get(claim["spec"].get("storageClassName", ""))
            waits = found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"
            if waits and SELECTED_NODE not in claim["metadata"].get("annotations", {}):
                namespace, name = split_key(key)
                body = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                await self._client.patch(CLAIMS, name, body, namespace=namespace)
        return is_ready


def _is_ready(node: Document) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
