"""What came of the controller's last attempt, class by class: what it means for who waits, and what to do."""

from collections.abc import Callable
from typing import Final

from resizer.explain.facts import Facts, listed
from resizer.explain.failure import LastFailure, find_failure
from resizer.explain.finding import Check, block, ok, skip, wait
from resizer.model.timestamp import format_time


def check_last_attempt(facts: Facts) -> Check:
    """What came of the last attempt."""
    if facts.is_nodes_turn:
        return skip("last attempt", "the controller has done its part")
    failure = find_failure(facts)
    if failure is None:
        return ok("last attempt", "no failure is known of")
    return _BY_CLASS.get(failure.class_, _other)(facts, failure)


def _infeasible(facts: Facts, failure: LastFailure) -> Check:
    del facts
    step = f"ask for another size, or mend what the driver names{next_try(failure)}"
    return block("last attempt", "infeasible", f"the driver refused the size: {failure.text}", step)


def _offline(facts: Facts, failure: LastFailure) -> Check:
    users = tuple(pod for pod in facts.using_pods() or () if pod.node)
    attached = [a.node for a in facts.attachments or () if a.volume_name == facts.claim.volume_name and a.attached]
    said = f" ({failure.text})" if failure.text else ""
    head = f"the driver grows this volume only while nothing uses it{said}"
    if users:
        names = listed(pod.name for pod in users)
        step = f"stop the pods that use it ({names}), for instance by scaling to 0; it is tried at once then"
        return block("last attempt", "in-use", f"{head}; it is used by {names}", step)
    if attached:
        text = f"{head}; no pod uses it any more, but it is still attached to {listed(attached)}"
        return wait("last attempt", "detaching", text, "wait for the detach; it is tried at once then")
    return wait("last attempt", "offline-required", head, f"leave it unused until it has grown{next_try(failure)}")


def _rate_limited(facts: Facts, failure: LastFailure) -> Check:
    del facts
    text = f"the storage back-end allows no further change yet: {failure.text}"
    return wait("last attempt", "rate-limited", text, f"nothing to do but wait{next_try(failure)}")


def _quota(facts: Facts, failure: LastFailure) -> Check:
    del facts
    text = f"the storage back-end is full, or over its own quota: {failure.text}"
    return block(
        "last attempt", "backend-quota", text, f"make room or raise the quota at the back-end{next_try(failure)}"
    )


def _transient(facts: Facts, failure: LastFailure) -> Check:
    text = f"the driver is busy or does not answer in time ({failure.code}): {failure.text}"
    step = f"it is tried again by itself; if it lasts, look at the log of driver {facts.driver_name}{next_try(failure)}"
    return wait("last attempt", "driver-busy", text, step)


def _denied(facts: Facts, failure: LastFailure) -> Check:
    if failure.code == "UNIMPLEMENTED":
        text = f"driver {facts.driver_name} cannot grow volumes: {failure.text}"
        return block("last attempt", "driver-cannot-grow", text, "use a version of the driver that can")
    text = f"the back-end refused the driver's credentials or rights ({failure.code}): {failure.text}"
    return block("last attempt", "denied", text, f"mend the driver's credentials at the back-end{next_try(failure)}")


def _not_called(facts: Facts, failure: LastFailure) -> Check:
    if "not connected" in failure.text or "circuit open" in failure.text:
        text = f"driver {facts.driver_name} is down: {failure.text}"
        return block("last attempt", "driver-down", text, "look after the driver's controller pod: is it running?")
    return block(
        "last attempt", "not-called", f"the driver was not called: {failure.text}", f"mend that{next_try(failure)}"
    )


def _driver_bug(facts: Facts, failure: LastFailure) -> Check:
    return block(
        "last attempt", "driver-bug", failure.text, f"report it to the makers of {facts.driver_name}{next_try(failure)}"
    )


def _unsupported(facts: Facts, failure: LastFailure) -> Check:
    del facts
    step = "upgrade Kubernetes to 1.32 or newer, or switch the gate RecoverVolumeExpansionFailure on"
    return block("last attempt", "unsupported-cluster", failure.text, step)


def _other(facts: Facts, failure: LastFailure) -> Check:
    code = f" ({failure.code})" if failure.code else ""
    text = f"the last attempt failed{code}: {failure.text or 'the claim does not say how'}"
    return block(
        "last attempt", "driver-error", text, f"look at the log of driver {facts.driver_name}{next_try(failure)}"
    )


_BY_CLASS: Final[dict[str, Callable[[Facts, LastFailure], Check]]] = {
    "infeasible": _infeasible,
    "offline-required": _offline,
    "rate-limited": _rate_limited,
    "quota": _quota,
    "transient": _transient,
    "denied": _denied,
    "not-called": _not_called,
    "driver-bug": _driver_bug,
    "unsupported-cluster": _unsupported,
}


def next_try(failure: LastFailure | None) -> str:
    """Return when it is tried again, as the end of a sentence; empty if that is not known."""
    if failure is None or failure.wait is None:
        return ""
    return f"; the next try is due at {format_time(failure.wait.not_before_s)}"
