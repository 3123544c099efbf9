"""Where a growth's CPU goes: py-spy on the resizer while many claims grow at once, drawn as a flame graph.

    python -m bench profile [--claims 1500] [--source FOLDER] [--out FILE.svg] [--samples FILE]

`--samples` also keeps what py-spy wrote: a line for each stack, its frames from the outermost on, and how often it was
seen. Nothing is drawn without `--out`; the shares of each file are printed in any case.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import uvloop

from bench import flame, traffic
from bench.contender import Contender, ours
from bench.objects import Seed
from bench.process import BenchError
from bench.rig import running_rig
from bench.watcher import Watcher, edit_all

_RATE = 200
_SHOWN = 25
_ATTACH_S = 1.5


async def record(contender: Contender, claims: int, samples: Path) -> None:
    """Have py-spy sample the resizer while these claims grow."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise BenchError("py-spy is not installed; make setup installs it")
    seed = Seed(claims=claims + 1)
    async with running_rig(seed) as rig, rig.resizer(contender) as resizer:
        watcher = Watcher(rig.client)
        async with watcher.following():
            first, rest = seed.claim_keys(range(1)), seed.claim_keys(range(1, seed.claims))
            await edit_all(rig.client, first, "2Gi")
            await watcher.wait(first, "2Gi", check=resizer.program.check)
            command = (spy, "record", "--rate", str(_RATE), "--format", "raw", "--duration", "600")
            where = ("--output", str(samples), "--pid", str(resizer.program.pid))
            quiet = asyncio.subprocess.DEVNULL
            spying = await asyncio.create_subprocess_exec(*command, *where, stdout=quiet, stderr=quiet)
            await asyncio.sleep(_ATTACH_S)  # it says nothing when it has begun
            await edit_all(rig.client, rest, "2Gi")
            await watcher.wait(rest, "2Gi", check=resizer.program.check)
            await traffic.wait_quiet(rig)
            spying.send_signal(signal.SIGINT)
            await spying.wait()


def main() -> int:
    """Profile, print, draw."""
    parser = argparse.ArgumentParser(prog="bench profile", description="Show where a growth's CPU goes.")
    parser.add_argument("--claims", type=int, default=1500, help="claims that grow at once [1500]")
    parser.add_argument("--source", type=Path, help="the resizer of this checkout instead of this tree's")
    parser.add_argument("--out", type=Path, help="draw the flame graph into this file")
    parser.add_argument("--samples", type=Path, help="keep py-spy's samples in this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder:
        samples = options.samples or Path(folder) / "samples"
        uvloop.run(record(ours(options.source), options.claims, samples))
        stacks = flame.read(samples.read_text()) if samples.exists() else {}
    if not stacks:
        raise BenchError("py-spy wrote nothing; it needs the right to trace processes (root, or ptrace_scope 0)")
    total, files = sum(stacks.values()), Counter[str]()
    for frames, count in stacks.items():
        files[frames[-1].file] += count
    for file, count in files.most_common(_SHOWN):
        print(f"{count / total:6.1%}  {file}")
    if options.out:
        title = f"resizer run while {options.claims:,} claims grow at once: where its CPU goes"
        options.out.write_text(flame.draw(stacks, title=title))
    return 0
