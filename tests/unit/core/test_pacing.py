"""Delays by class, and the annotation that remembers a long one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from resizer.core.pacing import Limits, delay_after, delay_exponential, read_wait, write_wait
from resizer.core.state import Memory
from resizer.core.verdict import Failure, not_called
from resizer.core.waiting import end_wait_for_driver

LIMITS = Limits()
NOW_S = 1_790_000_000.0


@given(failures=st.integers(1, 10_000), roll=st.floats(0, 1, exclude_max=True))
def test_exponential_delays_stay_between_start_and_max(failures, roll):
    """Whatever the count and the chance, the delay is above 90 % of the start and never above the maximum."""
    delay_s = delay_exponential(failures, limits=LIMITS, roll=roll)
    assert 0.9 * LIMITS.retry_start_s <= delay_s <= LIMITS.retry_max_s


@pytest.mark.parametrize(
    ("class_", "retry_after_s", "in_use", "handled", "expected"),
    [
        ("infeasible", 0, None, True, 300.0),
        ("offline-required", 0, True, True, 300.0),
        ("offline-required", 0, False, True, 4.0),
        ("offline-required", 0, None, True, 4.0),
        ("offline-required", 0, True, False, 4.0),
        ("rate-limited", 900, None, True, 1800.0),
        ("rate-limited", 7200, None, True, 7200.0),
        ("quota", 0, None, True, 4.0),
        ("internal", 0, None, True, 4.0),
    ],
)
def test_delay_of_each_class(class_, retry_after_s, in_use, handled, expected):
    """The last column of the design's table, for the third failure in a row and the second that named a time."""
    failure = Failure(class_, "final", "x", retry_after_s=retry_after_s)
    delay_s = delay_after(
        failure, failures=3, repeats=2, limits=LIMITS, roll=0.0, is_in_use=in_use, handle_in_use=handled
    )
    assert delay_s == expected


def test_a_wait_of_our_own_is_not_drawn_out():
    """An open circuit says when it lets a call pass; asking ten times makes that no later."""
    failure = replace(not_called("driver d is down (circuit open)"), retry_after_s=5.0)
    delay_s = delay_after(failure, failures=10, repeats=10, limits=LIMITS, roll=0.5, is_in_use=None, handle_in_use=True)
    assert delay_s == 5.0


def test_a_long_wait_is_read_back():
    """What is written is read back, for this target and before its end only."""
    text = write_wait(Failure("rate-limited", "final", "x"), target="5Gi", delay_s=900, now_s=NOW_S)
    wait = read_wait(text, target="5Gi", now_s=NOW_S + 1)
    assert wait is not None
    assert (wait.class_, wait.target, wait.not_before_s) == ("rate-limited", "5Gi", NOW_S + 900)
    assert read_wait(text, target="6Gi", now_s=NOW_S + 1) is None
    assert read_wait(text, target="5Gi", now_s=NOW_S + 901) is None
    assert read_wait(text, target="5Gi", now_s=NOW_S - 25 * 3600) is None


def test_a_short_wait_is_not_written():
    """Five minutes and less need no memory beyond the process."""
    assert write_wait(Failure("infeasible", "final", "x"), target="5Gi", delay_s=300, now_s=NOW_S) == ""


def test_a_wait_of_days_is_written_as_one_day():
    """No annotation outlives what would be read back."""
    text = write_wait(Failure("quota", "final", "x"), target="5Gi", delay_s=1e7, now_s=NOW_S)
    assert read_wait(text, target="5Gi", now_s=NOW_S) is not None


NONSENSE = [
    "",
    "null",
    "[]",
    "{}",
    "17",
    '"text"',
    "{" * 400,
    "[" * 500,
    "x" * 10_000,
    '{"class":1,"target":"5Gi","notBefore":"2026-09-21T15:00:00Z"}',
    '{"class":"quota","target":"5Gi","notBefore":17}',
    '{"class":"quota","target":"5Gi","notBefore":"soon"}',
    '{"class":"quota","target":"5Gi","notBefore":"2026-09-21T15:00:00"}',
    '{"class":"quota","target":"5Gi","notBefore":"2026-09-21T15:00:00+00:00"}',
    '{"class":"quota","target":"5Gi","notBefore":"9999-12-31T23:59:59Z"}',
    '{"class":"quota","target":"5Gi","notBefore":"0001-01-01T00:00:00Z"}',
    '{"class":"quota","target":["5Gi"],"notBefore":"2026-09-21T15:00:00Z"}',
]


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_ignored(text):
    """An annotation written by hand that does not parse, or lies far ahead, holds nobody up."""
    assert read_wait(text, target="5Gi", now_s=NOW_S) is None


@given(st.text(max_size=600) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_read_without_failing(text):
    """Reading never raises."""
    read_wait(text, target="5Gi", now_s=NOW_S)


@pytest.mark.parametrize(
    ("failure", "is_over"),
    [
        (replace(not_called("circuit open"), retry_after_s=7.0), True),
        (not_called("error getting secret orain-test"), False),
        (Failure("transient", "uncertain", "away", code="UNAVAILABLE"), False),
        (Failure("rate-limited", "final", "slow down", retry_after_s=900.0), False),
        (None, False),
    ],
    ids=["turned away", "no secret", "called", "told to wait", "no failure"],
)
def test_only_who_was_turned_away_is_freed_by_the_drivers_return(failure, is_over):
    """A connection made anew ends the waits that its loss began, and no back-off that has a cause of its own."""
    memory = Memory(failure=failure, not_before_s=50.0, failures=3)
    freed = end_wait_for_driver(memory)
    assert (freed != memory, freed.not_before_s) == (is_over, 0.0 if is_over else 50.0)
