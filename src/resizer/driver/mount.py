"""Mounts: what the kernel says is mounted, and mounting and unmounting by the system's programs.

/proc/self/mountinfo is the only truth asked; nothing remembered is believed over it.
"""

import re
from pathlib import Path

import msgspec

from resizer.driver import command

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(msgspec.Struct, frozen=True):
    """One line of mountinfo (proc(5)): `root` is the path within the filesystem, `device` its major:minor."""

    mount_point: str
    device: str
    root: str
    fs_type: str
    source: str
    read_only: bool
    filesystem_read_only: bool


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def parse_mounts(text: str) -> list[Mount]:
    """Return the mounts that the text of a mountinfo file lists, in its order: later ones lie above."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        _, _, device, root, mount_point, options, *_ = before.split(" ")
        fs_type, source, super_options = after.split(" ", 2)
        mounts.append(
            Mount(
                mount_point=_unescape(mount_point),
                device=device,
                root=_unescape(root),
                fs_type=fs_type,
                source=_unescape(source),
                read_only="ro" in options.split(","),
                filesystem_read_only="ro" in super_options.split(","),
            )
        )
    return mounts


def read_mounts() -> list[Mount]:
    """Return what is mounted now in this process's mount namespace."""
    return parse_mounts(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


async def mount_device(*, device: str, path: str, fs_type: str, options: tuple[str, ...]) -> None:
    """Mount the filesystem on `device` at the folder `path`."""
    chosen = ("-o", ",".join(options)) if options else ()
    await command.check("mount", "-t", fs_type, *chosen, "--", device, path)


async def bind(source: str, path: str) -> None:
    """Bind the folder or device `source` to `path`."""
    await command.check("mount", "--bind", "--", source, path)


async def make_read_only(path: str) -> None:
    """Make the bind mount at `path` read-only; the filesystem below stays as it is."""
    await command.check("mount", "-o", "remount,bind,ro", "--", path)


async def unmount(path: str) -> None:
    """Unmount what lies topmost at `path`; the failure says so when it is busy."""
    await command.check("umount", "--", path)
