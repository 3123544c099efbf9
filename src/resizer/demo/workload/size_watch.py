"""The filesystem's size as the database sees it: statvfs on its mount, fast while a growth is under way."""

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

_POLL_EVERY_S: Final = 0.001


class Space(msgspec.Struct, frozen=True):
    """What statvfs says, in bytes."""

    size_bytes: int
    free_bytes: int

    @property
    def used_share(self) -> float:
        """How full it is, 0 to 1."""
        return 1 - self.free_bytes / self.size_bytes


def read_space(path: Path) -> Space:
    """Ask the kernel; OSError when nothing is there."""
    status = os.statvfs(path)
    return Space(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)


class SizeWatch:
    """A thread that asks a thousand times a second until the size is another; `seen_at_s` is monotonic time."""

    def __init__(self, path: Path) -> None:
        self.seen_at_s: float | None = None
        self._path = path
        self._before = read_space(path).size_bytes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="size-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_EVERY_S):
            try:
                size_bytes = read_space(self._path).size_bytes
            except OSError:  # taken down meanwhile
                return
            if size_bytes != self._before:
                self.seen_at_s = time.monotonic()
                return

    async def finish(self) -> float | None:
        """Stop asking; return when the new size was seen, None if it was not."""
        self._ended.set()
        await asyncio.to_thread(self._thread.join)
        return self.seen_at_s
