"""Rows of `status`."""

import pytest

from resizer.explain.progress import find_phase, is_growing, is_grown, is_refused, row_of
from resizer.model.objects import Condition
from tests.unit.explain.situations import NOW, RESIZING, claim, facts, failed, rpc, volume

GIB = 2**30


@pytest.mark.parametrize(
    ("state", "conditions", "phase"),
    [
        ("", (), "Asked"),
        ("", (RESIZING,), "Controller"),
        ("", (Condition("FileSystemResizePending", "True"),), "NodePending"),
        ("ControllerResizeInProgress", (), "Controller"),
        ("ControllerResizeInfeasible", (), "ControllerRefused"),
        ("NodeResizePending", (), "NodePending"),
        ("NodeResizeInProgress", (), "Node"),
        ("NodeResizeInfeasible", (), "NodeRefused"),
    ],
)
def test_the_phase_follows_the_claims_state(state, conditions, phase):
    """Each recorded state has its phase; without one the conditions of older API servers count."""
    made = claim(state=state, conditions=conditions, allocated="400Gi" if state else "")
    assert find_phase(made, volume(capacity="400Gi")) == phase


def test_done_and_refused_are_told_apart():
    """Done is capacity reached; refused is a refusal of what is asked now, not of an earlier wish."""
    done = claim(capacity="400Gi", state="", conditions=())
    assert is_grown(done)
    assert not is_growing(done)
    assert find_phase(done, volume()) == "Done"
    assert is_refused(claim(state="ControllerResizeInfeasible"))
    assert not is_refused(claim(state="ControllerResizeInfeasible", allocated="900Gi"))
    assert is_refused(claim(state="NodeResizeInfeasible"))
    assert not is_growing(claim(phase="Pending"))


def test_a_row_counts_this_growths_failures_only():
    """Failures are counted from the beginning of this growth on."""
    events = (rpc("Aborted", "one"), failed("two", count=3), failed("older", at_s=NOW - 5000, count=50))
    row = row_of(facts(events=events))
    assert (row.failures, row.class_, row.phase) == (4, "transient", "Controller")
    assert (row.from_bytes, row.to_bytes) == (300 * GIB, 400 * GIB)


def test_a_nodes_refusal_is_the_reason():
    """When the node has failed, the row says what it said, safe to show."""
    refused = Condition("NodeResizeError", "True", message="bad\nsuperblock")
    row = row_of(facts(claim=claim(state="NodeResizeInfeasible", conditions=(RESIZING, refused))))
    assert (row.class_, row.message) == ("node-refused", "bad\\nsuperblock")
