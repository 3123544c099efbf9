"""The history file: one line of JSON a run of the benchmarks, told apart by commit.

A line has commit, whether its source differed from it, time, machine, and the median of each figure. A commit's
figures are those of its newest line that has them. The machine is described by what matters to speed and nothing that
names it; figures of two machines are never compared.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

HISTORY: Final = Path(__file__).with_name("history.jsonl")


class Entry(msgspec.Struct, frozen=True):
    """One line. `changed` means that the source was not as the commit has it."""

    commit: str
    at: str
    machine: str
    load: float
    runs: int
    figures: dict[str, float]
    changed: bool = False


class HistoryError(Exception):
    """The history or the commit cannot be read; the text says why."""


def read(path: Path = HISTORY) -> list[Entry]:
    """Read all lines, the oldest first; none if there is no file."""
    entries = []
    with contextlib.suppress(FileNotFoundError):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                entries.append(msgspec.json.decode(line, type=Entry))
            except msgspec.DecodeError as error:
                raise HistoryError(f"{path.name}, line {number}: {error}; mend it or take it out") from error
    return entries


def append(entry: Entry, path: Path = HISTORY) -> None:
    """Add a line."""
    with path.open("ab") as file:
        file.write(msgspec.json.encode(entry) + b"\n")


def figures_of(entries: Iterable[Entry], *, commit: str, machine: str) -> dict[str, float]:
    """Return a commit's newest figures on this machine; lines of changed sources do not count."""
    found: dict[str, float] = {}
    for entry in entries:
        if entry.commit == commit and entry.machine == machine and not entry.changed:
            found |= entry.figures
    return found


def entry(figures: Mapping[str, float], *, source: Path, runs: int, load: float) -> Entry:
    """Make the line of a run that measured this checkout."""
    return Entry(
        commit=commit_of("HEAD", folder=source),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        load=round(load, 2),
        runs=runs,
        figures={key: round(value, 4) for key, value in figures.items()},
        changed=bool(git("status", "--porcelain", "--", "src", folder=source)),
    )


def machine() -> str:
    """Describe this machine: processor, cores, memory, system and Python."""
    model = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"{model}, {cores} cores, {memory:.0f} GiB, {platform.system()}, Python {python}"


def about(entry: Entry) -> dict[str, Any]:
    """Return what a line says beside its figures."""
    return {key: value for key, value in msgspec.to_builtins(entry).items() if key != "figures"}


def commit_of(name: str, *, folder: Path) -> str:
    """Return the full hash of a commit."""
    return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", folder=folder, wanted=name)


def git(*arguments: str, folder: Path, wanted: str = "") -> str:
    """Run git in a checkout and return what it prints."""
    try:
        found = subprocess.run(("git", "-C", str(folder), *arguments), capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise HistoryError("git is not installed; --no-history does without") from error
    except subprocess.CalledProcessError as error:
        said = f"there is no commit {wanted!r}; git log shows them" if wanted else error.stderr.strip()
        raise HistoryError(f"git {arguments[0]}: {said}") from error
    return found.stdout.strip()
