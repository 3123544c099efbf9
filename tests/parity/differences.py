"""Where we differ from the peer on purpose, by the number in section 9 of the design, as changes of what was recorded.

Each entry says which cases it is for and what is expected instead. The list is minimal: a test fails for an entry that
no case needs, and for a case that an entry is used on without need.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from resizer.model.objects import CONTROLLER_RESIZE_IN_PROGRESS, NODE_RESIZE_PENDING
from tests.parity.recorded import RETRY_MAX_S, Case, distinct

Outcome = dict[str, Any]
INFEASIBLE = {"INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND"}


@dataclass(frozen=True)
class Difference:
    """One intended difference. `patience_s`: we get there too, but that much later."""

    number: int
    why: str
    applies: Callable[[Case, Outcome], bool]
    amend: Callable[[Case, Outcome], None] | None = None
    patience_s: float = 0.0


def recorded_outcome(case: Case) -> Outcome:
    """What the recording binds us to: claim, volume and the sequence of distinct calls, by their sizes."""
    return deepcopy(
        {
            "claim": case.result["claim"],
            "volume": case.result["volume"],
            "calls": distinct([call[0] for call in case.result["calls"]["first_to_last"]]),
        }
    )


def _grows_after_an_error(case: Case, outcome: Outcome) -> bool:
    del case
    claim = outcome["claim"]
    is_pending = claim["state"] == NODE_RESIZE_PENDING and "FileSystemResizePending=True" in claim["conditions"]
    return is_pending and "ControllerResizeError=True" in claim["conditions"]


def _drop_error(case: Case, outcome: Outcome) -> None:
    del case
    outcome["claim"]["conditions"].remove("ControllerResizeError=True")


def _grants(case: Case, *, at_least: int) -> bool:
    asked = case.result["calls"]["first_to_last"]
    granted = case.scenario.get("answer", {}).get("capacity")
    return bool(asked) and granted is not None and at_least <= granted < asked[0][0]


def _leave_untouched(case: Case, outcome: Outcome) -> None:
    claim = outcome["claim"]
    claim.update(capacity=case.size("status"), state=CONTROLLER_RESIZE_IN_PROGRESS, annotations={})
    claim["conditions"] = ["Resizing=True"]
    outcome["volume"] = {"capacity": case.size("pv"), "annotations": {}}


def _add_error(case: Case, outcome: Outcome) -> None:
    del case
    outcome["claim"]["conditions"] = ["ControllerResizeError=True", "Resizing=True"]


def _is_infeasible_at_first(case: Case, outcome: Outcome) -> bool:
    codes = case.scenario.get("answer", {}).get("codes", ["OK"])
    return codes[0] in INFEASIBLE and codes[-1] == "OK" and bool(outcome["calls"])


DIFFERENCES = (
    Difference(
        2,
        "ControllerResizeError is removed when a later attempt succeeds",
        _grows_after_an_error,
        _drop_error,
    ),
    Difference(
        4,
        "an answer of less than was asked is an error: claim and volume keep their size",
        lambda case, _: _grants(case, at_least=1),
        _leave_untouched,
    ),
    Difference(
        6,
        "an infeasible answer costs one call, then the slow window: the next comes one window later",
        _is_infeasible_at_first,
        patience_s=RETRY_MAX_S,
    ),
    Difference(
        14,
        "a zero or short answer sets ControllerResizeError",
        lambda case, _: _grants(case, at_least=0),
        _add_error,
    ),
)


@dataclass(frozen=True)
class Expectation:
    """What we are to end with, how much later than recorded it is read, and which differences that took."""

    outcome: Outcome
    patience_s: float
    used: tuple[int, ...]


def expect(case: Case, *, without: int | None = None) -> Expectation:
    """What the case is to end in. `without`: leave this difference out, to see that it is needed."""
    outcome = recorded_outcome(case)
    patience_s, used = 0.0, []
    for difference in DIFFERENCES:
        if difference.number != without and difference.applies(case, outcome):
            if difference.amend is not None:
                difference.amend(case, outcome)
            patience_s += difference.patience_s
            used.append(difference.number)
    return Expectation(outcome, patience_s, tuple(used))
