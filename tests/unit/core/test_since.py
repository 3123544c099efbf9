"""Since when: what this process saw itself comes first, then the claim's conditions, and never the future."""

import pytest
from msgspec.structs import replace

from resizer.core.machine import advance
from resizer.core.state import (
    AwaitNode,
    CallDriver,
    Enter,
    Failed,
    FailureRecorded,
    Instant,
    Memory,
    Policy,
    RecordClaim,
    Started,
)
from resizer.core.target import Target
from resizer.core.verdict import classify
from resizer.model.objects import CONTROLLER_RESIZE_ERROR, FILE_SYSTEM_RESIZE_PENDING, RESIZING, Condition
from resizer.model.timestamp import format_time
from tests.parity.simulation import EPOCH_S
from tests.unit.core.conftest import VOLUME

POLICY = Policy()
GI = 1 << 30
TARGET = Target(5 * GI, "5Gi")
BEGUN = {"allocated": "5Gi", "state": "ControllerResizeInProgress"}
AT_NODE = {"allocated": "5Gi", "state": "NodeResizePending"}
GROWN = replace(VOLUME, capacity="5Gi")
LATER_S = 100.25


def condition(type_, ago_s, *, status="True"):
    at = Instant(EPOCH_S + LATER_S - ago_s, 0.0)
    return Condition(type_, status, last_transition_time=format_time(at.wall_s))


def entered(step):
    (enter,) = (note for note in step.notes if isinstance(note, Enter))
    return enter.since_wall_s - EPOCH_S - LATER_S


def asked(step):
    return step.memory.asked_wall_s - EPOCH_S - LATER_S


@pytest.mark.parametrize(
    ("memory", "said", "ago_s"),
    [
        (Memory(), None, 0.0),
        (Memory(), ("True", 50.25), 50.25),
        (Memory(), ("False", 50.25), 0.0),
        (Memory(), ("True", -3600.0), 0.0),
        (Memory(phase="controller-resize", target_bytes=4 * GI, asked_wall_s=EPOCH_S + 0.5), ("True", 50.25), 99.75),
        (Memory(phase="controller-resize", target_bytes=5 * GI, asked_wall_s=EPOCH_S + 0.5), None, 99.75),
    ],
    ids=["new", "resumed", "ended-before", "from-the-future", "edited-meanwhile", "seen-before"],
)
def test_since_when_a_growth_has_been_asked_for(snapshot, claim, memory, said, ago_s):
    """As the first look saw it; a new process has it from the condition Resizing, if that is True."""
    conditions = (condition(RESIZING, said[1], status=said[0]),) if said else ()
    step = advance(snapshot(claim(**BEGUN, conditions=conditions), mono_s=LATER_S), memory, Started(), POLICY)
    assert entered(step) == asked(step) == -ago_s


def test_a_failure_leaves_the_asked_time_as_it_was(snapshot, claim):
    """Pending since the edit, to the fraction, not since the whole second of the condition."""
    failed = FailureRecorded(TARGET, classify("INTERNAL", "x"), 1.0)
    begun = claim(**BEGUN, conditions=(condition(RESIZING, 50.25),))
    memory = Memory(phase="controller-resize", target_bytes=5 * GI, asked_wall_s=EPOCH_S + 0.5)
    assert entered(advance(snapshot(begun, mono_s=LATER_S), memory, failed, POLICY)) == -99.75
    assert entered(advance(snapshot(begun, mono_s=LATER_S), Memory(), failed, POLICY)) == -50.25


@pytest.mark.parametrize(
    ("memory", "told", "ago_s"),
    [
        (Memory(), {RESIZING: 80.25, FILE_SYSTEM_RESIZE_PENDING: 20.25}, 80.25),
        (Memory(), {FILE_SYSTEM_RESIZE_PENDING: 20.25}, 20.25),
        (Memory(), {}, 0.0),
        (Memory(phase="controller-resize", asked_wall_s=EPOCH_S + 0.5), {RESIZING: 80.25}, 99.75),
    ],
)
def test_a_claim_found_at_its_node_was_asked_for_before_that(snapshot, claim, memory, told, ago_s):
    """The whole growth is measured from the edit, as far as anybody knows of it."""
    conditions = tuple(condition(type_, since_s) for type_, since_s in told.items())
    at_node = snapshot(claim(**AT_NODE, conditions=conditions), GROWN, mono_s=LATER_S)
    assert asked(advance(at_node, memory, Started(), POLICY)) == -ago_s


@pytest.mark.parametrize(
    ("status", "ago_s", "since_s"), [("True", 400.25, 400.25), ("True", -3600.0, 0.0), ("False", 400.25, 0.0)]
)
def test_a_new_process_counts_the_nodes_time_from_the_claims_own_word(snapshot, claim, status, ago_s, since_s):
    """A restart neither begins the nudges again nor puts off what is said of a node that is late.

    A clock that was fast when the condition was written does neither.
    """
    waiting = claim(**AT_NODE, conditions=(condition(FILE_SYSTEM_RESIZE_PENDING, ago_s, status=status),))
    step = advance(snapshot(waiting, GROWN, mono_s=LATER_S), Memory(), Started(), POLICY)
    assert isinstance(step.effect, AwaitNode)
    assert step.effect.since_wall_s == EPOCH_S + LATER_S - since_s
    assert step.effect.late_after_s == POLICY.node_timeout_s - since_s


def test_a_condition_that_is_false_is_made_true_and_moves_its_time(snapshot, claim):
    """Resizing that ended once is not Resizing: it is said anew, from now on, before the driver is called."""
    ended = claim(**BEGUN, conditions=(condition(RESIZING, 400.25, status="False"),))
    step = advance(snapshot(ended, mono_s=LATER_S), Memory(), Started(), POLICY)
    assert isinstance(step.effect, RecordClaim)
    (written,) = step.effect.body["status"]["conditions"]
    assert (written["status"], written["lastTransitionTime"]) == (
        "True",
        format_time(snapshot(mono_s=LATER_S).now.wall_s),
    )
    going_on = claim(**BEGUN, conditions=(condition(RESIZING, 400.25),))
    assert isinstance(advance(snapshot(going_on, mono_s=LATER_S), Memory(), Started(), POLICY).effect, CallDriver)


def test_an_error_that_is_over_is_said_again_when_it_is_back(snapshot, claim):
    """ControllerResizeError of status False is none, though this process has said the same cause before."""
    conditions = (condition(RESIZING, 50.25), condition(CONTROLLER_RESIZE_ERROR, 40.25, status="False"))
    known = Memory(said=(("failed/5368709120/internal/INTERNAL", 0.0),))
    failed = Failed(TARGET, classify("INTERNAL", "x"))
    step = advance(snapshot(claim(**BEGUN, conditions=conditions), mono_s=LATER_S), known, failed, POLICY)
    assert isinstance(step.effect, RecordClaim)
    assert [c["status"] for c in step.effect.body["status"]["conditions"]] == ["True", "True"]
