"""Node: volumes are staged, published and grown where pods use them (CSI 1.12, "Node Service RPC").

What each method leaves behind is noted before and after (`pending`), so that a driver that was killed in between
knows where to look; whether something really is mounted is asked of the backend every time.
"""

import asyncio
import contextlib
import os
from typing import Final

import msgspec
import structlog

from resizer.driver import image_file
from resizer.driver.backend import Backend
from resizer.driver.capability import MANY_TARGET_MODES, is_read_only, parse_use
from resizer.driver.failure import CallError, already_exists, invalid, not_found, out_of_range, precondition
from resizer.driver.growth import grow_staged, prepare_unattached
from resizer.driver.guard import Guard
from resizer.driver.size import parse_range
from resizer.driver.volumes import Staging, Target, Use, Volume, VolumeBook
from resizer.rpc.pb import csi_v1_pb2 as pb

RPC = pb.NodeServiceCapability.RPC

_CAPABILITIES: Final = (
    RPC.STAGE_UNSTAGE_VOLUME,
    RPC.EXPAND_VOLUME,
    RPC.GET_VOLUME_STATS,
    RPC.SINGLE_NODE_MULTI_WRITER,
)
_log = structlog.get_logger(__name__)


class Node:
    """The Node service."""

    def __init__(self, *, book: VolumeBook, backend: Backend, guard: Guard, node_id: str) -> None:
        """Serve the volumes of `book` on the node of that id."""
        self._book = book
        self._backend = backend
        self._guard = guard
        self._node_id = node_id

    async def node_get_capabilities(self, request: pb.NodeGetCapabilitiesRequest) -> pb.NodeGetCapabilitiesResponse:
        """What the methods below do."""
        del request
        return pb.NodeGetCapabilitiesResponse(
            capabilities=[pb.NodeServiceCapability(rpc=RPC(type=kind)) for kind in _CAPABILITIES]
        )

    async def node_get_info(self, request: pb.NodeGetInfoRequest) -> pb.NodeGetInfoResponse:
        """The node's id; no limit of volumes, no topology."""
        del request
        return pb.NodeGetInfoResponse(node_id=self._node_id)

    # ---- staging ----

    async def node_stage_volume(self, request: pb.NodeStageVolumeRequest) -> pb.NodeStageVolumeResponse:
        """Attach the volume, make its filesystem the first time, mount it, grow it if it is smaller."""
        _require_id(request.volume_id)
        path = _absolute(request.staging_target_path, name="staging_target_path")
        use = _parse_use(request)
        volume = self._ready(request.volume_id)
        _check_use(volume, use)
        wanted = Staging(path, use, pending=False)
        return await self._guard.run(volume.volume_id, lambda: self._stage(volume.volume_id, wanted))

    async def _stage(self, volume_id: str, wanted: Staging) -> pb.NodeStageVolumeResponse:
        volume = self._ready(volume_id)
        present = volume.staging_at(wanted.path)
        if present is not None and present.use != wanted.use:
            raise already_exists(f"volume {volume_id} is staged at {wanted.path} with another capability")
        if present == wanted and self._backend.is_staged(volume, wanted.path):
            return pb.NodeStageVolumeResponse()
        volume = await self._book.put(volume.with_staging(msgspec.structs.replace(wanted, pending=True)))
        try:
            if volume.access == "mount" and not self._backend.is_attached(volume):
                volume = await prepare_unattached(volume, book=self._book, backend=self._backend)
            await self._backend.stage(volume, wanted)
            if volume.access == "mount" and not is_read_only(wanted.use):
                await grow_staged(volume, backend=self._backend)
        except CallError:
            with contextlib.suppress(CallError):
                await self._leave_stage(volume, wanted.path)
            raise
        await self._book.put(volume.with_staging(wanted))
        return pb.NodeStageVolumeResponse()

    async def node_unstage_volume(self, request: pb.NodeUnstageVolumeRequest) -> pb.NodeUnstageVolumeResponse:
        """Unmount the staging path and, when nothing else has the volume staged, detach it."""
        _require_id(request.volume_id)
        path = _absolute(request.staging_target_path, name="staging_target_path")
        volume = self._known(request.volume_id)
        return await self._guard.run(volume.volume_id, lambda: self._unstage(volume.volume_id, path))

    async def _unstage(self, volume_id: str, path: str) -> pb.NodeUnstageVolumeResponse:
        volume = self._known(volume_id)
        published = [target.path for target in volume.targets if target.staging_path == path]
        if published:
            raise precondition(f"volume {volume_id} is published at {', '.join(published)}: unpublish it first")
        await self._leave_stage(volume, path)
        return pb.NodeUnstageVolumeResponse()

    async def _leave_stage(self, volume: Volume, path: str) -> None:
        after = volume.without_staging(path)
        await self._backend.unstage(volume, path)
        if not after.stagings:
            await self._backend.detach(volume)
        if after != volume:
            await self._book.put(after)

    # ---- publication ----

    async def node_publish_volume(self, request: pb.NodePublishVolumeRequest) -> pb.NodePublishVolumeResponse:
        """Make the staged volume visible at the target path."""
        _require_id(request.volume_id)
        path = _absolute(request.target_path, name="target_path")
        use = _parse_use(request)
        volume = self._ready(request.volume_id)
        _check_use(volume, use)
        if not request.staging_target_path:
            raise precondition(f"volume {volume.volume_id}: no staging_target_path: call NodeStageVolume first")
        wanted = Target(
            path=path,
            staging_path=_absolute(request.staging_target_path, name="staging_target_path"),
            use=use,
            readonly=request.readonly or is_read_only(use),
            pending=False,
        )
        return await self._guard.run(volume.volume_id, lambda: self._publish(volume.volume_id, wanted))

    async def _publish(self, volume_id: str, wanted: Target) -> pb.NodePublishVolumeResponse:
        volume = self._ready(volume_id)
        self._check_publishable(volume, wanted)
        if volume.target_at(wanted.path) == wanted and self._backend.is_published(volume, wanted.path):
            return pb.NodePublishVolumeResponse()
        before = volume
        volume = await self._book.put(volume.with_target(msgspec.structs.replace(wanted, pending=True)))
        try:
            await self._backend.publish(volume, wanted)
        except CallError:
            with contextlib.suppress(CallError):
                await self._backend.unpublish(volume, wanted.path)
                await self._book.put(before)
            raise
        await self._book.put(volume.with_target(wanted))
        return pb.NodePublishVolumeResponse()

    def _check_publishable(self, volume: Volume, wanted: Target) -> None:
        staging = volume.staging_at(wanted.staging_path)
        if staging is None or staging.pending or not self._backend.is_staged(volume, staging.path):
            raise precondition(
                f"volume {volume.volume_id} is not staged at {wanted.staging_path}: call NodeStageVolume first"
            )
        for present in volume.targets:
            if present.path == wanted.path:
                if (present.use, present.readonly) != (wanted.use, wanted.readonly):
                    raise already_exists(
                        f"volume {volume.volume_id} is published at {wanted.path} "
                        "with another capability or readonly flag"
                    )
            elif not {present.use.mode, wanted.use.mode} <= MANY_TARGET_MODES:
                raise precondition(
                    f"volume {volume.volume_id} is published at {present.path}, and its access mode allows one path: "
                    "unpublish it there first"
                )

    async def node_unpublish_volume(self, request: pb.NodeUnpublishVolumeRequest) -> pb.NodeUnpublishVolumeResponse:
        """Undo the publication and remove the target path."""
        _require_id(request.volume_id)
        path = _absolute(request.target_path, name="target_path")
        volume = self._known(request.volume_id)
        return await self._guard.run(volume.volume_id, lambda: self._unpublish(volume.volume_id, path))

    async def _unpublish(self, volume_id: str, path: str) -> pb.NodeUnpublishVolumeResponse:
        volume = self._known(volume_id)
        await self._backend.unpublish(volume, path)
        after = volume.without_target(path)
        if after != volume:
            await self._book.put(after)
        return pb.NodeUnpublishVolumeResponse()

    # ---- growth and statistics ----

    async def node_expand_volume(self, request: pb.NodeExpandVolumeRequest) -> pb.NodeExpandVolumeResponse:
        """Grow the filesystem to the size of the volume; nothing to do is done already."""
        _require_id(request.volume_id)
        path = _normal(request.volume_path, name="volume_path")
        volume = self._ready(request.volume_id)
        if request.HasField("volume_capability"):
            use = parse_use(request.volume_capability)
            if use.access != volume.access:
                raise invalid(f"volume {volume.volume_id} is a {volume.access} volume")
        self._check_present(volume, path)
        return await self._guard.run(volume.volume_id, lambda: self._expand(request))

    async def _expand(self, request: pb.NodeExpandVolumeRequest) -> pb.NodeExpandVolumeResponse:
        volume = self._ready(request.volume_id)
        wanted = parse_range(request.capacity_range)
        if wanted.required > volume.capacity_bytes:
            raise out_of_range(
                f"volume {volume.volume_id} has {volume.capacity_bytes} bytes, {wanted.required} are asked for: "
                "call ControllerExpandVolume first"
            )
        if wanted.limit and volume.capacity_bytes > wanted.limit:
            raise out_of_range(f"volume {volume.volume_id} has {volume.capacity_bytes} bytes: volumes never shrink")
        await self._backend.refresh_size(volume)
        if volume.access == "mount":
            await grow_staged(volume, backend=self._backend)
        _log.info("volume.node_expanded", volume_id=volume.volume_id, capacity_bytes=volume.capacity_bytes)
        return pb.NodeExpandVolumeResponse(capacity_bytes=volume.capacity_bytes)

    async def node_get_volume_stats(self, request: pb.NodeGetVolumeStatsRequest) -> pb.NodeGetVolumeStatsResponse:
        """How full the volume at that path is."""
        _require_id(request.volume_id)
        path = _normal(request.volume_path, name="volume_path")
        volume = self._ready(request.volume_id)
        self._check_present(volume, path)
        usage = await asyncio.to_thread(self._backend.usage, volume, path)
        answer = [
            pb.VolumeUsage(
                unit=pb.VolumeUsage.BYTES,
                total=usage.total_bytes,
                available=usage.available_bytes,
                used=usage.used_bytes,
            )
        ]
        if usage.total_inodes is not None and usage.available_inodes is not None:
            answer.append(
                pb.VolumeUsage(
                    unit=pb.VolumeUsage.INODES,
                    total=usage.total_inodes,
                    available=usage.available_inodes,
                    used=usage.total_inodes - usage.available_inodes,
                )
            )
        return pb.NodeGetVolumeStatsResponse(usage=answer)

    # ---- shared ----

    def _check_present(self, volume: Volume, path: str) -> None:
        """NOT_FOUND unless the volume really stands at `path`, staged or published."""
        if volume.target_at(path) is not None and self._backend.is_published(volume, path):
            return
        if volume.staging_at(path) is not None and self._backend.is_staged(volume, path):
            return
        raise not_found(f"volume {volume.volume_id} is neither staged nor published at {path}")

    def _known(self, volume_id: str) -> Volume:
        """The volume, whether or not its file is there: what was mounted of a lost one must come down all the same."""
        volume = self._book.get(volume_id)
        if volume is None or volume.state != "ready":
            raise not_found(f"volume {volume_id} does not exist")
        return volume

    def _ready(self, volume_id: str) -> Volume:
        volume = self._known(volume_id)
        if image_file.size_bytes(self._backend.file(volume)) is None:
            raise not_found(f"volume {volume_id}: its file is gone")
        return volume


