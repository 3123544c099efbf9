"""The node's turn: its failures are counted once, its refusals are waited out, and nothing of it is left behind."""

import pytest
from msgspec.structs import replace

from resizer.core.machine import advance
from resizer.core.state import (
    CallDriver,
    Expanded,
    Memory,
    NodeFailed,
    PendingRecorded,
    Policy,
    RecordClaim,
    Settle,
    Started,
)
from resizer.core.target import Target
from resizer.core.wish import wish_of
from resizer.model.driver import Expansion
from resizer.model.objects import Condition
from tests.unit.core.conftest import CLAIM, VOLUME

POLICY = Policy()
GI = 1 << 30
TARGET = Target(5 * GI, "5Gi")
GROWN = replace(VOLUME, capacity="5Gi")
LABEL = "csi-resizer.dev/node-0"
ERROR = (Condition("NodeResizeError", "True", message="x"),)
AT_NODE = {"allocated": "5Gi", "state": "NodeResizePending"}


def test_a_failure_of_the_node_is_counted_once(snapshot, claim):
    """When the node's error appears, again when it has gone and comes back, and when the node refuses for good."""
    refused = {"allocated": "5Gi", "state": "NodeResizeInfeasible", "conditions": ERROR}
    seen = (
        ({}, 0),
        ({"conditions": ERROR}, 1),
        ({"conditions": (replace(ERROR[0], message="y"),), "state": "NodeResizeInProgress"}, 1),
        ({"conditions": (replace(ERROR[0], status="False"),)}, 1),
        ({"conditions": ERROR}, 2),
        (refused, 3),
        (refused, 3),
    )
    memory, counted = Memory(phase="node-resize", target_bytes=5 * GI, from_bytes=3 * GI), 0
    for fields, expected in seen:
        stands = snapshot(claim(**(AT_NODE | fields)), GROWN)
        step = advance(stands, memory, Started(), POLICY)
        memory, counted = step.memory, counted + step.notes.count(NodeFailed())
        assert counted == expected, fields


@pytest.mark.parametrize("verified", [False, True])
def test_an_error_of_the_node_that_stood_there_before_is_not_counted(snapshot, claim, verified):
    """A new process, or one that has just had the controller verify the size, counts what happens from then on."""
    stands = snapshot(claim(**AT_NODE, conditions=ERROR), GROWN)
    first = PendingRecorded(TARGET, is_verified=True) if verified else Started()
    told = advance(stands, Memory(from_bytes=3 * GI, node_failed=verified), first, POLICY)
    again = advance(stands, told.memory, Started(), POLICY)
    assert NodeFailed() not in (*told.notes, *again.notes)


def test_an_error_of_the_node_is_counted_though_the_answer_to_our_patch_was_lost(snapshot, claim):
    """The node is asked by a patch whose answer never came, and has failed by the time we look again."""
    failed = snapshot(claim(**AT_NODE, conditions=ERROR), GROWN)
    told = advance(failed, Memory(from_bytes=3 * GI, phase="controller-resize"), PendingRecorded(TARGET), POLICY)
    again = advance(failed, told.memory, Started(), POLICY)
    assert [*told.notes, *again.notes].count(NodeFailed()) == 1


def test_a_finished_growth_takes_the_nodes_labels_along(snapshot, claim):
    """A claim that turns out to need no node is no agent's any more, in the very patch that finishes it."""
    grant = Expanded(TARGET, Expansion(5 * GI, node_expansion_required=False), "ControllerResizeInProgress")
    begun = claim(allocated="5Gi", state="ControllerResizeInProgress", node_labels=(LABEL,))
    step = advance(snapshot(begun, GROWN), Memory(from_bytes=3 * GI), grant, POLICY)
    assert isinstance(step.effect, RecordClaim)
    assert step.effect.body["metadata"]["labels"] == {LABEL: None}


@pytest.mark.parametrize(
    ("state", "effect"), [("NodeResizeInfeasible", Settle), ("ControllerResizeInProgress", CallDriver)]
)
def test_only_a_refusal_that_stands_is_waited_out(snapshot, claim, state, effect):
    """A node's refusal was verified a second ago: if the claim says it no longer, nothing keeps it from being grown."""
    stands = claim(allocated="5Gi", state=state, conditions=(Condition("Resizing", "True"),))
    step = advance(snapshot(stands, mono_s=1.0), Memory(node_verified_s=0.0, wish=wish_of(CLAIM)), Started(), POLICY)
    assert isinstance(step.effect, effect)
