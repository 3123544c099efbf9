"""One claim at a time, nothing else to do: milliseconds from the edit to the finished claim in a watch."""

from __future__ import annotations

import statistics

from bench.how import How
from bench.objects import Seed
from bench.rig import running_rig
from bench.watcher import Watcher, edit_all

CACHED = 100
GROWTHS = 300


async def measure(how: How) -> dict[str, float]:
    """Return the median and the 99th percentile of 300 growths, one after the other."""
    seed = Seed(claims=CACHED)
    took = []
    async with running_rig(seed) as rig, rig.resizer(how.contender) as resizer:
        watcher = Watcher(rig.client)
        async with watcher.following():
            for number in range(GROWTHS + 1):
                key = seed.claim_keys(range(number % CACHED, number % CACHED + 1))
                size = f"{number // CACHED + 2}Gi"
                began = await edit_all(rig.client, key, size)
                (ended,) = await watcher.wait(key, size, check=resizer.program.check)
                took.append((ended - began) * 1e3)
    centiles = statistics.quantiles(took[1:], n=100)  # the first one waits for the process to start
    return {"lone_p50_ms": centiles[49], "lone_p99_ms": centiles[98]}
