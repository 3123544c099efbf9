"""The two ways a volume's file becomes something a pod can use, and the choice between them.

`loop` (root): a loop device, mounted. `image` (anybody): the file itself, linked to. What both share (the file,
mkfs, bookkeeping, idempotency, error codes) lies outside; a backend only acts on the kernel or the file tree and
can say what stands there now.
"""

import os
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from resizer.driver.filesystem import FILESYSTEMS, missing_programs
from resizer.driver.volumes import Staging, Target, Volume

BackendName = Literal["loop", "image"]

_CAP_SYS_ADMIN: Final = 1 << 21


class Usage(msgspec.Struct, frozen=True):
    """What NodeGetVolumeStats answers; inode figures are None where there are none."""

    total_bytes: int
    available_bytes: int
    used_bytes: int
    total_inodes: int | None = None
    available_inodes: int | None = None


class Backend(Protocol):
    """What a backend does. Every method that acts is idempotent and raises CallError."""

    name: BackendName
    filesystems: tuple[str, ...]

    def file(self, volume: Volume) -> Path:
        """Return the volume's sparse file."""

    def is_attached(self, volume: Volume) -> bool:
        """Return whether something but this driver may be using the file now."""

    def is_staged(self, volume: Volume, path: str) -> bool:
        """Return whether the volume really stands at the staging path."""

    def is_published(self, volume: Volume, path: str) -> bool:
        """Return whether the volume really stands at the target path."""

    async def stage(self, volume: Volume, staging: Staging) -> None:
        """Make the volume usable at the staging path."""

    async def unstage(self, volume: Volume, path: str) -> None:
        """Make the volume no longer stand at the staging path."""

    async def detach(self, volume: Volume) -> None:
        """Let go of the file of a volume that is staged nowhere any more."""

    async def publish(self, volume: Volume, target: Target) -> None:
        """Make the staged volume visible at the target path, which is created."""

    async def unpublish(self, volume: Volume, path: str) -> None:
        """Undo `publish` and remove the target path."""

    async def refresh_size(self, volume: Volume) -> None:
        """Make the file's new size known to what is attached to it."""

    async def grow_filesystem(self, volume: Volume) -> None:
        """Grow the filesystem to the file's size; OnlineGrowthRefusedError if the kernel forbids it mounted."""

    def usage(self, volume: Volume, path: str) -> Usage:
        """Return how full the volume at `path` is. Blocks."""


class Choice(msgspec.Struct, frozen=True):
    """The backend to use and, for a person, why."""

    name: BackendName
    reason: str


def loop_obstacle() -> str | None:
    """Return why the loop backend cannot work in this process, None if it can."""
    if os.geteuid() != 0:
        return "not root"
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    if not int(effective, 16) & _CAP_SYS_ADMIN:
        return "no CAP_SYS_ADMIN, without which nothing is mounted"
    control = Path("/dev/loop-control")
    try:
        control.open("r+b", buffering=0).close()
    except OSError as error:
        return f"{control}: {error.strerror}"
    return None


def choose_backend(wanted: Literal["loop", "image", "auto"]) -> Choice:
    """Return the backend for `wanted`; for "auto" loop where it works, else image."""
    if wanted != "auto":
        return Choice(wanted, "asked for")
    obstacle = loop_obstacle()
    if obstacle is None:
        return Choice("loop", "root, and loop devices can be had")
    return Choice("image", f"the loop backend cannot work here: {obstacle}")


def usable_filesystems(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `names` whose programs are installed."""
    return tuple(name for name in names if not missing_programs(FILESYSTEMS[name]))


def normal_path(path: str) -> str:
    """Return `path` as mountinfo writes it: links resolved in all but the last part."""
    folder, name = os.path.split(path.rstrip("/"))
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 -- text in, text out, as mountinfo has it
