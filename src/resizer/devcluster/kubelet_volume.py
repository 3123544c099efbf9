"""One volume on one node, and what the kubelet-like part does with it through the driver's node service.

Stage once, publish for each pod, and back again; the notes that a real kubelet leaves beside (`vol_data.json`,
with its fields) are written before the driver is called and removed after it, so that whoever reads them (the
node agent) never finds a published volume without them. Growing is decided in `kubelet_growth`.
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from resizer.devcluster.client import Client, Document
from resizer.devcluster.kubelet_paths import VOLUME_DATA, KubeletPaths, attachment_name
from resizer.devcluster.plugin import Plugin, capability
from resizer.devcluster.secret import read_secret
from resizer.rpc.pb import csi_v1_pb2 as pb

_ABSENT: Final = 0


@dataclass(slots=True)
class NodeVolume:
    """A volume on this node. `lock` is held by whatever touches it: one operation a volume, as in a kubelet.

    `size_bytes` is what the node believes the volume to have, `wanted_bytes` what a pod's sync saw in the volume
    object; they differ while a growth is due. `not_before` is loop time.
    """

    name: str
    claim_key: str
    spec: Document
    plugin: Plugin
    size_bytes: int = _ABSENT
    wanted_bytes: int = _ABSENT
    staged: bool = False
    targets: dict[str, bool] = field(default_factory=dict)
    failures: int = 0
    not_before: float = 0.0
    refused_in_use: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def handle(self) -> str:
        """The driver's id of the volume."""
        return str(self.spec["csi"]["volumeHandle"])

    @property
    def is_block(self) -> bool:
        """Whether pods get the device itself."""
        return self.spec.get("volumeMode") == "Block"

    @property
    def is_growth_due(self) -> bool:
        """Whether a sync saw a larger volume, and some pod may write to it."""
        return self.wanted_bytes > self.size_bytes and not all(self.targets.values())

    @property
    def capability(self) -> pb.VolumeCapability:
        """The capability it is used with."""
        fs_type = self.spec["csi"].get("fsType", "")
        many = self.plugin.single_node_multi_writer
        return capability(self.spec, fs_type=fs_type, single_node_multi_writer=many)


