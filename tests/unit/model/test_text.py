import pytest
from hypothesis import given
from hypothesis import strategies as st

from resizer.model.text import printable, printable_lines


@given(st.text(alphabet=st.characters()), st.integers(min_value=1, max_value=50))
def test_any_text_becomes_one_bounded_encodable_line(text, limit):
    """Whatever comes in, what goes out is one line, about as long as allowed, and can be written as UTF-8."""
    clean = printable(text, limit=limit)
    assert len(clean) <= limit + len("... (00 more characters)") + 4
    assert len(clean.splitlines()) <= 1
    clean.encode()
    assert printable(clean, limit=10_000) == clean


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Volume über 5 GiB - ok", "Volume über 5 GiB - ok"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x1b[2J\x9b31m\x07", "\\x1b[2J\\x9b31m\\x07"),
        ("user\u202egpj.exe\u200b\ufeff", "user\\u202egpj.exe\\u200b\\ufeff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_would_act_is_shown_escaped(text, shown):
    """Ordinary text stays as it is; what would move a terminal's cursor or hide is seen as an escape."""
    assert printable(text, limit=200) == shown


def test_what_is_cut_is_counted():
    """A reader sees that there was more, and how much."""
    assert printable("x" * 1_000_000, limit=10) == "x" * 10 + "... (999990 more characters)"
    assert printable("\n" * 10, limit=10) == "\\n" * 5 + "... (cut)"


def test_lines_may_stay_where_they_are_meant():
    """A traceback keeps its lines and loses everything else."""
    assert printable_lines("a\n\tb\x1b\r", limit=100) == "a\n\tb\\x1b\\r"
