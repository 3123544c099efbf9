import pytest

from resizer.csi.failure import go_code_name, safe_message


@pytest.mark.parametrize(
    ("code", "name"),
    [("OK", "OK"), ("CANCELLED", "Canceled"), ("DEADLINE_EXCEEDED", "DeadlineExceeded"), ("UNKNOWN", "Unknown")],
)
def test_codes_are_named_as_in_go(code, name):
    """The metric's label is what the peer's dashboards expect."""
    assert go_code_name(code) == name


def test_no_part_of_a_secret_is_left():
    """Whole values, their lines and values that hold others are all taken out; short words stay."""
    secrets = ["hunter2", "hunter2-long", "line-one\nline-two", "abc", ""]
    text = "abc hunter2-long hunter2 line-two\nline-one"
    assert safe_message(text, secrets=secrets) == "abc [redacted] [redacted] [redacted]\\n[redacted]"


def test_a_megabyte_is_cut_before_it_is_searched():
    """The message is bounded whatever its length."""
    assert len(safe_message("x" * 10_000_000, secrets=["x" * 5])) < 1100
