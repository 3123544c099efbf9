"""Claims for generic ephemeral volumes: made from the pod's template, owned by the pod, gone when it has gone.

What the ephemeral volume controller and the garbage collector do in a real cluster. The claim's name is the pod's,
a dash, and the volume's (KEP-1698).
"""

from resizer.devcluster.client import CLAIMS, Client, ConflictError, Document, NotFoundError
from resizer.devcluster.mirror import Mirrors, split_key
from resizer.devcluster.reconciler import Reconciler


class EphemeralClaims:
    """One for the cluster."""

    def __init__(self, *, client: Client, mirrors: Mirrors) -> None:
        self._client = client
        self._mirrors = mirrors
        self._pods = Reconciler("ephemeral", self._sync_pod)

    async def run(self) -> None:
        """Work until cancelled."""
        self._mirrors.pods.subscribe(self._pods.wake)
        await self._pods.run()

    async def _sync_pod(self, key: str) -> float | None:
        pod = self._mirrors.pods.get(key)
        if pod is None:
            await self._collect(key)
        elif "deletionTimestamp" not in pod["metadata"]:
            for volume in pod["spec"].get("volumes", []):
                if "ephemeral" in volume:
                    await self._create(pod, volume)
        return None

    async def _create(self, pod: Document, volume: Document) -> None:
        meta = pod["metadata"]
        name = f"{meta['name']}-{volume['name']}"
        if self._mirrors.claims.get(f"{meta['namespace']}/{name}") is not None:
            return
        template = volume["ephemeral"]["volumeClaimTemplate"]
        owner = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        given = template.get("metadata", {})
        claim_meta = {
            **{part: given[part] for part in ("labels", "annotations") if part in given},
            "name": name,
            "namespace": meta["namespace"],
            "ownerReferences": [owner],
        }
        body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim_meta, "spec": template["spec"]}
        try:
            await self._client.create(CLAIMS, body)
        except ConflictError:
            return

    async def _collect(self, key: str) -> None:
        """Delete the claims of a pod that has gone."""
        namespace, pod_name = split_key(key)
        for claim in list(self._mirrors.claims.objects.values()):
            meta = claim["metadata"]
            owners = [one for one in meta.get("ownerReferences", []) if one.get("controller")]
            owned = any(one["kind"] == "Pod" and one["name"] == pod_name for one in owners)
            if owned and meta["namespace"] == namespace and "deletionTimestamp" not in meta:
                try:
                    await self._client.delete(CLAIMS, meta["name"], namespace=namespace, uid=meta["uid"])
                except (NotFoundError, ConflictError):
                    continue
