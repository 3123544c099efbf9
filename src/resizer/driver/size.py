"""Sizes: what a capacity range asks for, and how much of the driver's capacity is left.

A volume has whole blocks of 4 KiB, the block of every filesystem here. Files are sparse, so more may be promised
than the disk holds, unless `--capacity` sets an end to it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from resizer.driver.failure import invalid, out_of_range
from resizer.driver.volumes import VolumeBook
from resizer.model.quantity import format_bytes
from resizer.rpc.pb import csi_v1_pb2 as pb

BLOCK_BYTES: Final = 4096
DEFAULT_BYTES: Final = 1024**3
MAXIMUM_BYTES: Final = 2**63 - BLOCK_BYTES


class SizeRange(msgspec.Struct, frozen=True):
    """A range in bytes: at least `required`, at most `limit` (0: no end)."""

    required: int
    limit: int

    def size_for(self, minimum_bytes: int) -> int:
        """Return the size to give: whole blocks, not below `minimum_bytes`; OUT_OF_RANGE above the limit."""
        default = min(DEFAULT_BYTES, self.limit // BLOCK_BYTES * BLOCK_BYTES) if self.limit else DEFAULT_BYTES
        wanted = max(self.required or default, minimum_bytes)
        rounded = -(-wanted // BLOCK_BYTES) * BLOCK_BYTES
        if rounded > MAXIMUM_BYTES:
            raise out_of_range(f"{wanted} bytes are more than any file can have")
        if self.limit and rounded > self.limit:
            raise out_of_range(
                f"at most {self.limit} bytes were asked for, the least that can be given is {rounded}: raise the limit"
            )
        return rounded

    def holds(self, size_bytes: int) -> bool:
        """Return whether a volume of that size is what the range asks for."""
        return size_bytes >= self.required and (not self.limit or size_bytes <= self.limit)


def parse_range(capacity_range: pb.CapacityRange) -> SizeRange:
    """Return the range; INVALID_ARGUMENT for negative sizes, OUT_OF_RANGE for a limit below what is required."""
    required, limit = capacity_range.required_bytes, capacity_range.limit_bytes
    if required < 0 or limit < 0:
        raise invalid(f"sizes are not negative: required_bytes {required}, limit_bytes {limit}")
    if limit and limit < required:
        raise out_of_range(f"limit_bytes {limit} is below required_bytes {required}")
    return SizeRange(required, limit)


class Pool:
    """The capacity that volumes may take: `limit_bytes` in all, None for as much as is asked."""

    def __init__(self, *, book: VolumeBook, folder: Path, limit_bytes: int | None) -> None:
        """Count the volumes of `book`, whose files lie in `folder`."""
        self._book = book
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._reserved_bytes = 0

    @contextlib.contextmanager
    def reserve(self, size_bytes: int, *, purpose: str) -> Iterator[None]:
        """Keep `size_bytes` for the block, within which the book must come to count them; else OUT_OF_RANGE."""
        if self._limit_bytes is not None:
            left = self._limit_bytes - self._book.provisioned_bytes() - self._reserved_bytes
            if size_bytes > left:
                raise out_of_range(
                    f"{purpose} needs {format_bytes(size_bytes)}, of {format_bytes(self._limit_bytes)} capacity "
                    f"{format_bytes(max(0, left))} are left: delete volumes or raise --capacity"
                )
        self._reserved_bytes += size_bytes
        try:
            yield
        finally:
            self._reserved_bytes -= size_bytes

    def available_bytes(self) -> int:
        """Return what is left of the limit; without one, what the disk has free. Blocks for a moment."""
        if self._limit_bytes is not None:
            return max(0, self._limit_bytes - self._book.provisioned_bytes() - self._reserved_bytes)
        figures = os.statvfs(self._folder)
        return int(figures.f_bavail * figures.f_frsize)
