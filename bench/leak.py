"""Whether memory grows with the number of resizes: 1,000 claims grown again and again, with 5 % faults.

One in twenty driver calls is answered with ABORTED, one in twenty patches of a claim's status with 503. The slope is
that of a line through the resident memory after each round, the first fifth (five rounds at least) left out; it is
given for 50,000 resizes.

    python -m bench leak [--full]        10,000 resizes, or 50,000
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench.how import How
from bench.objects import Seed
from bench.rig import Rig, running_rig
from bench.watcher import Watcher, edit_all

CLAIMS = 1000
ROUNDS, FULL_ROUNDS = 10, 50
_FAULTS = 0.05
_RESIZES_OF_GOAL = 50_000
_SETTLE_S = 0.5
_LEAST_WARM_UP = 5
"""Rounds after which caches and bounded memories are full."""


async def measure(how: How) -> dict[str, float]:
    """Return the slope."""
    rounds = FULL_ROUNDS if how.full else ROUNDS
    seed = Seed(claims=CLAIMS)
    every = round(1 / _FAULTS)
    refused, answered = {"code": "ABORTED", "message": "busy, as the benchmark wants it"}, {"code": "OK"}
    answers = [refused if n % every == every - 1 else answered for n in range(2 * rounds * CLAIMS)]
    plan = {"ControllerExpandVolume": answers}
    async with running_rig(seed, answers=plan) as rig, rig.resizer(how.contender) as resizer:
        watcher = Watcher(rig.client)
        keys, samples = seed.claim_keys(range(CLAIMS)), []
        async with watcher.following():
            await _refuse_patches(rig)
            for number in range(rounds):
                size = f"{number + 2}Gi"
                await edit_all(rig.client, keys, size)
                await watcher.wait(keys, size, check=resizer.program.check)
                await asyncio.sleep(_SETTLE_S)
                samples.append(resizer.program.rss_mb())
                how.say(f"{(number + 1) * CLAIMS} resizes: {samples[-1]:.1f} MB")
    a_round_mb = slope(samples[max(_LEAST_WARM_UP, len(samples) // 5) :])
    return {"leak_mb": a_round_mb / CLAIMS * _RESIZES_OF_GOAL, "leak_bytes": a_round_mb / CLAIMS * 1e6}


async def _refuse_patches(rig: Rig) -> None:
    fault = {"kind": "unavailable", "verb": "patch", "resource": "persistentvolumeclaims", "subresource": "status"}
    more = {"user": "bench-resizer", "probability": _FAULTS, "seed": 1}
    await rig.client.call("POST", "/admin/faults", body={**fault, **more})


def slope(values: Sequence[float]) -> float:
    """Return by how much values rise from one to the next, by least squares; 0 for fewer than two."""
    middle_x, middle_y = (len(values) - 1) / 2, sum(values) / max(1, len(values))
    square = sum((x - middle_x) ** 2 for x in range(len(values)))
    return sum((x - middle_x) * (y - middle_y) for x, y in enumerate(values)) / square if square else 0.0
