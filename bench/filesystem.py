"""From the edit to the grown filesystem below a running pod: bench.node's 20 growths, as rows of the table."""

from __future__ import annotations

import argparse
import statistics

from bench import node
from bench.how import How

GROWTHS = 20


async def measure(how: How) -> dict[str, float]:
    """Return the worst and the median of 20 growths, in seconds."""
    options = argparse.Namespace(growths=GROWTHS, without=False)
    took = (await node.measure(options, how.contender))["nudged_s"]
    return {"filesystem_max_s": max(took), "filesystem_p50_s": statistics.median(took)}
