"""Programs of the workload: started behind `launch`, awaited with a deadline, and ended by their own process.

None of them is looked for by name: what is ended is what was started here.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from resizer.demo.parts import DemoError
from resizer.demo.workload import launch

_PATH: Final = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
_ENVIRONMENT: Final = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
_LAST_WORDS: Final = 300


def find_program(name: str) -> str | None:
    """Return where a program lies, sbin folders included; None where it is missing."""
    return shutil.which(name, path=_PATH)


async def start_program(
    command: Sequence[str], *, user: str = "-", folder: Path, out: int | IO[bytes] = DEVNULL, err: int | IO[bytes]
) -> Process:
    """Start a program that ends with this process at the latest; `folder` is where it runs."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        launch.__file__,
        str(os.getpid()),
        user,
        *command,
        stdin=DEVNULL,
        stdout=out,
        stderr=err,
        cwd=folder,
        env=_ENVIRONMENT,
    )


async def end_program(process: Process, *, grace_s: float) -> bool:
    """Ask it to end, insist after the grace time; tell whether it ended when asked."""
    if process.returncode is not None:
        return True
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        await kill_program(process)
        return False
    return True


async def kill_program(process: Process) -> None:
    """End it at once."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def run_program(command: Sequence[str], *, user: str = "-", folder: Path, timeout_s: float) -> str:
    """Run a program to its end and return what it printed; DemoError with its last words when it fails."""
    process = await start_program(command, user=user, folder=folder, out=PIPE, err=PIPE)
    name = Path(command[0]).name
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise DemoError(f"{name} did not end within {timeout_s:g} s; the machine may be overloaded") from error
    finally:
        if process.returncode is None:
            await kill_program(process)
    if process.returncode != 0:
        words = " ".join((err or out).decode(errors="replace").split())[-_LAST_WORDS:]
        raise DemoError(f"{name} ended with {process.returncode}: {words}")
    return out.decode(errors="replace")
