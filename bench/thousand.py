"""1,000 claims edited at once, no node step: rate, CPU, requests, loop lag and the lease, all in one run.

The peer's limits are lifted. CPU is counted until the last request, events included, has been answered.
"""

from __future__ import annotations

import subprocess
import sys

from bench import traffic
from bench.how import How
from bench.objects import Seed
from bench.rig import Resizer, Rig, running_rig
from bench.watcher import Key, Watcher, edit_all

CLAIMS = 1000
_LAG = "resizer_event_loop_lag_seconds"
_ADDITIONS = """
import time
began_s, total = time.perf_counter(), 0
for number in range(10_000_000):
    total += number
print(time.perf_counter() - began_s)
"""
_ELECTION = ("--leader-election", "--leader-election-namespace=default")


async def measure(how: How) -> dict[str, float]:
    """Return the figures of one run."""
    before_s = _spin_s()
    figures = await _measure(how)
    return {**figures, "spin_s": (before_s + _spin_s()) / 2}


async def _measure(how: How) -> dict[str, float]:
    seed = Seed(claims=CLAIMS + 1)
    async with running_rig(seed) as rig, rig.resizer(how.contender, *_ELECTION) as resizer:
        watcher = Watcher(rig.client)
        async with watcher.following():
            first, rest = seed.claim_keys(range(1)), seed.claim_keys(range(1, seed.claims))
            await edit_all(rig.client, first, "2Gi")
            await watcher.wait(first, "2Gi", check=resizer.program.check)
            await traffic.wait_quiet(rig)
            if how.contender.is_peer:
                return await _grow(rig, resizer, watcher, rest)
            before = await resizer.buckets(_LAG)
            figures = await _grow(rig, resizer, watcher, rest)
            lag_s = traffic.quantile(0.99, before, await resizer.buckets(_LAG))
            gap_s = traffic.longest_gap_s(await rig.requests(resource="leases"))
    return {**figures, "lag_p99_ms": lag_s * 1e3, **({} if gap_s is None else {"renewal_gap_s": gap_s})}


def _spin_s() -> float:
    """Time ten million additions, in a program of their own: CPU milliseconds say little without."""
    done = subprocess.run((sys.executable, "-c", _ADDITIONS), capture_output=True, text=True, check=True)
    return float(done.stdout)


async def _grow(rig: Rig, resizer: Resizer, watcher: Watcher, keys: list[Key]) -> dict[str, float]:
    await rig.forget_requests()
    cpu_before, waited_before = resizer.program.cpu_s(), resizer.program.waited_s()
    began = await edit_all(rig.client, keys, "2Gi")
    ended = await watcher.wait(keys, "2Gi", check=resizer.program.check)
    waited = resizer.program.waited_s()
    took_s = max(ended) - began
    records = await traffic.wait_quiet(rig)
    cpu_s, count = resizer.program.cpu_s() - cpu_before, len(keys)
    crowded = {}
    if waited is not None and waited_before is not None:
        crowded["crowded_percent"] = (waited - waited_before) / took_s * 100
    return {
        "rate": count / took_s,
        "cpu_ms": cpu_s / count * 1e3,
        "patches": traffic.patches(records) / count,
        "requests": len(records) / count,
        "events": traffic.events(records) / count,
        "conflicts_percent": traffic.conflicts(records) / count * 100,
        **crowded,
    }
