import pytest
from hypothesis import given
from hypothesis import strategies as st

from resizer.model.flag_value import format_duration, parse_bool, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("1h30m", 5400.0), ("1.5s", 1.5), ("0", 0.0), ("2m", 120.0), ("50us", 5e-5)]
)
def test_durations_are_read_as_go_writes_them(text, seconds):
    """Go's durations, in seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "", "5 m", "m", "5x", "1h-3m", "-5s"])
def test_what_is_no_duration_is_refused(text):
    """A bare number has no unit; what Go refuses, and what makes no sense as a deadline, is refused."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "1m30s"), (0.3, "300ms"), (0, "0s"), (300, "5m"), (3661.5, "1h1m1s500ms")]
)
def test_durations_are_written_as_go_writes_them(seconds, text):
    """Short, and for people."""
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**15))
def test_a_duration_that_is_written_reads_as_the_same(nanos):
    """Nothing is lost on the way out and back in."""
    assert parse_duration(format_duration(nanos / 1e9)) == pytest.approx(nanos / 1e9, abs=1e-9)


def test_booleans_are_read_as_go_reads_them():
    """strconv.ParseBool's twelve words, and no others."""
    assert all(parse_bool(text) for text in ("1", "t", "T", "true", "TRUE", "True"))
    assert not any(parse_bool(text) for text in ("0", "f", "F", "false", "FALSE", "False"))
    for text in ("yes", "on", "", "tRUE"):
        with pytest.raises(ValueError, match="neither true nor false"):
            parse_bool(text)
