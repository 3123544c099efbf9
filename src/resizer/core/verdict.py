"""What a driver's failure means: its class, whether the outcome is known, and what a driver's own rules add.

In: a gRPC code and message, and the rules for this driver. Out: a `Failure`. DESIGN section 6 has the table;
the codes follow the CSI specification (ControllerExpandVolume errors) and, for the split into final and
uncertain, what the peer does (an error that leaves open whether the back-end is still at work is uncertain).
"""

import re
from collections.abc import Sequence
from typing import Final, Literal, assert_never

from msgspec import Struct

from resizer.model.errors import GrpcCode

FailureClass = Literal[
    "infeasible",
    "offline-required",
    "rate-limited",
    "quota",
    "transient",
    "denied",
    "not-called",
    "driver-bug",
    "internal",
    "unsupported-cluster",
]
Outcome = Literal["final", "uncertain", "unchanged"]
"""`unchanged`: the driver was not called, so what was known before still stands."""

RuleClass = Literal["rate-limited", "quota", "infeasible", "offline-required", "transient", "denied", "internal"]

MATCHED_TEXT: Final = 1024
"""How much of a driver's message the rules look at, in characters."""


class Rule(Struct, frozen=True):
    """One line of `config/drivers/*.yaml`: a message of this driver that means more than its code says."""

    class_: RuleClass
    pattern: re.Pattern[str]
    codes: tuple[GrpcCode, ...] = ()
    retry_after_s: float = 0
    source: str = ""


class Failure(Struct, frozen=True):
    """One failed attempt. `message` is what the claim's condition and event will say."""

    class_: FailureClass
    outcome: Outcome
    message: str
    code: str = ""
    retry_after_s: float = 0

    @property
    def cause(self) -> str:
        """What makes two failures the same one: class and code, never the message (it may hold request ids)."""
        return f"{self.class_}/{self.code}"


def classify(code: GrpcCode, message: str, rules: Sequence[Rule] = ()) -> Failure:
    """Class a failed ControllerExpandVolume: from its code first, then from the driver's rules."""
    class_ = _class_of(code)
    outcome = _outcome_of(code)
    retry_after_s = 0.0
    for rule in rules:
        if (not rule.codes or code in rule.codes) and rule.pattern.search(message[:MATCHED_TEXT]):
            class_, retry_after_s = rule.class_, rule.retry_after_s
            break
    text = f"rpc error: code = {_go_name(code)} desc = {message}"
    return Failure(class_=class_, outcome=outcome, message=text, code=code, retry_after_s=retry_after_s)


def short_answer(asked_bytes: int, granted_bytes: int) -> Failure:
    """Class a success that grants less than was asked, which no driver may answer (CSI spec, capacity_bytes)."""
    text = (
        f"driver answered success but reports {granted_bytes} bytes where {asked_bytes} were asked for; "
        "the volume object is left as it is"
    )
    return Failure(class_="driver-bug", outcome="final", message=text, code="OK")


def not_called(reason: str) -> Failure:
    """Class an attempt that ended before the driver was called."""
    return Failure(class_="not-called", outcome="unchanged", message=reason)


def _class_of(code: GrpcCode) -> FailureClass:
    match code:
        case "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "NOT_FOUND":
            return "infeasible"
        case "FAILED_PRECONDITION":
            return "offline-required"
        case "ABORTED" | "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "CANCELLED" | "RESOURCE_EXHAUSTED":
            return "transient"
        case "PERMISSION_DENIED" | "UNAUTHENTICATED" | "UNIMPLEMENTED":
            return "denied"
        case "UNKNOWN" | "ALREADY_EXISTS" | "INTERNAL" | "DATA_LOSS":
            return "internal"
        case _:  # pragma: no cover  # mypy proves it unreachable
            assert_never(code)


def _outcome_of(code: GrpcCode) -> Outcome:
    return "uncertain" if _class_of(code) == "transient" else "final"


def _go_name(code: GrpcCode) -> str:
    """Write the code as Go's gRPC does (DEADLINE_EXCEEDED is DeadlineExceeded), so that texts match the peer's."""
    return "Canceled" if code == "CANCELLED" else "".join(part.capitalize() for part in code.split("_"))
