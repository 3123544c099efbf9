"""Running the system's programs: mkfs, mount, resize2fs and their like, off the event loop and with a deadline.

Output is read in the C locale, because what some programs refuse is only to be told from their words. The sbin
folders are searched too: they are not on an ordinary user's PATH.
"""

import asyncio
import contextlib
import os
import shutil
from typing import Final

import msgspec
from grpc import StatusCode

from resizer.driver.failure import CallError, precondition

DEFAULT_TIMEOUT_S: Final = 60.0
_SBIN: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_PACKAGES: Final = {
    "mkfs.xfs": "xfsprogs",
    "xfs_growfs": "xfsprogs",
    "mkfs.ext4": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "btrfs": "btrfs-progs",
    "mount": "mount",
    "umount": "mount",
}


class Outcome(msgspec.Struct, frozen=True):
    """How a program ended; `output` is its standard output and error, in the order of writing."""

    program: str
    exit_code: int
    output: str

    def failure(self) -> CallError:
        """Return the program's failure as a call's: a full disk told apart from the rest."""
        words = " ".join(self.output.split())[-400:] or f"exit code {self.exit_code}"
        if "No space left on device" in self.output:
            return CallError(StatusCode.RESOURCE_EXHAUSTED, f"{self.program}: {words}")
        return CallError(StatusCode.INTERNAL, f"{self.program}: {words}")


def search_path() -> str:
    """Return PATH with the sbin folders at its end."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])


def find_program(program: str) -> str | None:
    """Return the program's absolute path, None if it is not installed."""
    return shutil.which(program, path=search_path())


def missing_program(program: str) -> CallError:
    """Return FAILED_PRECONDITION that names the Debian package to install."""
    package = _PACKAGES.get(program, program)
    return precondition(f"{program} is not installed here: install the Debian package {package}")


async def run(program: str, *arguments: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Outcome:
    """Run `program` to its end and return how it ended, whatever its exit code.

    Raises CallError: FAILED_PRECONDITION when it is not installed, DEADLINE_EXCEEDED when it took longer than
    `timeout_s` seconds; it is killed then, as it is when the caller is cancelled.
    """
    executable = find_program(program)
    if executable is None:
        raise missing_program(program)
    process = await asyncio.create_subprocess_exec(
        executable,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        close_fds=False,  # the lock of the state folder goes along: see state.py
        env={**os.environ, "LC_ALL": "C", "PATH": search_path()},
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise CallError(
            StatusCode.DEADLINE_EXCEEDED, f"{program} did not finish within {timeout_s:g} s and was killed"
        ) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None
    return Outcome(program, process.returncode, output.decode(errors="replace"))


async def check(program: str, *arguments: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> Outcome:
    """Run `program` and raise its failure as CallError unless it exits 0."""
    outcome = await run(program, *arguments, timeout_s=timeout_s)
    if outcome.exit_code != 0:
        raise outcome.failure()
    return outcome
