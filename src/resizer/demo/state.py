"""The folder of one run, and finding what killed runs have left.

Every run has a folder of its own below a folder of its user, and holds a lock on it that the kernel takes back
however the process ends. A folder whose lock is free belongs to nobody: what a driver left mounted or attached
there is taken down, then the folder goes. Nothing is removed while anything is still
mounted below it, or attached to a file in it.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from resizer.demo.parts import DemoError

_LOCK: Final = "lock"
_MINIMUM_FREE_BYTES: Final = 2 * 1024**3

Release = Callable[[Path], Awaitable[Sequence[str]]]


def candidate_roots() -> list[Path]:
    """Folders in which runs of this user may lie: below $TMPDIR if it is set, else below /tmp and /var/tmp."""
    named = os.environ.get("TMPDIR")
    folders = [named] if named else [tempfile.gettempdir(), "/var/tmp"]  # noqa: S108 -- a folder of our own below it
    unique = dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders)
    return [folder / f"resizer-demo-{os.getuid()}" for folder in unique if folder.is_dir()]


def choose_root() -> Path:
    """Return the folder with room for a volume, the first of them if none has."""
    roots = candidate_roots()
    if not roots:
        raise DemoError("there is no folder for temporary files: set TMPDIR to one")
    roomy = [root for root in roots if shutil.disk_usage(root.parent).free >= _MINIMUM_FREE_BYTES]
    return (roomy or roots)[0]


@contextlib.contextmanager
def own_run(root: Path) -> Iterator[Path]:
    """Make a folder for this run and hold its lock for the block; the folder goes at the end if it can."""
    with _locked_root(root):
        run = root / secrets.token_hex(3)
        run.mkdir(mode=0o700)
        handle = os.open(run / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, f"{os.getpid()}\n".encode())
    try:
        yield run
    finally:
        with _locked_root(root):
            remove_run(run)
            os.close(handle)
        _remove_root(root)


def remove_run(run: Path) -> bool:
    """Remove the folder of a run; False, and nothing done, while the kernel still uses something in it."""
    if held_by_kernel(run):
        return False
    shutil.rmtree(run, ignore_errors=True)
    return not run.exists()


def held_by_kernel(folder: Path) -> list[str]:
    """Return what is mounted at or below `folder`, and the loop devices attached to files in it, one line each."""
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    held = [f"{point} is mounted" for point in points if f"{point}/".startswith(f"{folder}/")]
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # detached just now
            file = backing.read_text().rstrip("\n")
            if file.startswith(f"{folder}/"):
                held.append(f"/dev/{backing.parts[3]} is attached to {file}")
    return held


async def clean_remains(release: Release) -> list[str]:
    """Take down what killed runs of this user left; returns a line for each, saying what became of it."""
    lines = []
    for root in candidate_roots():
        if not root.is_dir() or root.is_symlink() or root.stat().st_uid != os.getuid():
            continue  # never made, or not by this user
        with _locked_root(root):
            abandoned = [run for run in sorted(root.iterdir()) if run.is_dir() and _is_abandoned(run)]
            lines += [await _clean(run, release) for run in abandoned]
        _remove_root(root)
    return lines


async def _clean(run: Path, release: Release) -> str:
    failures = await release(run / "driver")
    if remove_run(run):
        return f"an earlier run was killed and left {run}: its mounts, loop devices and files are removed now"
    left = "; ".join([*failures, *held_by_kernel(run)])
    return f"an earlier run left {run}, which cannot be removed yet: {left}"


def _is_abandoned(run: Path) -> bool:
    """Whether no process holds the lock of the run."""
    try:
        handle = os.open(run / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


@contextlib.contextmanager
def _locked_root(root: Path) -> Iterator[None]:
    """Hold the folder of all runs, so that none is taken for abandoned between its making and its locking."""
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        if root.is_symlink() or root.stat().st_uid != os.getuid():
            raise DemoError(f"{root} belongs to somebody else: remove it, or set TMPDIR to another folder")
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DemoError(f"{root} cannot be used: {error.strerror}; set TMPDIR to a folder you can write") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_root(root: Path) -> None:
    with contextlib.suppress(OSError):
        root.rmdir()
