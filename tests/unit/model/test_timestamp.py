"""Times as Kubernetes writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resizer.model.timestamp import format_micro_time, format_time, parse_time

YEAR_9999_S = 253_402_300_799


@pytest.mark.parametrize(
    ("unix_s", "text"),
    [(0, "1970-01-01T00:00:00Z"), (0.999, "1970-01-01T00:00:00Z"), (1_790_000_000.5, "2026-09-21T14:13:20Z")],
)
def test_a_time_has_whole_seconds(unix_s, text):
    """The fraction is left out, as the API server does; the next second is never written early."""
    assert format_time(unix_s) == text


def test_a_micro_time_has_six_digits():
    """Leases and nudges are told apart within a second."""
    assert format_micro_time(1_790_000_000.000_25) == "2026-09-21T14:13:20.000250Z"


@given(st.integers(0, YEAR_9999_S))
def test_what_is_written_is_read_back(unix_s):
    """In both forms."""
    assert parse_time(format_time(unix_s)) == parse_time(format_micro_time(unix_s)) == unix_s


@pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00:00+23:59", "9999-99-99T00:00:00Z", "1", "\x00"])
def test_a_time_that_is_none_counts_as_none(text):
    """Times written by hand never raise."""
    assert parse_time(text) <= 0
