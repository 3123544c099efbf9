"""Looking again from the beginning: at once the first time, then slower, so that no two writers chase each other.

A restart is for news that make a decision void in mid-course: another writer moved the target, the node was faster,
the user asked for more. Each is followed by one look at once. If looks keep ending in restarts while the claim does
not grow, somebody rewrites what we write, and the next look backs off like any other retry.
"""

from msgspec.structs import replace

from resizer.core.pacing import delay_exponential
from resizer.core.state import Memory, Policy, Settle, Snapshot, Step
from resizer.model.objects import Claim


def restart(claim: Claim, snapshot: Snapshot, memory: Memory, policy: Policy, *, reason: str) -> Step:
    """Settle for a fresh look, now or after a back-off."""
    grew = claim.capacity_bytes > memory.from_bytes > 0
    restarts = 0 if grew else memory.restarts
    delay_s = delay_exponential(restarts, limits=policy.limits, roll=snapshot.now.roll) if restarts else 0.0
    return Step(Settle("restart", delay_s, reason), replace(memory, restarts=restarts + 1))
