"""The kubelet-like part: runs the pods of its node as far as their volumes go, and grows the volumes under them.

A pod that is assigned to the node and whose claims are bound and attached gets them staged and published, its
containers started (where the cluster has something to start) and its phase set to Running. Its volumes are looked
at again at each sync, every 60 s, or at once when the pod's metadata changes: that is when a growth is noticed,
and no earlier, as in a real kubelet. When the pod goes, all of this is undone before the pod object disappears.

Several of them may run in one process, each with a directory and a name of its own.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from resizer.devcluster.client import Client, Document
from resizer.devcluster.event import tell
from resizer.devcluster.kubelet_growth import KubeletTiming, VolumeGrowth
from resizer.devcluster.kubelet_node import register, report_gone, report_running
from resizer.devcluster.kubelet_paths import KubeletPaths, attachment_name
from resizer.devcluster.kubelet_volume import NodeVolume, VolumeMounter
from resizer.devcluster.mirror import Mirrors, claim_mounts, uses_volumes
from resizer.devcluster.plugin import Plugin
from resizer.devcluster.reconciler import Reconciler
from resizer.model.errors import DriverError
from resizer.model.quantity import parse_bytes

_log = structlog.get_logger(__name__)


class Containers(Protocol):
    """What runs in pods. There is no container runtime here: whoever composes the cluster may bring a substitute."""

    async def start(self, pod: Document, volumes: dict[str, Path]) -> None:
        """Start the pod's containers; `volumes` are the published paths by claim name."""

    async def stop(self, uid: str) -> None:
        """Stop what was started for the pod; nothing to stop is stopped already."""


@dataclass(slots=True)
class _Record:
    """A pod that is, or was, here. `metadata` is what the last sync saw, `next_sync` loop time."""

    key: str
    volumes: dict[str, NodeVolume]
    is_started: bool = False
    metadata: Any = None
    next_sync: float = 0.0


