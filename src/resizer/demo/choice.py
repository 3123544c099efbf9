"""Which backend and which filesystem: the first that works on this machine, found out by trying, with the reason."""

from pathlib import Path

import msgspec

from resizer.demo.options import Options
from resizer.demo.parts import FILESYSTEMS, IMAGE_FILESYSTEM, BackendName, DemoError, Parts


class Choice(msgspec.Struct, frozen=True):
    """What is used, and why in words for a person."""

    backend: BackendName
    filesystem: str
    reason: str


async def choose(options: Options, *, parts: Parts, folder: Path) -> Choice:
    """Return the first that works of loop with xfs, btrfs, ext4, then image with ext4; DemoError when none does."""
    wanted = (options.filesystem,) if options.filesystem else FILESYSTEMS
    obstacles: list[str] = []
    if options.backend != "image":
        for name in wanted:
            obstacle = await parts.obstacle("loop", name, folder)
            if obstacle is None:
                reason = f"{name} on a loop device was tried here, and could be made and mounted"
                return Choice("loop", name, _with(reason, obstacles))
            if obstacle not in obstacles:
                obstacles.append(obstacle)
    if options.backend == "loop" or options.filesystem not in {"", IMAGE_FILESYSTEM}:
        raise DemoError("; ".join(obstacles))
    obstacle = await parts.obstacle("image", IMAGE_FILESYSTEM, folder)
    if obstacle is not None:
        raise DemoError("; ".join([*obstacles, obstacle]))
    asked = "asked for" if options.backend == "image" else "an image needs no rights"
    return Choice("image", IMAGE_FILESYSTEM, _with(asked, obstacles))


def _with(reason: str, obstacles: list[str]) -> str:
    return f"{reason} ({'; '.join(obstacles)})" if obstacles else reason
