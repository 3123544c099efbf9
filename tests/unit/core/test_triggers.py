"""What wakes whom: a change of the wish jumps a back-off, our own patches and other people's notes wake nobody."""

import pytest

from resizer.core.triggers import find_trigger, wants_attention
from resizer.model.objects import Condition

CHANGES = [
    ({"requested": "6Gi"}, "jump"),
    ({"storage_resizer": "d.csi.test"}, "jump"),
    ({"state": "NodeResizeInfeasible"}, "look"),
    ({"capacity": "4Gi"}, "look"),
    ({"attributes_class": "gold"}, "look"),
    ({"volume_name": "other"}, "look"),
    ({"phase": "Lost"}, "ignore"),
    ({"version": "8"}, "ignore"),
    ({"conditions": (Condition("Foreign", "True"),)}, "ignore"),
    ({"conditions": (Condition("NodeResizeError", "True"),)}, "look"),
    ({"conditions": (Condition("NodeResizeError", "False"),)}, "ignore"),
    ({"retry": "x"}, "ignore"),
    ({"node_labels": ("a",)}, "ignore"),
    ({"requested": "5120Mi"}, "ignore"),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_what_a_change_asks_for(claim, change, expected):
    """Each kind of change has its answer; another notation of the same size is no change."""
    assert find_trigger(claim(), claim(**change)) == expected


def test_a_claim_that_becomes_bound_is_looked_at(claim):
    """Its volume was named before, and nobody could begin."""
    assert find_trigger(claim(phase="Pending"), claim()) == "look"


def test_a_claim_seen_for_the_first_time(claim):
    """New, or of another uid under the same name: a look if it asks for something."""
    assert find_trigger(None, claim()) == "look"
    assert find_trigger(claim(), claim(uid="uid-2")) == "look"
    assert find_trigger(None, claim(requested="3Gi")) == "ignore"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"requested": "3Gi"}, False),
        ({"requested": "3Gi", "state": "NodeResizePending"}, True),
        ({"requested": "3Gi", "retry": "{}"}, True),
        ({"phase": "Pending"}, False),
    ],
)
def test_who_is_looked_at_at_a_resync(claim, fields, expected):
    """Those that ask for more or bear traces, and only when bound."""
    assert wants_attention(claim(**fields)) is expected
