"""The real size of a filesystem, read from its superblock: no mount, no root, no program.

Offsets are those of the on-disk formats: ext4 (kernel documentation, "The Super Block"), XFS (xfs_sb, big
endian) and btrfs (its first superblock, 64 KiB in). On a *mounted* filesystem the kernel may hold newer figures
than the disk: ask statvfs there.
"""

import os
import struct
from pathlib import Path
from typing import Final

import msgspec

_BTRFS_OFFSET: Final = 64 * 1024
_EXT4_OFFSET: Final = 1024
_EXT4_64BIT: Final = 0x80
_HEAD_BYTES: Final = _BTRFS_OFFSET + 4096


class UnknownFilesystemError(ValueError):
    """No superblock of a filesystem known here."""


class Superblock(msgspec.Struct, frozen=True):
    """What a superblock says; bytes. `free_bytes` is as of the last time the filesystem wrote it."""

    fs_type: str
    size_bytes: int
    free_bytes: int


def _read_xfs(head: bytes) -> Superblock:
    block_bytes, blocks = struct.unpack_from(">IQ", head, 4)
    (free_blocks,) = struct.unpack_from(">Q", head, 144)
    return Superblock("xfs", blocks * block_bytes, free_blocks * block_bytes)


def _read_ext4(head: bytes) -> Superblock:
    block = head[_EXT4_OFFSET:]
    (blocks,) = struct.unpack_from("<I", block, 0x4)
    (free_blocks,) = struct.unpack_from("<I", block, 0xC)
    (log_block_size,) = struct.unpack_from("<I", block, 0x18)
    (incompatible,) = struct.unpack_from("<I", block, 0x60)
    if incompatible & _EXT4_64BIT:
        blocks |= struct.unpack_from("<I", block, 0x150)[0] << 32
        free_blocks |= struct.unpack_from("<I", block, 0x158)[0] << 32
    block_bytes = 1024 << log_block_size
    return Superblock("ext4", blocks * block_bytes, free_blocks * block_bytes)


def _read_btrfs(head: bytes) -> Superblock:
    total_bytes, used_bytes = struct.unpack_from("<QQ", head, _BTRFS_OFFSET + 0x70)
    return Superblock("btrfs", total_bytes, max(0, total_bytes - used_bytes))


def read_superblock(path: str | os.PathLike[str]) -> Superblock | None:
    """Return what the superblock in the file or device at `path` says, None if there is none that we know."""
    with Path(path).open("rb") as file:
        head = file.read(_HEAD_BYTES).ljust(_HEAD_BYTES, b"\0")
    if head[:4] == b"XFSB":
        return _read_xfs(head)
    if head[_BTRFS_OFFSET + 0x40 : _BTRFS_OFFSET + 0x48] == b"_BHRfS_M":
        return _read_btrfs(head)
    if head[_EXT4_OFFSET + 0x38 : _EXT4_OFFSET + 0x3A] == b"\x53\xef":
        return _read_ext4(head)
    return None


def superblock_size_bytes(path: str | os.PathLike[str]) -> int:
    """Return the size in bytes that the ext4, XFS or btrfs filesystem in the file or device at `path` has.

    Raises UnknownFilesystemError when none of them is there, OSError when it cannot be read.
    """
    superblock = read_superblock(path)
    if superblock is None:
        raise UnknownFilesystemError(f"{os.fspath(path)}: no ext4, xfs or btrfs superblock in it")
    return superblock.size_bytes
