import subprocess
from pathlib import Path

import pytest

from resizer.driver.command import find_program
from resizer.driver.superblock import UnknownFilesystemError, read_superblock, superblock_size_bytes

MIB = 1024**2
GIB = 1024**3


def make(tmp_path: Path, fs_type: str, size_bytes: int, *arguments: str) -> Path:
    mkfs = find_program(f"mkfs.{fs_type}")
    if mkfs is None:
        pytest.skip(f"mkfs.{fs_type} is not installed")
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(size_bytes)
    subprocess.run([mkfs, "-q", *arguments, path], check=True, capture_output=True)
    return path


@pytest.mark.parametrize(
    ("fs_type", "size_bytes", "arguments"),
    [
        ("xfs", 300 * GIB, ()),
        ("xfs", 512 * MIB, ()),
        ("btrfs", 3 * GIB, ()),
        ("ext4", 4 * MIB, ()),
        ("ext4", 5 * GIB, ("-b", "1024", "-O", "^64bit")),
    ],
)
def test_size_is_that_of_the_filesystem(
    tmp_path: Path, fs_type: str, size_bytes: int, arguments: tuple[str, ...]
) -> None:
    """The superblock tells type and size of what mkfs made; free space is within it."""
    superblock = read_superblock(make(tmp_path, fs_type, size_bytes, *arguments))
    assert superblock is not None
    assert (superblock.fs_type, superblock.size_bytes) == (fs_type, size_bytes)
    assert 0 < superblock.free_bytes < size_bytes


def test_ext4_beyond_32_bits(tmp_path: Path) -> None:
    """The upper halves of an ext4's counters are read where it has them, and are nothing where it has not."""
    path = make(tmp_path, "ext4", 64 * MIB, "-O", "64bit", "-b", "4096")
    with path.open("r+b") as file:
        file.seek(1024 + 0x150)
        file.write((2).to_bytes(4, "little"))
    assert superblock_size_bytes(path) == 64 * MIB + (2 << 32) * 4096
    with path.open("r+b") as file:
        file.seek(1024 + 0x60)
        file.write((0).to_bytes(4, "little"))
    assert superblock_size_bytes(path) == 64 * MIB


def test_size_stays_when_only_the_file_grows(tmp_path: Path) -> None:
    """A file that grew without its filesystem is seen as what it is: the old size."""
    path = make(tmp_path, "ext4", 64 * MIB)
    with path.open("r+b") as file:
        file.truncate(GIB)
    assert superblock_size_bytes(path) == 64 * MIB


@pytest.mark.parametrize("content", [b"", b"XF", b"\0" * 200_000, b"#!/bin/sh\n" * 20_000])
def test_no_filesystem(tmp_path: Path, content: bytes) -> None:
    """Empty, short or other files have no superblock, and the error names the file."""
    path = tmp_path / "nothing"
    path.write_bytes(content)
    assert read_superblock(path) is None
    with pytest.raises(UnknownFilesystemError, match="nothing"):
        superblock_size_bytes(path)
