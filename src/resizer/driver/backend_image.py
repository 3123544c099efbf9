"""Backend `image`: the volume's file is used as it is, by anybody; nothing is mounted.

A staged or published filesystem volume is a plain folder with one link in it, `volume.img`, to the file that
holds the ext4 filesystem; a published block volume is a link to the file in the target's place. So a program
finds the filesystem below the target path, reads its size from the superblock, and e2fsprogs can write into it
(`debugfs -w`). Growing is offline by nature. Read-only publishing is remembered but nothing can enforce it.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

from resizer.driver import image_file
from resizer.driver.backend import BackendName, Usage
from resizer.driver.failure import from_os_error, precondition
from resizer.driver.filesystem import filesystem, grow_unmounted, read_superblock
from resizer.driver.volumes import Staging, Target, Volume

IMAGE_LINK: Final = "volume.img"


class ImageBackend:
    """Volumes as image files. Needs no rights but to its folder."""

    name: BackendName = "image"
    filesystems: tuple[str, ...] = ("ext4",)
    """XFS and btrfs can be made in a file but not grown in one."""

    def __init__(self, folder: Path) -> None:
        """Keep the files in `folder` (absolute, without links)."""
        self._folder = folder

    def file(self, volume: Volume) -> Path:
        """Return the volume's sparse file."""
        return self._folder / f"{volume.volume_id}.img"

    def is_attached(self, volume: Volume) -> bool:
        """Return False: there is nothing to attach to."""
        del volume
        return False

    def _is_link(self, volume: Volume, path: Path) -> bool:
        try:
            return os.readlink(path) == str(self.file(volume))  # noqa: PTH115 -- compared as text
        except OSError:
            return False

    def is_staged(self, volume: Volume, path: str) -> bool:
        """Return whether the staging folder has the link."""
        return self._is_link(volume, Path(path) / IMAGE_LINK)

    def is_published(self, volume: Volume, path: str) -> bool:
        """Return whether the link stands in the target folder or, for block, in the target's place."""
        place = Path(path)
        return self._is_link(volume, place if volume.access == "block" else place / IMAGE_LINK)

    async def stage(self, volume: Volume, staging: Staging) -> None:
        """Put the link into the staging folder."""
        await asyncio.to_thread(self._link, volume, Path(staging.path) / IMAGE_LINK)

    async def unstage(self, volume: Volume, path: str) -> None:
        """Take the link out of the staging folder."""
        await asyncio.to_thread(self._unlink, volume, Path(path) / IMAGE_LINK)

    async def detach(self, volume: Volume) -> None:
        """Do nothing: there is nothing to detach."""
        del volume

    async def publish(self, volume: Volume, target: Target) -> None:
        """Make the target folder with the link in it, or for block the link itself."""
        place = Path(target.path)
        await asyncio.to_thread(self._link, volume, place if volume.access == "block" else place / IMAGE_LINK)

    async def unpublish(self, volume: Volume, path: str) -> None:
        """Remove the link and the target folder; FAILED_PRECONDITION if somebody left files in it."""
        place = Path(path)
        if volume.access == "block":
            await asyncio.to_thread(self._unlink, volume, place)
            return
        await asyncio.to_thread(self._unlink, volume, place / IMAGE_LINK)
        try:
            await asyncio.to_thread(place.rmdir)
        except FileNotFoundError:
            return
        except OSError as error:
            raise precondition(f"target path {path} cannot be removed ({error.strerror}): empty it first") from error

    def _link(self, volume: Volume, link: Path) -> None:
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            if not self._is_link(volume, link):
                link.symlink_to(self.file(volume))
        except OSError as error:
            raise from_os_error(error, doing=f"linking {link} to volume {volume.volume_id}") from error

    def _unlink(self, volume: Volume, link: Path) -> None:
        if self._is_link(volume, link):
            with contextlib.suppress(FileNotFoundError):
                link.unlink()

    async def refresh_size(self, volume: Volume) -> None:
        """Do nothing: whoever opens the file sees its size."""
        del volume

    async def grow_filesystem(self, volume: Volume) -> None:
        """Grow the filesystem in the file."""
        if volume.access == "mount":
            await grow_unmounted(filesystem(volume.fs_type), self.file(volume))

    def usage(self, volume: Volume, path: str) -> Usage:
        """Return the superblock's figures; for a block volume the file's size."""
        del path
        superblock = read_superblock(self.file(volume)) if volume.access == "mount" else None
        if superblock is None:
            return Usage(image_file.size_bytes(self.file(volume)) or 0, 0, 0)
        return Usage(
            total_bytes=superblock.size_bytes,
            available_bytes=superblock.free_bytes,
            used_bytes=superblock.size_bytes - superblock.free_bytes,
        )
