"""What a driver's failure means: class and outcome by code, then the driver's own rules."""

import re
from typing import get_args

import pytest

from resizer.core.verdict import Rule, classify, not_called, short_answer
from resizer.model.errors import GrpcCode

CODES = {
    "INVALID_ARGUMENT": ("infeasible", "final"),
    "OUT_OF_RANGE": ("infeasible", "final"),
    "NOT_FOUND": ("infeasible", "final"),
    "FAILED_PRECONDITION": ("offline-required", "final"),
    "ABORTED": ("transient", "uncertain"),
    "UNAVAILABLE": ("transient", "uncertain"),
    "DEADLINE_EXCEEDED": ("transient", "uncertain"),
    "CANCELLED": ("transient", "uncertain"),
    "RESOURCE_EXHAUSTED": ("transient", "uncertain"),
    "PERMISSION_DENIED": ("denied", "final"),
    "UNAUTHENTICATED": ("denied", "final"),
    "UNIMPLEMENTED": ("denied", "final"),
    "UNKNOWN": ("internal", "final"),
    "ALREADY_EXISTS": ("internal", "final"),
    "INTERNAL": ("internal", "final"),
    "DATA_LOSS": ("internal", "final"),
}


def test_every_code_is_in_the_table():
    """No gRPC code is without a class."""
    assert set(CODES) == set(get_args(GrpcCode))


@pytest.mark.parametrize("code", CODES)
def test_class_and_outcome_of_each_code(code):
    """The design's table of failure classes."""
    failure = classify(code, "because")
    assert (failure.class_, failure.outcome) == CODES[code]
    assert failure.message.endswith("desc = because")
    assert failure.cause == f"{failure.class_}/{code}"


def test_codes_are_written_as_go_writes_them():
    """Texts match the peer's, which people search for."""
    assert classify("DEADLINE_EXCEEDED", "x").message == "rpc error: code = DeadlineExceeded desc = x"
    assert classify("CANCELLED", "x").message == "rpc error: code = Canceled desc = x"


def test_the_first_rule_that_fits_changes_the_class_but_not_the_outcome():
    """A rule says what a message means; whether the outcome is known stays the code's to say."""
    rules = (
        Rule("quota", re.compile("full"), codes=("INTERNAL",)),
        Rule("rate-limited", re.compile("rate"), retry_after_s=900),
        Rule("denied", re.compile("rate")),
    )
    limited = classify("UNAVAILABLE", "modification rate exceeded", rules)
    assert (limited.class_, limited.outcome, limited.retry_after_s) == ("rate-limited", "uncertain", 900)
    assert classify("UNAVAILABLE", "pool is full", rules).class_ == "transient"
    assert classify("INTERNAL", "pool is full", rules).class_ == "quota"
    assert classify("INTERNAL", "x" * 2000 + "full", rules).class_ == "internal"


def test_what_was_not_called_leaves_what_was_known():
    """A missing secret or access mode says nothing of the volume."""
    failure = not_called("no secret")
    assert (failure.class_, failure.outcome, failure.message) == ("not-called", "unchanged", "no secret")


@pytest.mark.parametrize("granted", [0, 1, -5])
def test_a_short_answer_is_the_drivers_bug(granted):
    """Success with less than was asked is an error that names both figures."""
    failure = short_answer(5, granted)
    assert (failure.class_, failure.outcome) == ("driver-bug", "final")
    assert f"reports {granted} bytes where 5" in failure.message
