"""Volumes for claims: what external-provisioner and the volume binder do in a real cluster, for one driver.

A Pending claim of a storage class of our driver gets a volume: CreateVolume, a PersistentVolume bound to the
claim, the claim bound to it. When the claim has gone the volume is Released and, with reclaim policy Delete,
deleted once nothing is attached. The protection finalizers of claims and volumes are taken off here as well, as
kube-controller-manager does. A secret is read when a call needs it and is kept nowhere.

Names of parameters and annotations: kubernetes-csi documentation, "StorageClass Secrets".
"""

import asyncio
from typing import Any, Final

from resizer.devcluster.client import CLAIMS, VOLUMES, Client, ConflictError, Document, Endpoint, NotFoundError
from resizer.devcluster.event import tell
from resizer.devcluster.mirror import Mirrors, key_of, split_key
from resizer.devcluster.plugin import Plugin, capability
from resizer.devcluster.reconciler import Reconciler
from resizer.devcluster.secret import PREFIX, Ref, read_secret, secret_ref
from resizer.model.errors import DriverError
from resizer.model.quantity import format_bytes, parse_bytes
from resizer.rpc.pb import csi_v1_pb2 as pb

PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
_DELETION_SECRET: Final = "volume.kubernetes.io/provisioner-deletion-secret"  # noqa: S105 -- an annotation's name
_VOLUME_FINALIZER: Final = "external-provisioner.volume.kubernetes.io/finalizer"
_PROTECTION: Final = frozenset({"kubernetes.io/pvc-protection", "kubernetes.io/pv-protection", _VOLUME_FINALIZER})
_SECRET_REFS: Final = {
    "controllerExpandSecretRef": "controller-expand-secret",
    "controllerPublishSecretRef": "controller-publish-secret",
    "nodeExpandSecretRef": "node-expand-secret",
    "nodeStageSecretRef": "node-stage-secret",
    "nodePublishSecretRef": "node-publish-secret",
}
_SOURCE: Final = "csi-provisioner"


