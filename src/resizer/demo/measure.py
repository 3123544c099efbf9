"""What was really granted: the sizes of the device, of the filesystem on it, and whether they are what was asked.

A mounted filesystem is asked by statvfs, as a database would see it; its device by the kernel. statvfs leaves out
what a filesystem keeps for itself (XFS its log, ext4 its inode tables), so the device is compared exactly, and of
each growth the filesystem must show at least 97 %: XFS and btrfs show all of it, ext4 some 98.4 %. An image is
asked by its superblock, which counts everything; ext4 may leave out a last piece too small for a group.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from resizer.demo.parts import DemoError

SHOWN_PER_MILLE: Final = 970
_IMAGE_REST_BYTES: Final = 4 * 1024**2
IMAGE_NAME: Final = "volume.img"
"""The link that backend `image` puts where a filesystem would be mounted."""


class Sizes(msgspec.Struct, frozen=True):
    """Sizes in bytes: of the device (or image file) and of the filesystem on it."""

    device_bytes: int
    filesystem_bytes: int


def measure_mount(path: Path) -> Sizes:
    """Return the sizes of what is mounted at `path`."""
    status = os.statvfs(path)
    return Sizes(_device_bytes(path), status.f_blocks * status.f_frsize)


def _device_bytes(path: Path) -> int:
    """Return the size of the block device mounted at `path`, by mountinfo and sysfs."""
    source = ""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ")[4] == str(path):
            source = after.split(" ")[1]
    if not source:
        raise DemoError(f"nothing is mounted at {path}")
    return int(Path("/sys/class/block", Path(source).name, "size").read_text()) * 512


def measure_image(path: Path, superblock_bytes: Callable[[Path], int]) -> Sizes:
    """Return the sizes of the image linked to below `path`."""
    image = path / IMAGE_NAME
    return Sizes(image.stat().st_size, superblock_bytes(image))


def find_fault(*, before: Sizes, after: Sizes, granted_before: int, granted: int, is_mounted: bool) -> str:
    """Return what is wrong with a growth, "" if the filesystem really has the new size."""
    if after.device_bytes != granted:
        return f"the device has {after.device_bytes} bytes, the claim says {granted}"
    if after.filesystem_bytes > after.device_bytes:
        return f"the filesystem claims {after.filesystem_bytes} bytes, more than its device has"
    if not is_mounted:
        missing = granted - after.filesystem_bytes
        return "" if missing < _IMAGE_REST_BYTES else f"the superblock lacks {missing} bytes of {granted}"
    shown = after.filesystem_bytes - before.filesystem_bytes
    wanted = (granted - granted_before) * SHOWN_PER_MILLE // 1000
    return "" if shown >= wanted else f"the filesystem grew by {shown} bytes, expected are {wanted} or more"
