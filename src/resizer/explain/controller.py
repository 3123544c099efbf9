"""The controller's side: is somebody at work for this driver, may it, has it what it needs.

A lease that is not there proves nothing (election is off by default), and its times are another machine's: it counts
as abandoned only well after its end.
"""

from typing import Final

from resizer.core.target import Target
from resizer.explain.attempt import next_try
from resizer.explain.facts import Facts, listed
from resizer.explain.failure import find_failure
from resizer.explain.finding import Check, block, ok, skip, unknown, wait
from resizer.explain.span import span
from resizer.model.objects import CONTROLLER_RESIZE_INFEASIBLE
from resizer.model.text import printable

CLOCKS_MAY_DIFFER_S: Final = 30.0
_LOOK: Final = "look at the resizer's log (kubectl logs) and its /readyz"


def check_refusal(facts: Facts) -> Check:
    """Whether the driver has refused exactly what is asked for."""
    claim, aim = facts.claim, facts.aim
    if claim.state != CONTROLLER_RESIZE_INFEASIBLE:
        return ok("refusal", "the driver has not refused the size")
    if isinstance(aim, Target) and aim.size_bytes != claim.allocated_bytes:
        return ok("refusal", f"{claim.allocated} was refused; {claim.requested} is asked for since")
    failure = find_failure(facts)
    said = f": {failure.text}" if failure is not None and failure.text else ""
    text = f"the driver refused {claim.allocated} for good{said}"
    step = (
        f"ask for a size the back-end can give (more than {claim.capacity}), or mend what the driver names"
        f"{next_try(failure)}"
    )
    return block("refusal", "infeasible", text, step)


def check_resizer(facts: Facts) -> Check:
    """Whether a controller for this driver is there and has taken the claim up."""
    if facts.is_nodes_turn:
        return skip("resizer", "the controller has done its part")
    driver = facts.driver_name
    if facts.leases is None:
        return _check_taken_up(facts, holder="leases could not be read")
    newest = max(facts.leases, key=lambda lease: lease.renewed_s, default=None)
    if newest is None:
        return _check_taken_up(facts, holder=f"no lease external-resizer-* for {driver}: election off, or no resizer")
    where = f"lease {newest.namespace}/{newest.name}"
    if not newest.holder:
        step = f"start the resizer for {driver} again: its last holder released the lease and nobody has taken it"
        return block("resizer", "controller-away", f"no resizer is at work for {driver}: nobody holds {where}", step)
    late_s = facts.now_s - newest.renewed_s - newest.duration_s
    if late_s > CLOCKS_MAY_DIFFER_S:
        text = f"the resizer for {driver} is gone: {newest.holder} let {where} lapse {span(late_s)} ago"
        return block(
            "resizer", "controller-away", text, f"look after the pod {newest.holder}: is it running, is it ready?"
        )
    return _check_taken_up(facts, holder=f"{newest.holder} holds {where}")


def _check_taken_up(facts: Facts, *, holder: str) -> Check:
    if facts.is_taken_up:
        return ok("resizer", f"the growth has been taken up ({holder})")
    if facts.leases:
        text = f"a resizer is there ({holder}), but it has not taken this claim up"
        return block("resizer", "not-taken-up", text, _LOOK)
    text = f"no resizer has taken this claim up ({holder})"
    run = f"run one for {facts.driver_name} (resizer run --csi-address SOCKET, or the driver's sidecar)"
    step = f"{run}; if one runs, {_LOOK}"
    return block("resizer", "no-controller", text, step)


def check_rights(facts: Facts) -> Check:
    """Whether the subject that was asked about may do what growing needs."""
    if not facts.rights:
        return skip("permissions", "not asked about (--service-account NAMESPACE/NAME asks)")
    missing = [right for right in facts.rights if not right.allowed]
    who = facts.rights[0].subject
    if not missing:
        return ok("permissions", f"{who} may do all that growing needs")
    named = listed((f"{right.verb} {right.resource}" for right in missing), most=len(missing))
    text = f"{who} may not {named}"
    return block("permissions", "forbidden", text, f"add these rules to the (Cluster)Role of {who}")


def check_secret(facts: Facts) -> Check:
    """Whether the secret that the driver gets with the call is there."""
    volume = facts.volume
    if facts.is_nodes_turn:
        return skip("secret", "the controller has done its part")
    if volume is None or not volume.expand_secret_name:
        return ok("secret", "the volume needs none")
    name = f"{volume.expand_secret_namespace}/{volume.expand_secret_name}"
    if facts.is_secret_there is False:
        text = f"secret {name}, which the driver needs for growing, does not exist"
        return block("secret", "secret-missing", text, f"create the secret {name}; the growth goes on by itself then")
    if facts.is_secret_there:
        return ok("secret", f"{name} is there")
    return unknown("secret", f"whether {name} is there could not be read")


def check_progress(facts: Facts) -> Check:
    """Nothing blocks: the controller is at work."""
    claim = facts.claim
    if facts.is_nodes_turn:
        return skip("controller", "the controller has done its part")
    text = f"the driver has been asked for {printable(claim.allocated or claim.requested, limit=40)}"
    return wait("controller", "in-progress", text, "nothing blocks: kubectl volume-resize status shows when it is done")