def _absolute(path: str, *, name: str) -> str:
    """Return the path as `_normal` does; INVALID_ARGUMENT unless it is absolute and has no `..`."""
    if not path.startswith("/") or ".." in path.split("/"):
        raise invalid(f"{name} {path!r} is not an absolute path" if path else f"the request has no {name}")
    return _normal(path, name=name)


def _normal(path: str, *, name: str) -> str:
    """Return the path as it is booked, without a slash at its end; INVALID_ARGUMENT for what no path can be."""
    if not path:
        raise invalid(f"the request has no {name}")
    if "\0" in path:
        raise invalid(f"{name} {path!r} has a NUL in it")
    return os.path.normpath(path)


def _require_id(volume_id: str) -> None:
    if not volume_id:
        raise invalid("the request has no volume id")


def _parse_use(request: pb.NodeStageVolumeRequest | pb.NodePublishVolumeRequest) -> Use:
    if not request.HasField("volume_capability"):
        raise invalid("the request has no volume capability")
    return parse_use(request.volume_capability)


def _check_use(volume: Volume, use: Use) -> None:
    """FAILED_PRECONDITION when the volume has not got the capability asked for."""
    if use.access != volume.access:
        raise precondition(f"volume {volume.volume_id} is a {volume.access} volume, not {use.access}")
    if use.fs_type not in {"", volume.fs_type}:
        raise precondition(f"volume {volume.volume_id} holds {volume.fs_type}, not {use.fs_type}")
