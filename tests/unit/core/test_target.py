"""The table of which size a growth aims at, cell by cell, and what holds for every state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from resizer.core.target import Target, find_target
from resizer.model.objects import Condition
from tests.unit.core.conftest import CLAIM, VOLUME

PROGRESS, INFEASIBLE = "ControllerResizeInProgress", "ControllerResizeInfeasible"
PENDING, AT_NODE, REFUSED = "NodeResizePending", "NodeResizeInProgress", "NodeResizeInfeasible"
WAIT = "wait-for-node"

# state, V, A, attempt, controller expansion -> aim; S = 5Gi, C = 3Gi
BELOW = [
    (PENDING, 3, 4, "", True, "4Gi"),
    (PENDING, 4, 4, "", True, WAIT),
    (PENDING, 3, None, "", True, "5Gi"),
    (AT_NODE, 3, 4, "", True, "4Gi"),
    (AT_NODE, 4, 4, "", True, WAIT),
    (REFUSED, 4, 4, "", True, "4Gi"),
    (REFUSED, 4, None, "", True, "5Gi"),
    (PROGRESS, 3, 4, "", True, "4Gi"),
    (PROGRESS, 3, 4, "unknown", True, "4Gi"),
    (PROGRESS, 3, 4, "failed", True, "5Gi"),
    (PROGRESS, 3, None, "", True, "5Gi"),
    (INFEASIBLE, 3, 10, "", True, "5Gi"),
    (INFEASIBLE, 3, 10, "failed", True, "5Gi"),
    (INFEASIBLE, 3, 10, "unknown", True, "10Gi"),
    ("", 3, 4, "", True, "5Gi"),
    ("", 3, None, "unknown", True, "5Gi"),
]
GROWN = [
    (PENDING, 5, 5, "", True, WAIT),
    (AT_NODE, 5, None, "", True, WAIT),
    (REFUSED, 5, 4, "", True, "4Gi"),
    (REFUSED, 5, 4, "", False, "5Gi"),
    (REFUSED, 5, None, "", True, "5Gi"),
    (PROGRESS, 5, 10, "failed", True, "10Gi"),
    (PROGRESS, 5, None, "", True, "5Gi"),
    (INFEASIBLE, 5, 4, "", True, "4Gi"),
    (INFEASIBLE, 5, None, "", True, "5Gi"),
    ("", 5, 4, "", True, "4Gi"),
    ("", 5, None, "", True, "5Gi"),
    ("", 5, 4, "", False, "4Gi"),
    ("", 5, 3, "", True, "3Gi"),
    ("", 5, 3, "", False, "3Gi"),
]


@pytest.mark.parametrize(("state", "volume_gi", "allocated_gi", "attempt", "controller", "expected"), BELOW + GROWN)
def test_each_cell_of_the_table(*, claim, volume, state, volume_gi, allocated_gi, attempt, controller, expected):
    """Every cell of the design's table, with what this process knows of the last attempt."""
    aim = find_target(
        claim(state=state, allocated=f"{allocated_gi}Gi" if allocated_gi else ""),
        volume(capacity=f"{volume_gi}Gi"),
        attempt=attempt,
        controller_expansion=controller,
    )
    assert (aim if isinstance(aim, str) else aim.text) == expected


def test_an_old_pending_condition_waits_for_the_node(claim, volume):
    """A claim left by an API server without the recovery fields is its node's business."""
    old = claim(conditions=(Condition("FileSystemResizePending", "True"),))
    assert find_target(old, volume(capacity="5Gi")) == WAIT


SIZES = st.integers(1, 8)


@given(
    requested=SIZES,
    capacity=SIZES,
    allocated=st.none() | SIZES,
    size=SIZES,
    state=st.sampled_from(["", PROGRESS, INFEASIBLE, PENDING, AT_NODE, REFUSED]),
    attempt=st.sampled_from(["", "unknown", "failed"]),
    controller=st.booleans(),
)
def test_no_aim_is_below_the_claims_size(*, requested, capacity, allocated, size, state, attempt, controller):
    """Whatever stands in the records, nothing smaller than the claim's capacity is aimed at, and A or S only."""
    if requested <= capacity:
        return
    claim = replace(
        CLAIM,
        requested=str(requested),
        capacity=str(capacity),
        allocated="" if allocated is None else str(allocated),
        state=state,
    )
    aim = find_target(claim, replace(VOLUME, capacity=str(size)), attempt=attempt, controller_expansion=controller)
    if isinstance(aim, Target):
        assert aim.size_bytes >= capacity
        assert aim.size_bytes in (requested, allocated)
    else:
        assert state in (PENDING, AT_NODE)
