"""Fixtures for tests that run the programs: the demo in a folder of its own, and what it may have left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    out: str
    err: str


@dataclass(frozen=True)
class DemoRunner:
    """Runs `resizer demo` with its files below `folder`."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.folder), "COLUMNS": "120"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "resizer.cli.main", "demo", *arguments]

    def run(self, *arguments: str, timeout_s: float = 100.0) -> Outcome:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*arguments),
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def leaks(self) -> list[str]:
        """What of a run still stands: mounts, loop devices, processes and files below the folder."""
        folder = str(self.folder)
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if folder in line]
        loops = []
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                found = backing.read_text()
            except OSError:
                continue
            if folder in found:
                loops.append(found)
        files = [str(path) for path in self.folder.rglob("*")]
        return [*mounts, *loops, *files, *self.processes()]

    def processes(self) -> list[str]:
        """Command lines, other than pytest's own, that name the folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.folder) in line and int(process.name) != os.getpid():
                found.append(line)
        return found


@pytest.fixture
def demo(tmp_path_factory):
    """A runner whose folder has a short name: unix sockets allow 107 bytes."""
    runner = DemoRunner(tmp_path_factory.mktemp("d"))
    yield runner
    for process in runner.started:  # a test that failed may have left one
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read standard output up to the line with `text`; fails if it never comes."""
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came; out: {seen}; err: {process.stderr.read() if process.stderr else ''}")


@pytest.fixture
def until():
    return read_until


async def _stop(process: subprocess.Popen[str], number: signal.Signals) -> Outcome:
    process.send_signal(number)
    out, err = await asyncio.to_thread(process.communicate, None, 30)
    return Outcome(process.returncode, out, err)


@pytest.fixture
def stop():
    return _stop
