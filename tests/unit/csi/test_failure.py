import time

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


@pytest.mark.parametrize(
    "written",
    [
        "cGxhbnRlZCAic2VjcmV0Ii8mPMOpPz4=",
        "cGxhbnRlZCAic2VjcmV0Ii8mPMOpPz4",
        "planted%20%22secret%22%2F%26%3C%C3%A9%3F%3E",
        "planted+%22secret%22%2F%26%3C%C3%A9%3F%3E",
        '{"p":"planted \\"secret\\"/&<é?>"}',
        '{"p":"planted \\"secret\\"/\\u0026\\u003cé?\\u003e"}',
        '{"p":"planted \\"secret\\"/&<\\u00e9?>"}',
        "706c616e7465642022736563726574222f263cc3a93f3e",
    ],
    ids=["base64", "unpadded", "percent", "query", "JSON", "JSON of Go", "JSON of ASCII", "hex"],
)
def test_a_secret_is_found_as_programs_write_it(written):
    """A driver that quotes its request encodes the credential first: those forms are taken out, too."""
    clean = safe_message(f"request {written} failed", secrets=['planted "secret"/&<é?>'])
    assert clean.replace('{"p":"[redacted]"}', "[redacted]") == "request [redacted] failed"


@pytest.mark.parametrize("end", ["", "...", " \u2026", '"'])
def test_a_value_that_the_driver_cut_off_is_taken_out(end):
    """A message that was cut in the middle of a credential does not show its beginning; ordinary ends stay."""
    assert safe_message(f"login with hunter2-hunt{end}", secrets=["hunter2-hunter2-hunter2"]) == "login with [redacted]"
    assert safe_message(f"login with hunter{end}", secrets=["hunter2-hunter2-hunter2"]) == f"login with hunter{end}"


def test_a_secret_of_very_many_lines_costs_little():
    """A claim's owner who fills a secret with a megabyte of lines cannot keep the event loop busy."""
    text = "x" * 64 * 1024
    for lines in (190, 4_900, 150_000):
        secret = "\n".join(f"{number:06}" for number in range(lines))
        started = time.process_time()
        shown = safe_message("000001 " + text, secrets=[secret])
        assert time.process_time() - started < 2
        assert "000001" not in shown
    assert "150001 lines" in shown or "150000 lines" in shown


def test_a_megabyte_is_cut_before_it_is_searched():
    """The message is bounded whatever its length."""
    assert len(safe_message("x" * 10_000_000, secrets=["x" * 5])) < 1100
