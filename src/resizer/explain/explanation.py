"""Walks the checks in the order in which a growth passes them; the first that blocks is the answer.

    binding -> driver -> class, quota -> request -> refusal -> resizer -> permissions -> secret -> last attempt
            -> (controller at work) -> pods -> attachment -> node -> node's answer -> (kubelet at work)

A refusal for good comes before the question whether a resizer runs: no resizer would help. If nothing blocks, what is
waited for is the answer.
"""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from resizer.explain.attempt import check_last_attempt
from resizer.explain.claim import check_binding, check_class, check_driver, check_quota, check_wish
from resizer.explain.controller import (
    check_progress,
    check_refusal,
    check_resizer,
    check_rights,
    check_secret,
)
from resizer.explain.facts import Facts
from resizer.explain.finding import Check, Explanation, Verdict
from resizer.explain.node import check_attachment, check_kubelet, check_node, check_node_refusal, check_pods
from resizer.explain.progress import find_phase
from resizer.model.text import printable

_WALK: Final[tuple[Callable[[Facts], Check], ...]] = (
    check_binding,
    check_driver,
    check_class,
    check_quota,
    check_wish,
    check_refusal,
    check_resizer,
    check_rights,
    check_secret,
    check_last_attempt,
    check_progress,
    check_pods,
    check_attachment,
    check_node,
    check_node_refusal,
    check_kubelet,
)
LONGEST: Final = 900
"""How long an answer may be, in characters."""
# Nothing after these means anything without them.
_FOUNDATION: Final = frozenset({"binding", "driver", "request"})


def explain(facts: Facts) -> Explanation:
    """Say the first thing that blocks the growth of this claim, and the next step. Pure."""
    checks: list[Check] = []
    for look in _WALK:
        check = _clean(look(facts))
        checks.append(check)
        if check.subject in _FOUNDATION and (check.result == "blocks" or facts.volume is None):
            break
    answer = next((c for c in checks if c.result == "blocks"), None)
    answer = answer or next((c for c in checks if c.result == "waits"), None) or _undecided(checks)
    claim = facts.claim
    return Explanation(
        claim=claim.key,
        driver=facts.driver_name,
        from_bytes=claim.capacity_bytes,
        to_bytes=claim.requested_bytes,
        phase=find_phase(claim, facts.volume),
        verdict=_verdict(answer),
        cause=answer.cause,
        says=answer.text,
        next_step=answer.next_step,
        checks=tuple(checks),
        unreadable=facts.unreadable,
    )


def _clean(check: Check) -> Check:
    """Make the whole safe to show: holders of leases, annotations and uids are texts of others, too."""
    text, step = printable(check.text, limit=LONGEST), printable(check.next_step, limit=LONGEST)
    return replace(check, text=text, next_step=step)


def _verdict(answer: Check) -> Verdict:
    if answer.cause == "nothing-asked":
        return "nothing-asked"
    return "blocked" if answer.result == "blocks" else "waiting"


def _undecided(checks: list[Check]) -> Check:
    """Neither blocked nor waiting: something that could not be read stands in the way of an answer."""
    found = next((c for c in checks if c.result == "unknown"), checks[-1])
    step = "ask somebody with the right to read it, or give yourself that right"
    return Check(found.subject, "unknown", found.text, "unknown", step)
