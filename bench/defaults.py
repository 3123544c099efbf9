"""100 claims edited at once, everything at its default: seconds from the first edit to the last claim finished."""

from __future__ import annotations

from bench.how import How
from bench.objects import Seed
from bench.rig import running_rig
from bench.watcher import Watcher, edit_all

CLAIMS = 100
PEER_RUNS = 1
"""The peer takes a minute and does not vary: its limit of requests decides."""


async def measure(how: How) -> dict[str, float]:
    """Return the seconds."""
    seed = Seed(claims=CLAIMS + 1)
    async with running_rig(seed) as rig, rig.resizer(how.contender, lifted=False) as resizer:
        watcher = Watcher(rig.client)
        async with watcher.following():
            first, rest = seed.claim_keys(range(1)), seed.claim_keys(range(1, seed.claims))
            await edit_all(rig.client, first, "2Gi")  # it has started when this one is done
            await watcher.wait(first, "2Gi", check=resizer.program.check)
            began = await edit_all(rig.client, rest, "2Gi")
            ended = await watcher.wait(rest, "2Gi", check=resizer.program.check)
    return {"default_100_s": max(ended) - began}
