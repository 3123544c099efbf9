"""What a growth costs the API server: figures from the requests in its audit. Pure, but for waiting until they end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bench.rig import Rig

Record = Mapping[str, Any]
_CHANGED = ("persistentvolumeclaims", "persistentvolumes")
_QUIET_S = 0.5


async def wait_quiet(rig: Rig) -> list[dict[str, Any]]:
    """Wait until the resizer asks for nothing more but its lease; return what it has asked."""
    before = -1
    while True:
        records = await rig.requests()
        asked = [record for record in records if record["resource"] != "leases"]
        if len(asked) == before:
            return asked
        before = len(asked)
        await asyncio.sleep(_QUIET_S)


def patches(records: Sequence[Record]) -> int:
    """Count patches of claims and volumes that were carried out."""
    return sum(1 for r in records if r["verb"] == "patch" and r["resource"] in _CHANGED and r["status"] < 300)


def nudges(records: Sequence[Record]) -> int:
    """Count patches of pods."""
    return sum(1 for r in records if r["verb"] == "patch" and r["resource"] == "pods")


def events(records: Sequence[Record]) -> int:
    """Count events, new ones and repetitions."""
    return sum(1 for r in records if r["resource"] == "events" and r["verb"] in ("create", "patch", "update"))


def conflicts(records: Sequence[Record]) -> int:
    """Count refusals because of a version that was no longer the present one."""
    return sum(1 for r in records if r["status"] == 409)


def most_in_a_namespace(records: Sequence[Record], *, verb: str) -> int:
    """Count the pod lists or watches of the namespace that has most of them; those of all namespaces count, too."""
    found = Counter(r["namespace"] for r in records if r["resource"] == "pods" and r["verb"] == verb)
    return max(found.values(), default=0)


def longest_gap_s(records: Sequence[Record]) -> float | None:
    """Return the longest time between two renewals of a lease, None if there were fewer than two."""
    times = [r["at_s"] for r in records if r["resource"] == "leases" and r["verb"] == "update" and r["status"] == 200]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return max(gaps, default=None)


def quantile(part: float, before: Mapping[float, float], after: Mapping[float, float]) -> float:
    """Return a quantile of what a histogram counted between two readings, as PromQL's histogram_quantile does.

    Both are upper bound to cumulative count; beyond the last finite bound that bound is the answer, 0 if nothing came.
    """
    counted = sorted((bound, after[bound] - before.get(bound, 0.0)) for bound in after)
    rank = part * counted[-1][1]
    below, low = 0.0, 0.0
    for bound, count in counted:
        if count >= rank and count > below:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / (count - below)
        below, low = count, bound if bound != float("inf") else low
    return 0.0
