"""The filesystems a volume may hold: how each is made, grown mounted and grown unmounted.

XFS and btrfs grow only while mounted. ext4 grows both ways, but the kernel lets a *mounted* one be grown only by
a process with CAP_SYS_RESOURCE, which containers often lack. Growing is idempotent for all three: the programs
themselves leave a filesystem alone that fills its device, and enlarge one that was smaller for any reason.
"""

from pathlib import Path
from typing import Final

import msgspec

from resizer.driver import command
from resizer.driver.failure import invalid, precondition
from resizer.driver.superblock import Superblock, read_superblock, superblock_size_bytes

__all__ = [
    "FILESYSTEMS",
    "Filesystem",
    "OnlineGrowthRefusedError",
    "Superblock",
    "filesystem",
    "grow_mounted",
    "grow_unmounted",
    "make_filesystem",
    "missing_programs",
    "read_superblock",
    "superblock_size_bytes",
]

_MIB: Final = 1024 * 1024


class OnlineGrowthRefusedError(Exception):
    """The kernel does not let this process grow this filesystem while it is mounted."""


class Filesystem(msgspec.Struct, frozen=True):
    """One kind of filesystem; `minimum_bytes` is the least that can be made and grown to the size it has.

    btrfs can be made smaller, but the kernel resizes nothing to less than 256 MiB, and staging does that.
    """

    name: str
    mkfs: str
    mkfs_arguments: tuple[str, ...]
    growth_program: str
    minimum_bytes: int
    grows_unmounted: bool


FILESYSTEMS: Final = {
    fs.name: fs
    for fs in (
        Filesystem("xfs", "mkfs.xfs", ("-q", "-f", "-K"), "xfs_growfs", 304 * _MIB, grows_unmounted=False),
        Filesystem(
            "ext4",
            "mkfs.ext4",
            # Lazy: else the inode tables and the journal of a sparse 300 GiB file would be written out.
            ("-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"),
            "resize2fs",
            4 * _MIB,
            grows_unmounted=True,
        ),
        Filesystem("btrfs", "mkfs.btrfs", ("-q", "-f", "-K"), "btrfs", 256 * _MIB, grows_unmounted=False),
    )
}


def filesystem(name: str) -> Filesystem:
    """Return the filesystem of that name; INVALID_ARGUMENT names the known ones."""
    known = FILESYSTEMS.get(name)
    if known is None:
        raise invalid(f"filesystem {name!r} is not known here: use one of {', '.join(FILESYSTEMS)}")
    return known


def missing_programs(fs: Filesystem) -> list[str]:
    """Return the programs that this filesystem needs and this machine lacks."""
    return [program for program in (fs.mkfs, fs.growth_program) if command.find_program(program) is None]


async def make_filesystem(fs: Filesystem, path: Path) -> None:
    """Make an empty filesystem in the file at `path`, over whatever half of one a killed attempt left there."""
    await command.check(fs.mkfs, *fs.mkfs_arguments, str(path), timeout_s=120)


async def grow_mounted(fs: Filesystem, *, mount_point: str, device: str) -> None:
    """Grow a mounted filesystem to the size of its device.

    Raises OnlineGrowthRefusedError when the kernel refuses it to this process, CallError for other failures.
    """
    match fs.name:
        case "xfs":
            outcome = await command.run("xfs_growfs", "-d", mount_point)
        case "btrfs":
            outcome = await command.run("btrfs", "filesystem", "resize", "max", mount_point)
        case _:
            outcome = await command.run("resize2fs", device)
    if outcome.exit_code == 0:
        return
    if fs.name == "ext4" and "Permission denied to resize filesystem" in outcome.output:
        raise OnlineGrowthRefusedError(f"{mount_point}: the kernel refuses to grow a mounted ext4 to this process")
    if "Read-only file system" in outcome.output:
        raise precondition(f"{mount_point} is mounted read-only, and so cannot be grown: mount it writable first")
    raise outcome.failure()


async def grow_unmounted(fs: Filesystem, path: Path) -> None:
    """Grow the filesystem in the unmounted file at `path` to the size of the file.

    FAILED_PRECONDITION for one that grows only while mounted.
    """
    if not fs.grows_unmounted:
        raise precondition(f"{fs.name} grows only while it is mounted: {path} grows when it is next staged")
    outcome = await command.run("resize2fs", str(path))
    if outcome.exit_code != 0 and "e2fsck -f" in outcome.output:
        # Mounted since its last check, or an earlier growth was cut short: resize2fs will not touch it unchecked.
        checked = await command.run("e2fsck", "-f", "-y", str(path), timeout_s=600)
        if checked.exit_code > 1:  # 0 sound, 1 mended; e2fsck(8)
            raise checked.failure()
        outcome = await command.run("resize2fs", str(path))
    if outcome.exit_code != 0:
        raise outcome.failure()
