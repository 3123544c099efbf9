"""Run programs in an image's root as a strict cluster would, without a container engine.

In: an unpacked image (tools/image/archive.py) and a folder for sockets. A program gets: the image's own environment and
nothing of ours, a read-only root (/tmp included), the sockets in /run/csi, a process namespace of its own (it is
process 1, as in a container), and the user asked for. The network is the machine's. Needs root and util-linux; mounts
live in the program's own mount namespace and go with it, also after kill -9.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

SOCKETS: Final = "/run/csi"
_END_S: Final = 30.0
_SEAL: Final = """
set -eu
root=$1 sockets=$2 user=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t tmpfs -o size=1m,mode=755 tmpfs "$root/run"
mount -t tmpfs -o size=1m,mode=755 tmpfs "$root/dev"
mount -t proc proc "$root/proc"
mkdir "$root/run/csi"
mount --bind "$sockets" "$root/run/csi"
for device in null zero urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,ro "$root/run"
mount -o remount,ro "$root/dev"
mount -o remount,ro,bind "$root"
exec chroot --userspec="$user" --groups= "$root" "$@"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRoot:
    """An image's root, its environment (`NAME=value`), and the folder that shows as /run/csi."""

    root: Path
    environment: tuple[str, ...]
    sockets: Path

    def command(self, arguments: list[str], *, user: str) -> list[str]:
        """Return the command line that runs these arguments inside."""
        outside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _SEAL, "seal"]
        return [*outside, str(self.root), str(self.sockets), user, *arguments]

    def run(self, arguments: list[str], *, user: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, at most two minutes."""
        return subprocess.run(  # noqa: S603 - no shell is given our arguments
            self.command(arguments, user=user),
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    @contextmanager
    def running(self, arguments: list[str], *, user: str, log: IO[bytes]) -> Iterator["Sealed"]:
        """Run beside the block; whatever happens in it, the program is gone afterwards."""
        command = self.command(arguments, user=user)
        with subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log) as process:  # noqa: S603 - as in run
            try:
                yield Sealed(process)
            finally:
                process.kill()

    def _environment(self) -> dict[str, str]:
        # unshare, mount and chroot are found by the image's PATH, which names the usual folders of any Linux.
        return dict(entry.split("=", 1) for entry in self.environment)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A program that runs inside."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The program's own process, as the machine numbers it: the only child of `unshare`."""
        outer = self.process.pid
        return int(Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])

    def memory_mib(self) -> float:
        """Return the resident memory."""
        (line,) = (x for x in Path(f"/proc/{self.pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def terminate(self) -> int:
        """Send SIGTERM to the program, which is process 1 of its namespace, and return its exit code."""
        import os
        import signal

        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(_END_S)