class Kubelet:
    """One node of the development cluster."""

    def __init__(
        self,
        *,
        client: Client,
        mirrors: Mirrors,
        plugins: list[Plugin],
        node: str,
        root: Path,
        timing: KubeletTiming | None = None,
        containers: Containers | None = None,
        is_only_node: bool = True,
    ) -> None:
        self.node = node
        self._is_only_node = is_only_node
        self.paths = KubeletPaths(root)
        self._client = client
        self._mirrors = mirrors
        self._plugins = {plugin.name: plugin for plugin in plugins}
        self._timing = timing or KubeletTiming()
        self._containers = containers
        self._mounter = VolumeMounter(client=client, paths=self.paths, node=node)
        self._growth = VolumeGrowth(client=client, mounter=self._mounter, timing=self._timing)
        self._records: dict[str, _Record] = {}
        self._uids: dict[str, set[str]] = {}
        self._volumes: dict[str, NodeVolume] = {}
        self._pods = Reconciler(f"kubelet {node}", self._sync_pod)
        self._growths = Reconciler(f"kubelet growth {node}", self._grow)

    async def run(self) -> None:
        """Register the node and run its pods until cancelled. What is published then stays published."""
        # A driver has one id for itself; where it serves several simulated nodes it knows them by their names.
        ids = {name: plugin.node_id if self._is_only_node else self.node for name, plugin in self._plugins.items()}
        await register(self._client, node=self.node, node_ids=ids)
        self._mirrors.pods.subscribe(self._on_pod)
        self._mirrors.claims.subscribe(self._on_claim)
        self._mirrors.volumes.subscribe(self._on_volume)
        self._mirrors.attachments.subscribe(self._on_attachment)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run())
            group.create_task(self._growths.run())

    # ---- what wakes what ----

    def _on_pod(self, key: str) -> None:
        pod = self._mirrors.pods.get(key)
        if pod is not None and pod["spec"].get("nodeName") == self.node:
            uid = pod["metadata"]["uid"]
            self._records.setdefault(uid, _Record(key, {}))
            self._uids.setdefault(key, set()).add(uid)
        for uid in self._uids.get(key, ()):
            self._pods.wake(uid)

    def _on_claim(self, key: str) -> None:
        """A pod may wait for this claim, or a growth for another state of it."""
        for pod_key in self._mirrors.users.of(key):
            for uid in self._uids.get(pod_key, ()):
                if not self._records[uid].is_started:
                    self._pods.wake(uid)
        claim = self._mirrors.claims.get(key)
        volume = self._volumes.get(claim["spec"].get("volumeName", "")) if claim is not None else None
        if volume is not None and volume.is_growth_due:
            self._growths.wake(volume.name)

    def _on_volume(self, name: str) -> None:
        self._on_claim(self._mirrors.claim_key_of(name))

    def _on_attachment(self, name: str) -> None:
        attachment = self._mirrors.attachments.get(name)
        if attachment is not None and attachment["spec"]["nodeName"] == self.node:
            self._on_volume(attachment["spec"]["source"]["persistentVolumeName"])

    # ---- a pod ----

    async def _sync_pod(self, uid: str) -> float | None:
        record = self._records.get(uid)
        if record is None:
            return None
        pod = self._mirrors.pods.get(record.key)
        if pod is not None and pod["metadata"]["uid"] != uid:
            pod = None
        if pod is None or "deletionTimestamp" in pod["metadata"] or not uses_volumes(pod):
            await self._tear_down(uid, record)
            if pod is not None and "deletionTimestamp" in pod["metadata"]:
                await report_gone(self._client, pod)
            self._forget(uid, record)
            return None
        if not record.is_started and not await self._start(pod, record):
            return None
        return self._notice_growth(pod, record)

    async def _start(self, pod: Document, record: _Record) -> bool:
        """Mount the pod's volumes and start it; False while something it needs is missing."""
        for claim_key, read_only in claim_mounts(pod).items():
            try:
                mounted = await self._mount(pod, record, claim_key=claim_key, read_only=read_only)
            except DriverError as error:
                message = f'MountVolume failed for claim "{claim_key}" : {error}'
                await tell(self._client, pod, type_="Warning", reason="FailedMount", message=message, source="kubelet")
                raise
            if not mounted:
                return False
        uid = pod["metadata"]["uid"]
        if self._containers is not None:
            await self._containers.start(pod, self._published(uid, record))
        record.is_started = True
        if pod.get("status", {}).get("phase") != "Running":
            await report_running(self._client, pod)
        return True

    def _published(self, uid: str, record: _Record) -> dict[str, Path]:
        return {
            key.rpartition("/")[2]: self._mounter.target_path(volume, uid) for key, volume in record.volumes.items()
        }

    async def _mount(self, pod: Document, record: _Record, *, claim_key: str, read_only: bool) -> bool:
        claim = self._mirrors.claims.get(claim_key)
        found = self._mirrors.volume_of(claim) if claim is not None else None
        if claim is None or found is None:
            return False
        plugin = self._plugins.get(found["spec"].get("csi", {}).get("driver", ""))
        context = self._publish_context(found, plugin) if plugin is not None else None
        if plugin is None or context is None:
            return False
        if not self._mirrors.handover.try_use(self._attachment(found, plugin)):
            return False
        name, uid = found["metadata"]["name"], pod["metadata"]["uid"]
        volume = self._volumes.setdefault(name, NodeVolume(name, claim_key, found["spec"], plugin))
        record.volumes[claim_key] = volume
        async with volume.lock:
            if uid in volume.targets:
                return True
            if not volume.targets:
                await self._stage(volume, claim=claim, found=found, context=context, read_only=read_only)
            await self._mounter.publish(volume, uid, read_only=read_only, publish_context=context)
        return True

    def _publish_context(self, found: Document, plugin: Plugin) -> dict[str, str] | None:
        """What the driver said when it published the volume to this node; None while it is not attached."""
        attachment = self._mirrors.attachments.get(self._attachment(found, plugin))
        status = attachment.get("status", {}) if attachment else {}
        return status.get("attachmentMetadata", {}) if status.get("attached") else None

    def _attachment(self, found: Document, plugin: Plugin) -> str:
        handle = found["spec"]["csi"]["volumeHandle"]
        return attachment_name(handle=handle, driver=plugin.name, node=self.node)

    async def _stage(
        self, volume: NodeVolume, *, claim: Document, found: Document, context: dict[str, str], read_only: bool
    ) -> None:
        """Stage the volume for the first pod here, and grow it first if the claim waits for that."""
        volume.spec = found["spec"]
        volume.size_bytes = parse_bytes(claim["status"]["capacity"]["storage"])
        volume.wanted_bytes = parse_bytes(found["spec"]["capacity"]["storage"])
        await self._mounter.stage(volume, publish_context=context)
        if volume.wanted_bytes > volume.size_bytes and not read_only:
            await self._growth.grow_while_mounting(volume)

    # ---- growth ----

    def _notice_growth(self, pod: Document, record: _Record) -> float:
        """At a sync, see which of the pod's volumes have become larger; return the seconds to the next sync."""
        now = asyncio.get_running_loop().time()
        meta = pod["metadata"]
        metadata = (meta.get("annotations"), meta.get("labels"))
        if record.metadata != metadata or now >= record.next_sync:
            record.metadata, record.next_sync = metadata, now + self._timing.sync_s
            for volume in record.volumes.values():
                found = self._mirrors.volumes.get(volume.name)
                if found is not None:
                    volume.wanted_bytes = parse_bytes(found["spec"]["capacity"]["storage"])
                if volume.is_growth_due:
                    self._growths.wake(volume.name)
        return record.next_sync - now

    async def _grow(self, name: str) -> float | None:
        volume = self._volumes.get(name)
        if volume is None:
            return None
        async with volume.lock:
            return await self._growth.grow_mounted(volume)

    # ---- the end of a pod ----

    async def _tear_down(self, uid: str, record: _Record) -> None:
        if self._containers is not None:
            await self._containers.stop(uid)
        for volume in record.volumes.values():
            async with volume.lock:
                if uid in volume.targets or not volume.targets:
                    await self._release(volume, uid)
        record.volumes.clear()
        await self._mounter.remove_pod_folder(uid)
        _log.debug("kubelet.pod_gone", node=self.node, pod=record.key)

    def _forget(self, uid: str, record: _Record) -> None:
        self._records.pop(uid, None)
        self._uids[record.key].discard(uid)
        if not self._uids[record.key]:
            del self._uids[record.key]

    async def _release(self, volume: NodeVolume, uid: str) -> None:
        await self._mounter.unpublish(volume, uid)
        volume.refused_in_use = False
        if not volume.targets:
            await self._mounter.unstage(volume)
            self._mirrors.handover.in_use.discard(self._attachment({"spec": volume.spec}, volume.plugin))
            if self._volumes.get(volume.name) is volume:
                del self._volumes[volume.name]
