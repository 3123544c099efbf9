"""What a failover costs: seconds from the edit of a claim to the grown claim, as the leader ends at that moment.

Two `resizer run --leader-election` processes with our default lease on the development API server, a driver that
answers at once and needs no node. The leader gets the signal, the claim is edited in the same moment, and a watch
tells when it is grown. After each run the one that ended is started again and follows.

    python -m bench.failover [--json FILE] [--runs 5]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from resizer.devcluster.client import CLAIMS, Client
from tests.control_plane import REPLICAS
from tests.e2e.replicas import DEFAULT, PLAN, Replicas, running_replicas
from tests.e2e.rig import is_grown_to

_GOALS_S = {"SIGTERM": 1.0, "SIGKILL": DEFAULT.duration_s + 1.0}


async def _wait_grown(client: Client, name: str, size: str, watching: asyncio.Event) -> float:
    """Return when the watch showed the grown claim, in monotonic seconds."""
    grown = is_grown_to(size)
    async with contextlib.aclosing(client.watch(CLAIMS, field_selector=f"metadata.name={name}")) as events:
        async for event in events:
            watching.set()
            if grown(event.object):
                return time.monotonic()
    raise SystemExit("bench.failover: the watch ended")


async def _run_once(replicas: Replicas, leader: str, follower: str, *, ending: str, number: int) -> float:
    """End the leader as claim `number` is edited; return the seconds, with the leader back as a warm follower."""
    rig, name, watching = replicas.rig, f"{ending.lower()}-{number}", asyncio.Event()
    await rig.place(name)
    waiting = asyncio.create_task(_wait_grown(rig.client, name, "5Gi", watching))
    await watching.wait()
    began_s = time.monotonic()
    replicas.processes[leader].send_signal(signal.Signals[ending])
    await rig.edit(name, "5Gi")
    async with asyncio.timeout(60):
        took_s = await waiting - began_s
        await replicas.processes[leader].wait()
    await replicas.start(leader)
    await replicas.wait_following(leader, follower)
    return took_s


async def measure(folder: Path, *, runs: int) -> dict[str, list[float]]:
    """Return the seconds of each run, by signal."""
    figures: dict[str, list[float]] = {ending: [] for ending in _GOALS_S}
    async with running_replicas(folder, timing=DEFAULT) as replicas:
        leader, follower = await replicas.start_both()
        for ending, seconds in figures.items():
            for number in range(runs):
                seconds.append(await _run_once(replicas, leader, follower, ending=ending, number=number))
                leader, follower = follower, leader
    return figures


def _summary(seconds: list[float], goal_s: float) -> dict[str, Any]:
    return {
        "seconds": [round(s, 3) for s in seconds],
        "median_s": round(statistics.median(seconds), 3),
        "worst_s": round(max(seconds), 3),
        "goal_s": goal_s,
    }


def main() -> int:
    """Measure, print a table and JSON; 1 if a figure misses its goal."""
    parser = argparse.ArgumentParser(description="Measure what a failover costs.")
    parser.add_argument("--runs", type=int, default=5, help="runs of each signal")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-failover-") as folder:
        measured = asyncio.run(measure(Path(folder), runs=options.runs))
    figures: dict[str, Any] = {
        "lease": {"duration_s": DEFAULT.duration_s, "renew_s": DEFAULT.renew_deadline_s, "retry_s": DEFAULT.retry_s},
        "driver": PLAN.name,
        "replicas": len(REPLICAS),
        **{ending: _summary(seconds, _GOALS_S[ending]) for ending, seconds in measured.items()},
    }
    print(f"{'the leader gets':18} {'median s':>9} {'worst s':>9}  goal")
    for ending, goal_s in _GOALS_S.items():
        print(f"{ending:18} {figures[ending]['median_s']:>9} {figures[ending]['worst_s']:>9}  < {goal_s:g}")
    print(json.dumps(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(any(figures[ending]["worst_s"] >= goal_s for ending, goal_s in _GOALS_S.items()))


if __name__ == "__main__":
    sys.exit(main())
