"""VolumeAttachments: what the attach-detach controller and external-attacher do in a real cluster, for one driver.

A pod scheduled to a node gets an attachment for each of its volumes there; the driver is asked to publish the
volume to the node, and `status.attached` says that it did. When no pod that is still there uses the volume on
that node, the attachment is deleted, the driver unpublishes, and the finalizer goes. A pod object stays until its
kubelet has let its volumes go, so its disappearance is what detaching waits for.
"""

import asyncio
from typing import Final

from resizer.devcluster.client import ATTACHMENTS, VOLUMES, Client, ConflictError, Document, NotFoundError
from resizer.devcluster.event import tell
from resizer.devcluster.kubelet_paths import attachment_name
from resizer.devcluster.mirror import Mirrors, claim_mounts, uses_volumes
from resizer.devcluster.plugin import Plugin, capability
from resizer.devcluster.reconciler import Reconciler
from resizer.devcluster.secret import read_secret
from resizer.model.errors import DriverError
from resizer.rpc.pb import csi_v1_pb2 as pb

_LOOK_AGAIN_S: Final = 0.1
_SOURCE: Final = "attachdetach-controller"


class Attacher:
    """Attaches and detaches the volumes of one driver."""

    def __init__(self, *, client: Client, mirrors: Mirrors, plugin: Plugin) -> None:
        self._client = client
        self._mirrors = mirrors
        self._plugin = plugin
        self._finalizer = f"external-attacher/{plugin.name.replace('.', '-')}"
        self._pods = Reconciler("attach-detach", self._sync_pod)
        self._attachments = Reconciler("attacher", self._sync_attachment)

    async def run(self) -> None:
        """Attach until cancelled."""
        self._mirrors.pods.subscribe(self._on_pod)
        self._mirrors.users.subscribe(self._on_released)
        self._mirrors.claims.subscribe(self._on_claim)
        self._mirrors.attachments.subscribe(self._on_attachment)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run())
            group.create_task(self._attachments.run())

    def _on_pod(self, key: str) -> None:
        pod = self._mirrors.pods.get(key)
        if pod is not None and uses_volumes(pod) and pod["spec"].get("nodeName"):
            self._pods.wake(key)

    def _on_released(self, key: str) -> None:
        """A pod that went, or ended, may have been the last to use the claim's volume on its node."""
        claim = self._mirrors.claims.get(key)
        volume = claim["spec"].get("volumeName") if claim is not None else None
        for name, attachment in self._mirrors.attachments.objects.items():
            if volume is None or attachment["spec"]["source"].get("persistentVolumeName") == volume:
                self._attachments.wake(name)

    def _on_claim(self, key: str) -> None:
        claim = self._mirrors.claims.get(key)
        if claim is None or claim.get("status", {}).get("phase") != "Bound":
            return
        for name in self._mirrors.users.of(key):
            self._wake_if_pending(name)

    def _wake_if_pending(self, name: str) -> None:
        pod = self._mirrors.pods.get(name)
        if pod is not None and pod.get("status", {}).get("phase") == "Pending":
            self._pods.wake(name)

    def _on_attachment(self, name: str) -> None:
        self._attachments.wake(name)
        if self._mirrors.attachments.get(name) is None:
            self._mirrors.handover.detaching.discard(name)
            # A pod that came while the volume was being detached needs it attached again.
            for key in self._mirrors.pods.objects:
                self._wake_if_pending(key)

    # ---- a pod: make attachments ----

    async def _sync_pod(self, key: str) -> float | None:
        pod = self._mirrors.pods.get(key)
        if pod is None or not uses_volumes(pod) or "deletionTimestamp" in pod["metadata"]:
            return None
        node = pod["spec"].get("nodeName")
        if not node:
            return None
        for claim_key in claim_mounts(pod):
            claim = self._mirrors.claims.get(claim_key)
            if claim is None or claim.get("status", {}).get("phase") != "Bound":
                continue
            volume = self._mirrors.volume_of(claim)
            if volume is None:
                return _LOOK_AGAIN_S  # bound: its volume is on its way through the other watch
            if volume["spec"].get("csi", {}).get("driver") == self._plugin.name:
                await self._attach(volume, node)
        return None

    async def _attach(self, volume: Document, node: str) -> None:
        handle = volume["spec"]["csi"]["volumeHandle"]
        name = attachment_name(handle=handle, driver=self._plugin.name, node=node)
        if self._mirrors.attachments.get(name) is not None:
            return
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": name, "finalizers": [self._finalizer]},
            "spec": {
                "attacher": self._plugin.name,
                "nodeName": node,
                "source": {"persistentVolumeName": volume["metadata"]["name"]},
            },
        }
        try:
            await self._client.create(ATTACHMENTS, body)
        except ConflictError:
            return

    # ---- an attachment: make it true ----

    async def _sync_attachment(self, name: str) -> float | None:
        attachment = self._mirrors.attachments.get(name)
        if attachment is None or attachment["spec"]["attacher"] != self._plugin.name:
            return None
        if "deletionTimestamp" in attachment["metadata"]:
            await self._detach(name, attachment)
        elif not self._is_used(attachment):
            if not self._mirrors.handover.try_detach(name):
                return _LOOK_AGAIN_S
            await self._client.delete(ATTACHMENTS, name)
        elif not attachment.get("status", {}).get("attached"):
            await self._publish(name, attachment)
        return None

    def _users(self, attachment: Document) -> list[Document]:
        """The pods that name the attached volume's claim."""
        claim = self._mirrors.claim_key_of(attachment["spec"]["source"]["persistentVolumeName"])
        found = [self._mirrors.pods.get(key) for key in self._mirrors.users.of(claim)]
        return [pod for pod in found if pod is not None]

    def _is_used(self, attachment: Document) -> bool:
        """Whether a pod that is there, deleted or not, uses the volume on that node."""
        node = attachment["spec"]["nodeName"]
        return any(pod["spec"].get("nodeName") == node and uses_volumes(pod) for pod in self._users(attachment))

    async def _publish(self, name: str, attachment: Document) -> None:
        if self._plugin.publishes:
            try:
                context = await self._call_publish(attachment)
            except DriverError as error:
                await self._tell_pods(attachment, str(error))
                raise
        else:
            context = {}
        status = {"attached": True, **({"attachmentMetadata": context} if context else {})}
        await self._client.patch(ATTACHMENTS, name, {"status": status}, subresource="status")

    async def _call_publish(self, attachment: Document) -> dict[str, str]:
        volume = await self._client.get(VOLUMES, attachment["spec"]["source"]["persistentVolumeName"])
        csi = volume["spec"]["csi"]
        use = capability(
            volume["spec"],
            fs_type=csi.get("fsType", ""),
            single_node_multi_writer=self._plugin.single_node_multi_writer,
        )
        request = pb.ControllerPublishVolumeRequest(
            volume_id=csi["volumeHandle"],
            node_id=self._node_id(attachment["spec"]["nodeName"]),
            volume_capability=use,
            secrets=await read_secret(self._client, csi.get("controllerPublishSecretRef")),
            volume_context=csi.get("volumeAttributes", {}),
        )
        answer = await self._plugin.call(self._plugin.controller.ControllerPublishVolume, request)
        return dict(answer.publish_context)

    async def _detach(self, name: str, attachment: Document) -> None:
        if self._plugin.publishes:
            await self._call_unpublish(attachment)
        kept = [one for one in attachment["metadata"].get("finalizers", []) if one != self._finalizer]
        try:
            await self._client.patch(ATTACHMENTS, name, {"metadata": {"finalizers": kept}})
        except NotFoundError:
            return

    async def _call_unpublish(self, attachment: Document) -> None:
        volume = self._mirrors.volumes.get(attachment["spec"]["source"]["persistentVolumeName"])
        if volume is None:
            return
        csi = volume["spec"]["csi"]
        request = pb.ControllerUnpublishVolumeRequest(
            volume_id=csi["volumeHandle"],
            node_id=self._node_id(attachment["spec"]["nodeName"]),
            secrets=await read_secret(self._client, csi.get("controllerPublishSecretRef")),
        )
        await self._plugin.call(self._plugin.controller.ControllerUnpublishVolume, request)

    def _node_id(self, node: str) -> str:
        """The id that the driver gave itself on that node, as its CSINode says."""
        found = self._mirrors.csi_nodes.get(node)
        drivers = found["spec"].get("drivers") or [] if found else []
        return str(next((driver["nodeID"] for driver in drivers if driver["name"] == self._plugin.name), node))

    async def _tell_pods(self, attachment: Document, text: str) -> None:
        volume = attachment["spec"]["source"]["persistentVolumeName"]
        message = f'AttachVolume.Attach failed for volume "{volume}" : {text}'
        for pod in self._users(attachment):
            await tell(self._client, pod, type_="Warning", reason="FailedAttachVolume", message=message, source=_SOURCE)