class Provisioner:
    """Makes, binds and deletes the volumes of one driver."""

    def __init__(self, *, client: Client, mirrors: Mirrors, plugin: Plugin) -> None:
        self._client = client
        self._mirrors = mirrors
        self._plugin = plugin
        self._claims = Reconciler("provisioner", self._sync_claim)
        self._volumes = Reconciler("reclaimer", self._sync_volume)

    async def run(self) -> None:
        """Provision until cancelled."""
        self._mirrors.claims.subscribe(self._on_claim)
        self._mirrors.volumes.subscribe(self._volumes.wake)
        self._mirrors.users.subscribe(self._on_released)
        self._mirrors.classes.subscribe(self._on_class)
        self._mirrors.attachments.subscribe(self._on_attachment)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._claims.run())
            group.create_task(self._volumes.run())

    # ---- what wakes what ----

    def _on_claim(self, key: str) -> None:
        claim = self._mirrors.claims.get(key)
        if claim is None:
            for name, volume in self._mirrors.volumes.objects.items():
                ref = volume["spec"].get("claimRef", {})
                if f"{ref.get('namespace')}/{ref.get('name')}" == key:
                    self._volumes.wake(name)
        elif self._phase(claim) != "Bound" or "deletionTimestamp" in claim["metadata"]:
            self._claims.wake(key)

    def _on_released(self, key: str) -> None:
        """A pod that went may have been the last to hold a claim that is to be deleted."""
        claim = self._mirrors.claims.get(key)
        if claim is not None and "deletionTimestamp" in claim["metadata"]:
            self._claims.wake(key)

    def _on_class(self, name: str) -> None:
        for key, claim in self._mirrors.claims.objects.items():
            if claim["spec"].get("storageClassName") == name and self._phase(claim) == "Pending":
                self._claims.wake(key)

    def _on_attachment(self, name: str) -> None:
        if self._mirrors.attachments.get(name) is None:
            for key, volume in self._mirrors.volumes.objects.items():
                if volume.get("status", {}).get("phase") == "Released":
                    self._volumes.wake(key)

    @staticmethod
    def _phase(claim: Document) -> str:
        return str(claim.get("status", {}).get("phase", "Pending"))

    # ---- a claim ----

    async def _sync_claim(self, key: str) -> float | None:
        claim = self._mirrors.claims.get(key)
        if claim is None:
            return None
        if "deletionTimestamp" in claim["metadata"]:
            await self._let_claim_go(key, claim)
        elif self._phase(claim) != "Bound":
            await self._provision(claim)
        return None

    async def _provision(self, claim: Document) -> None:
        storage_class = self._mirrors.classes.get(claim["spec"].get("storageClassName", ""))
        if storage_class is None or storage_class["provisioner"] != self._plugin.name:
            return
        late = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
        if late and SELECTED_NODE not in claim["metadata"].get("annotations", {}):
            return
        name = f"pvc-{claim['metadata']['uid']}"
        if self._mirrors.volumes.get(name) is None:
            try:
                await self._create_volume(name, claim=claim, storage_class=storage_class)
            except DriverError as error:
                text = f'failed to provision volume with StorageClass "{storage_class["metadata"]["name"]}": {error}'
                await tell(
                    self._client, claim, type_="Warning", reason="ProvisioningFailed", message=text, source=_SOURCE
                )
                raise
        await self._bind(claim, name)

    async def _create_volume(self, name: str, *, claim: Document, storage_class: Document) -> None:
        parameters: dict[str, str] = storage_class.get("parameters") or {}
        spec = {**claim["spec"], "mountOptions": storage_class.get("mountOptions", [])}
        secret = secret_ref(parameters, "provisioner-secret", claim=claim, volume=name)
        fs_type = parameters.get(f"{PREFIX}fstype", "")
        request = pb.CreateVolumeRequest(
            name=name,
            capacity_range=pb.CapacityRange(required_bytes=parse_bytes(spec["resources"]["requests"]["storage"])),
            volume_capabilities=[self._capability(spec, fs_type)],
            parameters={key: value for key, value in parameters.items() if not key.startswith(PREFIX)},
            secrets=await read_secret(self._client, secret),
        )
        answer = await self._plugin.call(self._plugin.controller.CreateVolume, request)
        body = _volume(name, claim=claim, storage_class=storage_class, made=answer.volume, driver=self._plugin.name)
        if secret is not None:
            annotations = body["metadata"]["annotations"]
            annotations[f"{_DELETION_SECRET}-name"] = secret["name"]
            annotations[f"{_DELETION_SECRET}-namespace"] = secret["namespace"]
        try:
            await self._client.create(VOLUMES, body)
        except ConflictError:
            return  # made before; the watch was slower than this
        message = f"Successfully provisioned volume {name}"
        await tell(self._client, claim, type_="Normal", reason="ProvisioningSucceeded", message=message, source=_SOURCE)

    def _capability(self, spec: Document, fs_type: str) -> pb.VolumeCapability:
        many = self._plugin.single_node_multi_writer
        return capability(spec, fs_type=fs_type, single_node_multi_writer=many)

    async def _bind(self, claim: Document, name: str) -> None:
        namespace, claim_name = claim["metadata"]["namespace"], claim["metadata"]["name"]
        volume = await self._client.get(VOLUMES, name)
        await self._client.patch(VOLUMES, name, {"status": {"phase": "Bound"}}, subresource="status")
        bound = {
            "metadata": {
                "annotations": {
                    "pv.kubernetes.io/bind-completed": "yes",
                    "pv.kubernetes.io/bound-by-controller": "yes",
                    "volume.kubernetes.io/storage-provisioner": self._plugin.name,
                }
            },
            "spec": {"volumeName": name},
        }
        await self._client.patch(CLAIMS, claim_name, bound, namespace=namespace)
        status = {
            "phase": "Bound",
            "accessModes": volume["spec"]["accessModes"],
            "capacity": {"storage": volume["spec"]["capacity"]["storage"]},
        }
        await self._client.patch(CLAIMS, claim_name, {"status": status}, namespace=namespace, subresource="status")

    async def _let_claim_go(self, key: str, claim: Document) -> None:
        """A claim that is to be deleted goes when no pod names it any longer."""
        if not self._mirrors.users.of(key):
            await self._take_off_protection(CLAIMS, claim)

    # ---- a volume ----

    async def _sync_volume(self, name: str) -> float | None:
        volume = self._mirrors.volumes.get(name)
        if volume is None or volume["spec"].get("csi", {}).get("driver") != self._plugin.name:
            return None
        ref = volume["spec"].get("claimRef", {})
        claim = self._mirrors.claims.get(f"{ref.get('namespace')}/{ref.get('name')}")
        if not ref or (claim is not None and claim["metadata"]["uid"] == ref.get("uid")):
            return None
        if "deletionTimestamp" in volume["metadata"]:
            await self._take_off_protection(VOLUMES, volume)
        elif volume.get("status", {}).get("phase") == "Bound":
            # The mirror of claims may lag behind that of volumes: only the server knows that the claim has gone.
            if await self._claim_stands(ref):
                return 0.2
            released = {"status": {"phase": "Released"}}
            await self._client.patch(VOLUMES, name, released, subresource="status")
        elif volume.get("status", {}).get("phase") == "Released":
            await self._reclaim(name, volume)
        return None

    async def _claim_stands(self, ref: dict[str, Any]) -> bool:
        try:
            found = await self._client.get(CLAIMS, ref["name"], namespace=ref["namespace"])
        except NotFoundError:
            return False
        return bool(found["metadata"]["uid"] == ref.get("uid"))

    async def _reclaim(self, name: str, volume: Document) -> None:
        attached = any(
            attachment["spec"]["source"].get("persistentVolumeName") == name
            for attachment in self._mirrors.attachments.objects.values()
        )
        if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete" or attached:
            return
        annotations = volume["metadata"].get("annotations", {})
        ref: Ref | None = None
        if f"{_DELETION_SECRET}-name" in annotations:
            ref = {part: annotations[f"{_DELETION_SECRET}-{part}"] for part in ("name", "namespace")}
        request = pb.DeleteVolumeRequest(
            volume_id=volume["spec"]["csi"]["volumeHandle"], secrets=await read_secret(self._client, ref)
        )
        await self._plugin.call(self._plugin.controller.DeleteVolume, request)
        await self._client.delete(VOLUMES, name)

    async def _take_off_protection(self, endpoint: Endpoint, doc: Document) -> None:
        namespace, name = split_key(key_of(doc))
        kept = [finalizer for finalizer in doc["metadata"].get("finalizers", []) if finalizer not in _PROTECTION]
        body = {"metadata": {"finalizers": kept, "resourceVersion": doc["metadata"]["resourceVersion"]}}
        try:
            await self._client.patch(endpoint, name, body, namespace=namespace)
        except NotFoundError:
            return


def _volume(name: str, *, claim: Document, storage_class: Document, made: pb.Volume, driver: str) -> Document:
    """Return the PersistentVolume for what the driver made."""
    parameters: dict[str, str] = storage_class.get("parameters") or {}
    meta, spec = claim["metadata"], claim["spec"]
    requested_bytes = parse_bytes(spec["resources"]["requests"]["storage"])
    source: dict[str, Any] = {"driver": driver, "volumeHandle": made.volume_id}
    if spec.get("volumeMode") != "Block":
        source["fsType"] = parameters.get(f"{PREFIX}fstype", "")
    if made.volume_context:
        source["volumeAttributes"] = dict(made.volume_context)
    for field, role in _SECRET_REFS.items():
        ref = secret_ref(parameters, role, claim=claim, volume=name)
        if ref is not None:
            source[field] = ref
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: driver}, "finalizers": [_VOLUME_FINALIZER]},
        "spec": {
            "capacity": {"storage": format_bytes(made.capacity_bytes or requested_bytes)},
            "accessModes": spec["accessModes"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "csi": source,
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            **({"mountOptions": storage_class["mountOptions"]} if storage_class.get("mountOptions") else {}),
        },
    }
