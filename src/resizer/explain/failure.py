"""What is known of the last failed attempt, from the claim's events, conditions and retry annotation.

The controller writes gRPC code and message into its events and into ControllerResizeError, as the peer does; both
are read back here and classed as the controller classes them (`core.verdict`), with the driver's own rules. A wait
longer than five minutes stands in the annotation `csi-resizer.dev/retry`, with its class.
"""

import re
from collections.abc import Iterable
from typing import Final, get_args

from msgspec import Struct

from resizer.core.failing import RELEASE_HINT
from resizer.core.noting import resizing_since
from resizer.core.pacing import Wait, read_wait
from resizer.core.target import Target
from resizer.core.verdict import classify, short_answer
from resizer.explain.facts import SHOWN, EventFacts, Facts
from resizer.model.errors import GrpcCode
from resizer.model.objects import CONTROLLER_RESIZE_ERROR
from resizer.model.text import printable

FAILED: Final = "VolumeResizeFailed"
_SUCCEEDED: Final = frozenset({"VolumeResizeSuccessful", "FileSystemResizeRequired", "FileSystemResizeSuccessful"})
_GRPC: Final = re.compile(r"rpc error: code = (\w{1,32}) desc = ")
_CODES: Final[dict[str, GrpcCode]] = {
    "Canceled" if code == "CANCELLED" else "".join(part.capitalize() for part in code.split("_")): code
    for code in get_args(GrpcCode)
}
_SEARCHED: Final = 4096
_SHORT: Final = short_answer(0, 0).message.partition(" 0 ")[0]
"""How the controller tells of a driver that granted too little: no gRPC error, and yet the driver was called."""


class LastFailure(Struct, frozen=True):
    """The last attempt's failure: class as in the failure table, code if a driver answered, text safe to show."""

    class_: str
    code: str
    text: str
    at_s: float
    wait: Wait | None


def find_failure(facts: Facts) -> LastFailure | None:
    """Return the failure of the attempt under way; None when none is known of."""
    claim, aim = facts.claim, facts.aim
    # The wait is for what is aimed at; while the claim's wish has moved on, for what was recorded.
    target = aim.text if isinstance(aim, Target) else claim.allocated
    remembered = read_wait(claim.retry, target=target, now_s=facts.now_s)
    event = _last_failure(facts.events or (), since_s=resizing_since(claim))
    condition = claim.condition(CONTROLLER_RESIZE_ERROR)
    if event is not None:
        message, at_s = event.message, event.at_s
    elif condition is not None and condition.status == "True":
        message, at_s = condition.message, 0.0
    elif remembered is not None:
        message, at_s = "", 0.0
    else:
        return None
    class_, code, text = _read(message, facts)
    if remembered is not None and remembered.class_:
        class_ = remembered.class_
    return LastFailure(class_, code, text, at_s, remembered)


def count_failures(events: Iterable[EventFacts], *, since_s: float) -> int:
    """How many failed attempts the events tell of: at least so many, for repeated causes are said once an hour."""
    return sum(max(event.count, 1) for event in events if event.reason == FAILED and event.at_s >= since_s)


def _last_failure(events: Iterable[EventFacts], *, since_s: float) -> EventFacts | None:
    if not since_s:
        return None  # nothing is being attempted: what failed was an earlier growth
    told = [event for event in events if event.at_s >= since_s and event.reason in {FAILED, *_SUCCEEDED}]
    # Timestamps are whole seconds: of a failure and a success in the same one, the failure is shown.
    last = max(told, key=lambda event: (event.at_s, event.reason == FAILED), default=None)
    return last if last is not None and last.reason == FAILED else None


def _read(message: str, facts: Facts) -> tuple[str, str, str]:
    """Return class, code and shown text of a message that the controller (or the peer) wrote."""
    message = message[:_SEARCHED]
    found = _GRPC.search(message)
    code = _CODES.get(found[1]) if found is not None else None
    if found is not None and code is not None:
        said = message[found.end() :].removesuffix(RELEASE_HINT)
        return classify(code, said, facts.rules).class_, code, printable(said.strip(), limit=SHOWN)
    said = message.rpartition(" failed: ")[2] if message.startswith("resize volume ") else message
    if "dropped allocatedResources" in message:
        return "unsupported-cluster", "", printable(said, limit=SHOWN)
    if _SHORT in message:
        return "driver-bug", "OK", printable(said.strip(), limit=SHOWN)
    return ("not-called" if said else ""), "", printable(said.strip(), limit=SHOWN)
