"""Backend `loop`: the volume's file behind a loop device; a filesystem is mounted, a block volume bound as device.

Staging attaches the device and mounts it at the staging path (a block volume is attached only); publishing binds
the staged folder, or the device's node, to the target path. /proc/self/mountinfo and /sys/block say what stands.
"""

import asyncio
import errno
import os
import stat
from pathlib import Path

from resizer.driver import loop_device, mount
from resizer.driver.backend import BackendName, Usage, normal_path
from resizer.driver.capability import is_read_only
from resizer.driver.failure import from_os_error, precondition
from resizer.driver.filesystem import filesystem, grow_mounted
from resizer.driver.loop_device import LoopDevice
from resizer.driver.volumes import Staging, Target, Volume


def belongs_to(entry: mount.Mount, device: LoopDevice) -> bool:
    """Return whether the mount shows this device: its filesystem, or its node bound to a path.

    btrfs has device numbers of its own; its mounts are told by their source.
    """
    if entry.device == device.device or entry.source == device.path:
        return True
    return entry.root == f"/loop{device.number}" and is_node_of(entry.mount_point, device)


def is_node_of(path: str, device: LoopDevice) -> bool:
    """Return whether `path` is a block device node of this device."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- text in, as mountinfo has it
    except OSError:
        return False
    return stat.S_ISBLK(status.st_mode) and os.minor(status.st_rdev) == device.number


class LoopBackend:
    """Volumes as loop devices. Needs root."""

    name: BackendName = "loop"
    filesystems: tuple[str, ...] = ("xfs", "btrfs", "ext4")

    def __init__(self, folder: Path) -> None:
        """Keep the files in `folder` (absolute, without links)."""
        self._folder = folder

    def file(self, volume: Volume) -> Path:
        """Return the volume's sparse file."""
        return self._folder / f"{volume.volume_id}.img"

    def _mounted_at(self, volume: Volume, path: str) -> mount.Mount | None:
        device = loop_device.find_attached(self.file(volume))
        if device is None:
            return None
        wanted = normal_path(path)
        above = [entry for entry in mount.read_mounts() if entry.mount_point == wanted][-1:]
        return next((entry for entry in above if belongs_to(entry, device)), None)

    def is_attached(self, volume: Volume) -> bool:
        """Return whether a loop device is attached to the file."""
        return loop_device.find_attached(self.file(volume)) is not None

    def is_staged(self, volume: Volume, path: str) -> bool:
        """Return whether the device is mounted at `path`; for a block volume, whether it is attached."""
        if volume.access == "block":
            return self.is_attached(volume)
        return self._mounted_at(volume, path) is not None

    def is_published(self, volume: Volume, path: str) -> bool:
        """Return whether the device or its filesystem is bound to `path`, read-only if it was to be."""
        entry = self._mounted_at(volume, path)
        if entry is None:
            return False
        target = volume.target_at(path)
        return target is None or not target.readonly or entry.read_only or volume.access == "block"

    async def stage(self, volume: Volume, staging: Staging) -> None:
        """Attach the device and mount its filesystem at the staging path."""
        try:
            device = await asyncio.to_thread(loop_device.attach, self.file(volume))
            await asyncio.to_thread(_refresh, device)
        except OSError as error:
            raise from_os_error(error, doing=f"attaching a loop device to volume {volume.volume_id}") from error
        if volume.access == "block" or self.is_staged(volume, staging.path):
            return
        options = (*staging.use.mount_flags, *(("ro",) if is_read_only(staging.use) else ()))
        try:
            await asyncio.to_thread(os.makedirs, staging.path, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, doing=f"making staging path {staging.path}") from error
        await mount.mount_device(device=device.path, path=staging.path, fs_type=volume.fs_type, options=options)

    async def unstage(self, volume: Volume, path: str) -> None:
        """Unmount the staging path."""
        if volume.access == "mount":
            while self._mounted_at(volume, path) is not None:
                await mount.unmount(normal_path(path))

    async def detach(self, volume: Volume) -> None:
        """Detach the loop device, if there is one."""
        device = loop_device.find_attached(self.file(volume))
        if device is None:
            return
        try:
            await asyncio.to_thread(loop_device.detach, device)
        except OSError as error:
            raise from_os_error(error, doing=f"detaching {device.path} from volume {volume.volume_id}") from error

    async def publish(self, volume: Volume, target: Target) -> None:
        """Bind the staged folder or the device's node to the target path."""
        device = loop_device.find_attached(self.file(volume))
        if device is None:
            raise precondition(f"volume {volume.volume_id} is not staged: call NodeStageVolume first")
        if self._mounted_at(volume, target.path) is None:
            try:
                await asyncio.to_thread(_make_target, Path(target.path), volume)
            except OSError as error:
                raise from_os_error(error, doing=f"making target path {target.path}") from error
            source = device.path if volume.access == "block" else target.staging_path
            await mount.bind(source, target.path)
        if target.readonly and volume.access == "mount":
            await mount.make_read_only(target.path)

    async def unpublish(self, volume: Volume, path: str) -> None:
        """Unmount the target path and remove it; what was never ours there stays."""
        while self._mounted_at(volume, path) is not None:
            await mount.unmount(normal_path(path))
        try:
            await asyncio.to_thread(_remove_target, Path(path))
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise precondition(
                    f"target path {path} cannot be removed: others' files are in it, empty it first"
                ) from error
            raise from_os_error(error, doing=f"removing target path {path}") from error

    async def refresh_size(self, volume: Volume) -> None:
        """Make the device as large as its file."""
        device = loop_device.find_attached(self.file(volume))
        if device is None:
            return
        try:
            await asyncio.to_thread(_refresh, device)
        except OSError as error:
            raise from_os_error(error, doing=f"telling {device.path} its new size") from error

    async def grow_filesystem(self, volume: Volume) -> None:
        """Grow the mounted filesystem through whichever of its mounts is writable."""
        device = loop_device.find_attached(self.file(volume))
        if device is None or volume.access == "block":
            return
        mounts = [entry for entry in mount.read_mounts() if belongs_to(entry, device)]
        writable = [e.mount_point for e in mounts if not e.read_only and not e.filesystem_read_only]
        if not writable:
            raise precondition(
                f"volume {volume.volume_id} is mounted read-only everywhere, and so cannot be grown: "
                "use it in a pod that mounts it writable"
            )
        await grow_mounted(filesystem(volume.fs_type), mount_point=writable[0], device=device.path)

    def usage(self, volume: Volume, path: str) -> Usage:
        """Return statvfs's figures; for a block volume the device's size."""
        if volume.access == "block":
            device = loop_device.find_attached(self.file(volume))
            return Usage(loop_device.size_bytes(device) if device else 0, 0, 0)
        figures = os.statvfs(path)
        return Usage(
            total_bytes=figures.f_blocks * figures.f_frsize,
            available_bytes=figures.f_bavail * figures.f_frsize,
            used_bytes=(figures.f_blocks - figures.f_bfree) * figures.f_frsize,
            total_inodes=figures.f_files,
            available_inodes=figures.f_favail,
        )


def _refresh(device: LoopDevice) -> None:
    if loop_device.size_bytes(device) != Path(device.backing_file).stat().st_size:
        loop_device.refresh_size(device)


def _make_target(path: Path, volume: Volume) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if volume.access == "block":
        path.touch()
    else:
        path.mkdir(exist_ok=True)


def _remove_target(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif path.is_file() and not path.is_symlink() and path.stat().st_size == 0:
        path.unlink()
