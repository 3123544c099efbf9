"""The state folder and the one driver that may have it.

The lock is the kernel's (flock), and it is handed on to every program the driver starts: killed in the midst of
a mkfs or resize2fs, the driver leaves that program running, and the next driver waits until it has ended, for two
of them at work on one filesystem would ruin it.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

_ORPHAN_WAIT_S: Final = 120.0
_POLL_S: Final = 0.02


class StateUnusableError(Exception):
    """The state folder cannot be used; the text names it, the cause and the next step."""


class StateInUseError(StateUnusableError):
    """Another running driver has the state folder."""


def volume_folder(state_dir: Path) -> Path:
    """Return the folder of the volumes' files, as the kernel names it."""
    return Path(os.path.realpath(state_dir)) / "volumes"


@contextlib.asynccontextmanager
async def locked_state(state_dir: Path) -> AsyncIterator[Path]:
    """Hold the state folder, made if need be, for the block. Raises StateUnusableError."""
    try:
        volume_folder(state_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateUnusableError(
            f"state folder {state_dir} cannot be used ({error.strerror}): choose another, or mend its rights"
        ) from error
    try:
        await _take(handle, state_dir)
        os.set_inheritable(handle, True)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield volume_folder(state_dir).parent
    finally:
        os.close(handle)


async def _take(handle: int, state_dir: Path) -> None:
    deadline_s = asyncio.get_running_loop().time() + _ORPHAN_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if _is_running(os.pread(handle, 32, 0)):
                raise StateInUseError(
                    f"state folder {state_dir} is in use by a running driver: stop it first"
                ) from error
            if asyncio.get_running_loop().time() > deadline_s:
                raise StateInUseError(
                    f"state folder {state_dir} is held by a program of a driver that was killed: end that program first"
                ) from error
            await asyncio.sleep(_POLL_S)
        else:
            return


def _is_running(pid_text: bytes) -> bool:
    if not pid_text.isdigit():
        return True  # just being taken
    try:
        os.kill(int(pid_text), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
