"""Durations."""

import pytest

from resizer.explain.span import span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (310, "5m10s"),
        (300, "5m"),
        (3700, "61m"),
        (12_000, "3h20m"),
        (200_000, "2d7h"),
        (28_000_000, "324d"),
    ],
)
def test_durations_read_as_kubectls_ages(seconds, text):
    """A duration is written in the units that matter at its length."""
    assert span(seconds) == text
