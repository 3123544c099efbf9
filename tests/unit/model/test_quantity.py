import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resizer.model.quantity import (
    MAX_BYTES,
    MalformedQuantityError,
    format_bytes,
    parse_bytes,
    parse_quantity,
)

RECORDED = [
    json.loads(line) for line in (Path(__file__).parents[2] / "data" / "quantities.jsonl").read_text().splitlines()
]
READABLE = [case for case in RECORDED if "error" not in case]
REFUSED = [case["text"] for case in RECORDED if "error" in case]


@pytest.mark.parametrize("case", READABLE, ids=lambda case: repr(case["text"]))
def test_canonical_text_and_bytes_are_those_of_the_go_library(case):
    """Every notation is read, rounded and written back as Kubernetes does it."""
    quantity = parse_quantity(case["text"])
    assert quantity.canonical == case["canonical"]
    if 0 <= quantity.bytes <= MAX_BYTES:  # no size is negative, and beyond int64 the Go value wraps around
        assert quantity.bytes == case["bytes"]
        assert format_bytes(quantity.bytes) == case["binary"]


@pytest.mark.parametrize("text", REFUSED, ids=repr)
def test_what_kubernetes_refuses_is_refused(text):
    """Malformed text never becomes a size."""
    with pytest.raises(MalformedQuantityError, match="is not a quantity"):
        parse_quantity(text)


def test_recorded_cases_cover_both_outcomes():
    """The recorded table would not prove much if it were one-sided."""
    assert len(READABLE) > 400
    assert len(REFUSED) > 20


@given(st.integers(min_value=0, max_value=MAX_BYTES))
def test_written_sizes_are_read_back(size_bytes):
    """format_bytes and parse_bytes are inverses over every size a volume can have."""
    assert parse_bytes(format_bytes(size_bytes)) == size_bytes


@given(st.text(max_size=40))
def test_any_text_is_a_quantity_or_a_clear_error(text):
    """No input raises anything but MalformedQuantityError; canonical text is a fixed point."""
    try:
        quantity = parse_quantity(text)
    except MalformedQuantityError as error:
        assert "is not a quantity" in str(error)
    else:
        assert parse_quantity(quantity.canonical) == quantity


@pytest.mark.parametrize("text", ["-1Gi", "1e30", "1e401", "1" * 200])
def test_impossible_sizes_are_refused(text):
    """A size below zero, beyond int64 or absurdly long is an error, not a crash or a wrap-around."""
    with pytest.raises(MalformedQuantityError):
        parse_bytes(text)


def test_order_and_equality_are_by_value():
    """1Gi and 1024Mi are one size, whatever their notation."""
    assert parse_quantity("1Gi") == parse_quantity("1024Mi")
    assert hash(parse_quantity("1Gi")) == hash(parse_quantity("1024Mi"))
    assert parse_quantity("1G") < parse_quantity("1Gi")
    assert repr(parse_quantity("1024Mi")) == "Quantity(1Gi)"
