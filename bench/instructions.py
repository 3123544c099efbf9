"""How many instructions a growth takes in the resizer's process, counted by valgrind.

CPU time moves by a third with what the neighbours of a machine do; this moves by half a percent, so it shows what a
small change is worth. It says nothing of caches and of the system's share. Counted are two runs with different numbers
of claims: what starting costs falls out of the difference.

    python -m bench instructions [FOLDER ...]      this tree, or the resizers of these checkouts
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from bench import traffic
from bench.contender import Contender, ours
from bench.objects import Seed
from bench.process import BenchError
from bench.rig import running_rig
from bench.watcher import Watcher, edit_all

FEW, MANY = 100, 300
_LOG: Final = "valgrind.log"
_COUNTED: Final = re.compile(r"I\s+refs:\s+([\d,]+)")


async def measure(contender: Contender) -> float:
    """Return the instructions of one growth."""
    if shutil.which("valgrind") is None:
        raise BenchError("valgrind is not installed; apt-get install valgrind")
    few, many = await _count(contender, FEW), await _count(contender, MANY)
    return (many - few) / (MANY - FEW)


async def _count(contender: Contender, claims: int) -> int:
    seed = Seed(claims=claims)
    async with running_rig(seed) as rig:
        log = rig.folder / _LOG
        valgrind = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
        counted = replace(contender, command=(*valgrind, f"--log-file={log}", *contender.command))
        async with rig.resizer(counted) as resizer:
            watcher = Watcher(rig.client)
            async with watcher.following():
                keys = seed.claim_keys(range(claims))
                await edit_all(rig.client, keys, "2Gi")
                await watcher.wait(keys, "2Gi", check=resizer.program.check)
                await traffic.wait_quiet(rig)
        return counted_in(log.read_text())


def counted_in(log: str) -> int:
    """Return what valgrind counted. Raises BenchError for a log that does not say."""
    found = _COUNTED.search(log)
    if found is None:
        raise BenchError(f"valgrind did not count; its log ends with:\n{log[-500:]}")
    return int(found[1].replace(",", ""))


def main() -> int:
    """Count for each checkout, in turn."""
    parser = argparse.ArgumentParser(prog="bench instructions", description="Count the instructions of a growth.")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="checkouts; this tree if none is named")
    options = parser.parse_args()
    for folder in options.folders or [None]:
        print(f"{folder or 'this tree'}: counting takes a minute or two", file=sys.stderr)
        counted = uvloop.run(measure(ours(folder)))
        print(f"{folder or 'this tree'}: {counted / 1e6:.3f} million instructions a growth", flush=True)
    return 0
