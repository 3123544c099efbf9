"""A live copy of one resource for the cluster's own parts, kept by the client's watch.

One set of mirrors serves the provisioner, the attacher, the scheduler and all kubelet-like parts of a cluster.
Listeners are told the key of every object that appeared, changed or went, synchronously, after the copy was
changed. What they then do by writing is decided by the API server's versions, never by this copy.
"""

import contextlib
from collections.abc import Callable

from resizer.devcluster.client import (
    ATTACHMENTS,
    CLAIMS,
    CSI_NODES,
    NODES,
    PODS,
    STORAGE_CLASSES,
    VOLUMES,
    Client,
    Document,
    Endpoint,
)

Listener = Callable[[str], None]


def key_of(doc: Document) -> str:
    """Return `namespace/name`, or the name alone for what has no namespace."""
    meta = doc["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def split_key(key: str) -> tuple[str, str]:
    """Return namespace ("" for none) and name."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


class Mirror:
    """All objects of one resource by key."""

    def __init__(self, client: Client, endpoint: Endpoint) -> None:
        self._client = client
        self._endpoint = endpoint
        self._listeners: list[Listener] = []
        self.objects: dict[str, Document] = {}

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` of every change, and of what is there already."""
        self._listeners.append(listener)
        for key in list(self.objects):
            listener(key)

    def unsubscribe(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners.remove(listener)

    def get(self, key: str) -> Document | None:
        """Return the object as last seen."""
        return self.objects.get(key)

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        async with contextlib.aclosing(self._client.watch(self._endpoint)) as events:
            async for event in events:
                self._change(key_of(event.object), None if event.type == "DELETED" else event.object)

    def _change(self, key: str, item: Document | None) -> None:
        if item is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = item
        for listener in list(self._listeners):
            listener(key)


class ClaimUsers:
    """Which pods name a claim, by keys; follows the mirror of pods, so that nobody has to search it."""

    def __init__(self, pods: Mirror) -> None:
        self._pods = pods
        self._by_claim: dict[str, set[str]] = {}
        self._by_pod: dict[str, set[str]] = {}
        self._listeners: list[Listener] = []
        pods.subscribe(self._on_pod)

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` the key of each claim that a pod has let go, by disappearing or by being finished."""
        self._listeners.append(listener)

    def of(self, claim: str) -> frozenset[str]:
        """Return the keys of the pods that name the claim of this key, finished ones included."""
        return frozenset(self._by_claim.get(claim, ()))

    def _on_pod(self, key: str) -> None:
        pod = self._pods.get(key)
        named = set(claim_mounts(pod)) if pod is not None else set()
        before = self._by_pod.pop(key, set())
        if named:
            self._by_pod[key] = named
        for claim in before - named:
            self._by_claim[claim].discard(key)
            if not self._by_claim[claim]:
                del self._by_claim[claim]
        for claim in named - before:
            self._by_claim.setdefault(claim, set()).add(key)
        is_finished = pod is not None and not uses_volumes(pod)
        for claim in named if is_finished else before - named:
            for listener in self._listeners:
                listener(claim)


class Handover:
    """Who has an attached volume just now, by the attachment's name: never a kubelet and the attacher at once.

    It stands for `volumesInUse` and `volumesAttached` of a Node's status, by which a real kubelet and a real
    attach-detach controller agree before one mounts and the other detaches. Checked and changed without a pause.
    """

    def __init__(self) -> None:
        self.in_use: set[str] = set()
        self.detaching: set[str] = set()

    def try_use(self, name: str) -> bool:
        """Take the volume for mounting; False while it is being detached."""
        if name in self.detaching:
            return False
        self.in_use.add(name)
        return True

    def try_detach(self, name: str) -> bool:
        """Take the volume for detaching; False while a kubelet has it."""
        if name in self.in_use:
            return False
        self.detaching.add(name)
        return True


class Mirrors:
    """The mirrors that the cluster's parts share."""

    def __init__(self, client: Client) -> None:
        self.claims = Mirror(client, CLAIMS)
        self.volumes = Mirror(client, VOLUMES)
        self.pods = Mirror(client, PODS)
        self.nodes = Mirror(client, NODES)
        self.classes = Mirror(client, STORAGE_CLASSES)
        self.attachments = Mirror(client, ATTACHMENTS)
        self.csi_nodes = Mirror(client, CSI_NODES)
        self.handover = Handover()
        self.users = ClaimUsers(self.pods)

    @property
    def all(self) -> tuple[Mirror, ...]:
        """Every one of them."""
        return self.claims, self.volumes, self.pods, self.nodes, self.classes, self.attachments, self.csi_nodes

    def claim_key_of(self, volume_name: str) -> str:
        """Return the key of the claim that a volume's claimRef names, "" if there is none."""
        volume = self.volumes.get(volume_name)
        ref = volume["spec"].get("claimRef", {}) if volume is not None else {}
        return f"{ref['namespace']}/{ref['name']}" if ref else ""

    def volume_of(self, claim: Document) -> Document | None:
        """Return the volume a claim is bound to, None while it is not bound both ways."""
        volume = self.volumes.get(claim["spec"].get("volumeName", ""))
        if volume is None or claim.get("status", {}).get("phase") != "Bound":
            return None
        bound_uid = volume["spec"].get("claimRef", {}).get("uid")
        return volume if bound_uid == claim["metadata"]["uid"] else None


def claim_mounts(pod: Document) -> dict[str, bool]:
    """Return the claims a pod mounts, by key, and whether read-only; generic ephemeral volumes included."""
    meta = pod["metadata"]
    mounts: dict[str, bool] = {}
    for volume in pod["spec"].get("volumes", []):
        source = volume.get("persistentVolumeClaim")
        if source:
            key = f"{meta['namespace']}/{source['claimName']}"
            mounts[key] = mounts.get(key, True) and bool(source.get("readOnly"))
        elif "ephemeral" in volume:
            mounts[f"{meta['namespace']}/{meta['name']}-{volume['name']}"] = False
    return mounts


def uses_volumes(pod: Document) -> bool:
    """Whether a pod that is there still uses its volumes: a finished one does not."""
    return pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
