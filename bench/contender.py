"""Whose work is measured: this source tree, another one, or a program that takes the flags of external-resizer.

The peer gets its limits lifted where the goal says so (its own defaults are 5 requests a second and 10 workers), so
that work is compared and not settings.
"""

from __future__ import annotations

import compileall
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import resizer
from bench.process import BenchError

LIFTED = ("--kube-api-qps=2000", "--kube-api-burst=4000", "--workers=100", "--timeout=2m")


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that grows claims."""

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    is_peer: bool = False

    def flags(self, *, lifted: bool) -> tuple[str, ...]:
        """Return the flags that lift its limits, if it has any and they are to go."""
        return LIFTED if self.is_peer and lifted else ()


def ours(source: Path | None = None) -> Contender:
    """Return this tree's resizer, or that of another checkout, compiled as an image has it."""
    command = (sys.executable, "-m", "resizer.cli.main", "run", "--log-format=json")
    if source is None:
        compileall.compile_dir(Path(resizer.__file__).parent, quiet=1)
        return Contender(command)
    if not (source / "src" / "resizer").is_dir():
        raise BenchError(f"--source {source}: there is no src/resizer; name the folder of a checkout")
    compileall.compile_dir(source / "src", quiet=1)
    return Contender(command, (("PYTHONPATH", str((source / "src").resolve())),))


def peer(path: Path) -> Contender:
    """Return the program at this path."""
    if not path.is_file() or not os.access(path, os.X_OK):
        raise BenchError(f"--peer {path}: no program there; build external-resizer and name its executable")
    return Contender((str(path.resolve()),), is_peer=True)