class VolumeMounter:
    """Stages, publishes and lets go volumes below one kubelet's directory."""

    def __init__(self, *, client: Client, paths: KubeletPaths, node: str) -> None:
        self._client = client
        self._paths = paths
        self._node = node

    def staging_path(self, volume: NodeVolume) -> Path:
        """Where the volume is staged."""
        if volume.is_block:
            return self._paths.device_staging(volume.name)
        return self._paths.staging(volume.plugin.name, volume.handle)

    def target_path(self, volume: NodeVolume, uid: str) -> Path:
        """Where the volume is published for a pod."""
        place = self._paths.device if volume.is_block else self._paths.mount
        return place(uid, volume.name)

    async def stage(self, volume: NodeVolume, *, publish_context: dict[str, str]) -> None:
        """Stage the volume if it is not and the driver has that step."""
        if volume.staged or not volume.plugin.stages:
            return
        path, csi = self.staging_path(volume), volume.spec["csi"]
        await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True, mode=0o750)
        if not volume.is_block:
            note = {"driverName": volume.plugin.name, "volumeHandle": volume.handle}
            await asyncio.to_thread(_write_note, path.with_name(VOLUME_DATA), note)
        request = pb.NodeStageVolumeRequest(
            volume_id=volume.handle,
            publish_context=publish_context,
            staging_target_path=str(path),
            volume_capability=volume.capability,
            secrets=await read_secret(self._client, csi.get("nodeStageSecretRef")),
            volume_context=csi.get("volumeAttributes", {}),
        )
        await volume.plugin.call(volume.plugin.node.NodeStageVolume, request)
        volume.staged = True

    async def publish(self, volume: NodeVolume, uid: str, *, read_only: bool, publish_context: dict[str, str]) -> None:
        """Publish the staged volume for a pod."""
        path, csi = self.target_path(volume, uid), volume.spec["csi"]
        await asyncio.to_thread(self._prepare_target, volume, uid)
        request = pb.NodePublishVolumeRequest(
            volume_id=volume.handle,
            publish_context=publish_context,
            staging_target_path=str(self.staging_path(volume)) if volume.plugin.stages else "",
            target_path=str(path),
            volume_capability=volume.capability,
            readonly=read_only,
            secrets=await read_secret(self._client, csi.get("nodePublishSecretRef")),
            volume_context=csi.get("volumeAttributes", {}),
        )
        await volume.plugin.call(volume.plugin.node.NodePublishVolume, request)
        if volume.is_block:
            link = self._paths.device_link(uid, volume.name)
            await asyncio.to_thread(_link, link, path)
        volume.targets[uid] = read_only

    def _prepare_target(self, volume: NodeVolume, uid: str) -> None:
        """Make the folder above the target and note what is going to stand there."""
        path = self.target_path(volume, uid)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        name = attachment_name(handle=volume.handle, driver=volume.plugin.name, node=self._node)
        note = {
            "attachmentID": name,
            "driverName": volume.plugin.name,
            "nodeName": self._node,
            "specVolID": volume.name,
            "volumeHandle": volume.handle,
        }
        if volume.is_block:
            place = self._paths.device_data(volume.name)
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            _write_note(place, note)
        else:
            _write_note(path.with_name(VOLUME_DATA), {**note, "volumeLifecycleMode": "Persistent"})

    async def unpublish(self, volume: NodeVolume, uid: str) -> None:
        """Let the volume go for a pod."""
        path = self.target_path(volume, uid)
        if volume.is_block:
            await asyncio.to_thread(self._paths.device_link(uid, volume.name).unlink, missing_ok=True)
        request = pb.NodeUnpublishVolumeRequest(volume_id=volume.handle, target_path=str(path))
        await volume.plugin.call(volume.plugin.node.NodeUnpublishVolume, request)
        await asyncio.to_thread(_remove_if_empty, path)
        if not volume.is_block:
            await asyncio.to_thread(_remove_note, path.with_name(VOLUME_DATA))
        volume.targets.pop(uid, None)

    async def unstage(self, volume: NodeVolume) -> None:
        """Let the volume go for the node, when no pod has it."""
        path = self.staging_path(volume)
        if volume.staged:
            request = pb.NodeUnstageVolumeRequest(volume_id=volume.handle, staging_target_path=str(path))
            await volume.plugin.call(volume.plugin.node.NodeUnstageVolume, request)
            volume.staged = False
        await asyncio.to_thread(_remove_if_empty, path)
        if volume.is_block:
            await asyncio.to_thread(self._remove_device_folders, volume)
        else:
            await asyncio.to_thread(_remove_note, path.with_name(VOLUME_DATA))

    def _remove_device_folders(self, volume: NodeVolume) -> None:
        data = self._paths.device_data(volume.name)
        _remove_note(data)
        _remove_if_empty(data.parent.parent)
        _remove_if_empty(self._paths.device("", volume.name))

    async def remove_pod_folder(self, uid: str) -> None:
        """Remove what is left of a pod: folders only, for nothing is published in it any more."""
        await asyncio.to_thread(_remove_folders, self._paths.pod(uid))


def _write_note(path: Path, note: dict[str, str]) -> None:
    path.write_bytes(msgspec.json.encode(note))


def _remove_note(path: Path) -> None:
    """Remove a note and the folder that was there for it."""
    path.unlink(missing_ok=True)
    _remove_if_empty(path.parent)


def _remove_if_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()


def _remove_folders(path: Path) -> None:
    """Remove empty folders only: whatever else lies there is data, or a mount."""
    for folder, _, _ in os.walk(path, topdown=False):
        _remove_if_empty(Path(folder))


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    link.unlink(missing_ok=True)
    link.symlink_to(target)
