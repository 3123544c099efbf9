"""After a kill: the bookkeeping and what really stands are brought together, before the socket is served.

For each volume, by its state in the book:
1. `creating`: the caller got no answer. The file goes, the row goes; the caller's next CreateVolume starts afresh.
2. `deleting`: finished.
3. `ready`: the book takes over the file's size (it is grown before the book says so). A staging or target that
   stands is settled; a target or a pending staging that does not is dropped; a settled staging that does not
   stand (the machine was restarted, or the driver killed between unmounting and mounting) is mounted again.
   A loop device that nothing staged needs is detached.
"""

import asyncio
import os

import msgspec
import structlog

from resizer.driver import image_file
from resizer.driver.backend import Backend
from resizer.driver.failure import CallError
from resizer.driver.volumes import Staging, Volume, VolumeBook

_log = structlog.get_logger(__name__)


async def recover(book: VolumeBook, backend: Backend) -> None:
    """Bring every volume of the book into a state that the services can go on from."""
    for volume in book.in_order():
        if volume.state == "ready":
            await _recover_ready(volume, book=book, backend=backend)
        else:
            await asyncio.to_thread(image_file.remove, backend.file(volume))
            await book.remove(volume.volume_id)
            _log.info("recovery.volume_removed", volume_id=volume.volume_id, state=volume.state)


async def _recover_ready(volume: Volume, *, book: VolumeBook, backend: Backend) -> None:
    size_bytes = await asyncio.to_thread(image_file.size_bytes, backend.file(volume))
    if size_bytes is None:
        _log.error("recovery.file_missing", volume_id=volume.volume_id, file=str(backend.file(volume)))
        return
    found = msgspec.structs.replace(volume, capacity_bytes=max(size_bytes, volume.capacity_bytes))
    try:
        found = await _settle_targets(found, backend)
        found = await _settle_stagings(found, backend)
        await backend.refresh_size(found)
    except CallError as error:
        # Left in the book as it is: the caller's next NodeUnpublish or NodeUnstage tries again.
        _log.warning("recovery.not_released", volume_id=volume.volume_id, error=error.text)
    if found != volume:
        await book.put(found)
        _log.info("recovery.volume_settled", volume_id=volume.volume_id, capacity_bytes=found.capacity_bytes)


async def _settle_targets(volume: Volume, backend: Backend) -> Volume:
    for target in volume.targets:
        if backend.is_published(volume, target.path):
            volume = volume.with_target(msgspec.structs.replace(target, pending=False))
        else:
            await backend.unpublish(volume, target.path)
            volume = volume.without_target(target.path)
    return volume


async def _settle_stagings(volume: Volume, backend: Backend) -> Volume:
    for staging in volume.stagings:
        stands = backend.is_staged(volume, staging.path)
        if not stands and not staging.pending:
            stands = await _stage_again(volume, staging, backend=backend)
        if stands:
            volume = volume.with_staging(msgspec.structs.replace(staging, pending=False))
        else:
            volume = volume.without_staging(staging.path)
    if not volume.stagings:
        await backend.detach(volume)
    return volume


async def _stage_again(volume: Volume, staging: Staging, *, backend: Backend) -> bool:
    if not await asyncio.to_thread(os.path.isdir, staging.path):
        return False  # whoever staged it has removed the folder
    try:
        await backend.stage(volume, staging)
    except CallError as error:
        _log.warning("recovery.not_staged", volume_id=volume.volume_id, path=staging.path, error=error.text)
        return False
    _log.info("recovery.staged_again", volume_id=volume.volume_id, path=staging.path)
    return True
