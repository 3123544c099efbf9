"""Taking down everything that belongs to one state folder: mounts, loop devices, links. Nothing else is touched.

For whoever ends for good (the demo, or its next run after a kill -9). What is mounted and attached is asked of
the kernel; the bookkeeping only tells where an image's links were put. The state folder itself stays.
"""

import asyncio
from pathlib import Path

import msgspec
import structlog

from resizer.driver import loop_device, mount
from resizer.driver.backend_image import ImageBackend
from resizer.driver.backend_loop import belongs_to
from resizer.driver.failure import CallError
from resizer.driver.state import locked_state, volume_folder
from resizer.driver.volumes import StateDamagedError, VolumeBook

_log = structlog.get_logger(__name__)


class CleanupReport(msgspec.Struct, frozen=True):
    """What was taken down, and what could not be: one line each, with the cause."""

    unmounted: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


async def cleanup(state_dir: Path) -> CleanupReport:
    """Release every mount, loop device and link of the volumes in `state_dir`; a missing folder is nothing to do.

    Raises StateInUseError while a running driver has it.
    """
    if not await asyncio.to_thread(state_dir.is_dir):
        return CleanupReport()
    async with locked_state(state_dir):
        failures = await _forget_places(state_dir)
        unmounted: list[str] = []
        detached: list[str] = []
        for device in loop_device.list_attached(volume_folder(state_dir)):
            try:
                unmounted += await _unmount_all(device)
                await asyncio.to_thread(loop_device.detach, device)
                detached.append(device.path)
            except CallError as error:
                failures.append(error.text)
            except OSError as error:
                failures.append(f"{device.path}: {error.strerror}")
    _log.info("cleanup.done", unmounted=len(unmounted), detached=len(detached), failures=failures)
    return CleanupReport(tuple(unmounted), tuple(detached), tuple(failures))


async def _unmount_all(device: loop_device.LoopDevice) -> list[str]:
    """Unmount whatever shows the device, the topmost first: a mount may lie on another one."""
    entries = [entry for entry in mount.read_mounts() if belongs_to(entry, device)]
    for entry in reversed(entries):
        await mount.unmount(entry.mount_point)
    return [entry.mount_point for entry in reversed(entries)]


async def _forget_places(state_dir: Path) -> list[str]:
    """Remove the image backend's links and note that no volume is used anywhere; returns what failed."""
    failures: list[str] = []
    backend = ImageBackend(volume_folder(state_dir))
    try:
        book = VolumeBook(state_dir / "volumes.db")
    except StateDamagedError as error:
        return [str(error)]
    try:
        for volume in book.in_order():
            try:
                for target in volume.targets:
                    if backend.is_published(volume, target.path):
                        await backend.unpublish(volume, target.path)
                for staging in volume.stagings:
                    await backend.unstage(volume, staging.path)
            except CallError as error:
                failures.append(error.text)
            await book.put(msgspec.structs.replace(volume, publications=(), stagings=(), targets=()))
    finally:
        book.close()
    return failures
