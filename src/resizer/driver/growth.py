"""Growing a volume's filesystem, mounted where the kernel allows it and unmounted where not.

1. Not attached yet: made if it never was, and ext4 grown in the file, before anybody mounts it.
2. Staged: grown mounted.
3. Staged, but the kernel refuses to grow a mounted ext4 to this process: if no pod has it, it is unmounted, grown
   and mounted again; else FAILED_PRECONDITION says what has to go first, and case 1 applies at the next staging.
"""

import asyncio

import msgspec
import structlog

from resizer.driver import image_file
from resizer.driver.backend import Backend
from resizer.driver.failure import CallError, precondition
from resizer.driver.filesystem import (
    OnlineGrowthRefusedError,
    filesystem,
    grow_unmounted,
    make_filesystem,
    read_superblock,
)
from resizer.driver.volumes import Volume, VolumeBook

_log = structlog.get_logger(__name__)


async def prepare_unattached(volume: Volume, *, book: VolumeBook, backend: Backend) -> Volume:
    """Make the filesystem if it never was made; grow it unmounted if it is smaller than the file and can be.

    `formatted` is written after mkfs has ended and before anything is mounted: a file with data in it is never
    formatted again, and one whose mkfs was killed always is.
    """
    fs = filesystem(volume.fs_type)
    file = backend.file(volume)
    if not volume.formatted:
        try:
            await make_filesystem(fs, file)
        except CallError:
            # Half a filesystem is of no use, and on a full disk its blocks are what is missing.
            await asyncio.to_thread(image_file.make, file, volume.capacity_bytes)
            raise
        _log.info("volume.formatted", volume_id=volume.volume_id, fs_type=fs.name)
        return await book.put(msgspec.structs.replace(volume, formatted=True))
    if fs.grows_unmounted and await _is_smaller_than_file(volume, backend=backend):
        await grow_unmounted(fs, file)
    return volume


async def grow_staged(volume: Volume, *, backend: Backend) -> None:
    """Grow the filesystem of a staged volume to the size of its file; raises CallError."""
    try:
        await backend.grow_filesystem(volume)
    except OnlineGrowthRefusedError as error:
        if volume.targets:
            raise precondition(
                f"volume {volume.volume_id}: the kernel does not let this driver grow a mounted ext4 "
                "(CAP_SYS_RESOURCE is missing). Stop the pods that use it: it is grown when it is next mounted. "
                "Or give the driver's container the capability SYS_RESOURCE"
            ) from error
        await _grow_between_mounts(volume, backend=backend)


async def _is_smaller_than_file(volume: Volume, *, backend: Backend) -> bool:
    file = backend.file(volume)
    superblock = await asyncio.to_thread(read_superblock, file)
    size_bytes = await asyncio.to_thread(image_file.size_bytes, file)
    return superblock is not None and size_bytes is not None and superblock.size_bytes < size_bytes


async def _grow_between_mounts(volume: Volume, *, backend: Backend) -> None:
    """Unmount the volume, grow it and mount it again, whatever came of the growth."""
    _log.info("volume.regrown_unmounted", volume_id=volume.volume_id)
    for staging in volume.stagings:
        await backend.unstage(volume, staging.path)
    await backend.detach(volume)
    failure: CallError | None = None
    try:
        await grow_unmounted(filesystem(volume.fs_type), backend.file(volume))
    except CallError as error:
        failure = error
    for staging in volume.stagings:
        await backend.stage(volume, staging)
    if failure is not None:
        raise failure
