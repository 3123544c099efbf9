"""Single decisions of the machine where the order of events is unusual, and what hostile input does to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from resizer.core.machine import advance
from resizer.core.state import (
    CallDriver,
    Expanded,
    Failed,
    Finish,
    FinishRecorded,
    IntentRecorded,
    Leave,
    Memory,
    NodeAwaited,
    PendingRecorded,
    Policy,
    RecordClaim,
    RecordVolume,
    Retry,
    Say,
    Settle,
    Started,
    Users,
)
from resizer.core.target import Target
from resizer.core.verdict import classify, not_called
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.objects import PRE_RESIZE_CAPACITY, RESIZE_CONDITIONS, Condition
from tests.parity.simulation import Simulation
from tests.unit.core.conftest import CLAIM, DRIVER, VOLUME

POLICY = Policy()
GI = 1 << 30
TARGET = Target(5 * GI, "5Gi")
BEGUN = {"allocated": "5Gi", "state": "ControllerResizeInProgress"}
GRANT = Expanded(TARGET, Expansion(5 * GI, node_expansion_required=True), "ControllerResizeInProgress")


def test_a_claim_that_is_gone_is_let_go(snapshot):
    """Whatever is under way, a deleted claim ends it."""
    step = advance(snapshot(None, None), Memory(failures=3), GRANT, POLICY)
    assert step.effect == Settle("idle", reason="the claim is gone")
    assert step.memory == Memory()
    assert step.notes == (Leave(),)


def test_the_same_input_gives_the_same_step(snapshot, claim):
    """The machine is a function: nothing but its arguments decides."""
    now = snapshot(claim(**BEGUN))
    assert advance(now, Memory(), Started(), POLICY) == advance(now, Memory(), Started(), POLICY)


def test_the_first_patch_carries_target_state_condition_and_version(snapshot):
    """Step 1 in one write, on the version that was read."""
    step = advance(snapshot(), Memory(), Started(), POLICY)
    assert isinstance(step.effect, RecordClaim)
    body = step.effect.body
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["status"]["allocatedResources"] == {"storage": "5Gi"}
    assert body["status"]["allocatedResourceStatuses"] == {"storage": "ControllerResizeInProgress"}
    assert [c["type"] for c in body["status"]["conditions"]] == ["Resizing"]


def test_a_target_is_recorded_as_it_was_written(snapshot, claim):
    """The same size in another notation is not begun anew, but stands in the claim as the user wrote it."""
    step = advance(snapshot(claim(requested="5368709120", allocated="5Gi")), Memory(), Started(), POLICY)
    assert isinstance(step.effect, RecordClaim)
    status = step.effect.body["status"]
    assert status["allocatedResources"] == {"storage": "5368709120"}
    assert "allocatedResourceStatuses" not in status


def test_a_claim_without_a_size_had_nothing_before_its_growth(snapshot, claim):
    """Bound, but with no capacity written: `pre-resize-capacity` says 0, so that the node's part is not forgotten."""
    step = advance(snapshot(claim(capacity="", **BEGUN)), Memory(), GRANT, POLICY)
    assert isinstance(step.effect, RecordVolume)
    assert step.effect.body["metadata"]["annotations"] == {PRE_RESIZE_CAPACITY: "0"}


def test_a_target_that_somebody_else_moved_is_not_asked_for(snapshot, claim):
    """Between the intent and the call another writer moved the target: look again, do not call."""
    seen = snapshot(claim(allocated="9Gi", state="ControllerResizeInProgress"))
    step = advance(seen, Memory(), IntentRecorded(TARGET, "ControllerResizeInProgress"), POLICY)
    assert isinstance(step.effect, Settle)
    assert (step.effect.outcome, step.effect.requeue_after_s) == ("restart", 0.0)


def test_restarts_back_off(snapshot, claim):
    """Two writers that rewrite each other's target do not chase each other without pause."""
    seen, memory = snapshot(claim(allocated="9Gi", state="ControllerResizeInProgress")), Memory()
    delays = []
    for _ in range(5):
        step = advance(seen, memory, IntentRecorded(TARGET, "ControllerResizeInProgress"), POLICY)
        memory = step.memory
        delays.append(step.effect.requeue_after_s)
    assert delays == [0.0, 1.0, 2.0, 4.0, 8.0]


def test_a_claim_that_has_grown_begins_its_restarts_anew(snapshot, claim):
    """Several growths in a row, each with news in mid-course, are no two writers that chase each other."""
    seen = snapshot(claim(capacity="4Gi", allocated="9Gi", state="ControllerResizeInProgress"))
    memory = Memory(restarts=4, from_bytes=3 * GI)
    step = advance(seen, memory, IntentRecorded(TARGET, "ControllerResizeInProgress"), POLICY)
    assert step.effect.requeue_after_s == 0.0
    assert step.memory.restarts == 1


def test_an_answer_for_a_target_that_no_longer_stands_is_dropped(snapshot, claim):
    """Another process has acted in between: neither its volume nor its claim is written over."""
    seen = snapshot(claim(allocated="9Gi", state="NodeResizePending"))
    for answer in (GRANT, Failed(TARGET, classify("OUT_OF_RANGE", "x"))):
        step = advance(seen, Memory(), answer, POLICY)
        assert isinstance(step.effect, Settle)
        assert step.effect.outcome == "restart"


@pytest.mark.parametrize("volume", [None, replace(VOLUME, claim_uid="uid-2"), replace(VOLUME, driver="other")])
def test_a_grant_for_a_volume_that_is_another_claims_is_not_recorded(snapshot, claim, volume):
    """The right claim, every time: also when the volume changed hands while the driver was at work."""
    step = advance(snapshot(claim(**BEGUN), volume), Memory(), GRANT, POLICY)
    assert isinstance(step.effect, Settle)
    assert step.effect.outcome == "restart"


def test_a_wish_taken_back_while_the_driver_worked_is_still_recorded(snapshot, claim):
    """What the back-end has granted is written down, wanted or not: no growth is lost."""
    step = advance(snapshot(claim(**BEGUN, requested="3Gi")), Memory(), GRANT, POLICY)
    assert isinstance(step.effect, RecordVolume)
    assert step.effect.body["spec"]["capacity"] == {"storage": "5Gi"}


def test_the_node_was_faster(snapshot, claim):
    """The node finished before its being told could be confirmed: the growth is counted, and the claim looked at."""
    done = snapshot(claim(capacity="5Gi", allocated="5Gi"), replace(VOLUME, capacity="5Gi"))
    memory = Memory(phase="controller-resize", target_bytes=5 * GI, from_bytes=3 * GI)
    for observation in (PendingRecorded(TARGET), GRANT):
        step = advance(done, memory, observation, POLICY)
        assert step.effect == Settle("restart", 0.0, "the node was faster")
        assert [n.grown_bytes for n in step.notes if isinstance(n, Finish)] == [2 * GI]
        again = advance(done, step.memory, Started(), POLICY)
        assert again.effect == Settle("idle", reason="no-growth-asked")
        assert not [n for n in again.notes if isinstance(n, Finish)]


def test_a_growth_finished_by_the_node_is_counted_once(snapshot, claim):
    """The claim comes back grown: one Finish with its durations by phase, and nothing to remember."""
    memory = Memory(
        phase="node-resize",
        target_bytes=5 * GI,
        from_bytes=3 * GI,
        asked_wall_s=snapshot().now.wall_s - 10,
        granted_wall_s=snapshot().now.wall_s - 4,
    )
    seen = snapshot(claim(capacity="5Gi", allocated="5Gi"), replace(VOLUME, capacity="5Gi"))
    step = advance(seen, memory, Started(), POLICY)
    (finish,) = (n for n in step.notes if isinstance(n, Finish))
    assert finish.duration_s == {"total": 10.0, "controller-resize": 6.0, "node-resize": 4.0}
    assert step.memory == Memory()


def test_more_asked_for_meanwhile_goes_on_at_once(snapshot, claim):
    """A growth that ends while a larger size is wanted is followed by the next without waiting for an event."""
    seen = snapshot(claim(capacity="5Gi", allocated="5Gi", requested="9Gi"), replace(VOLUME, capacity="5Gi"))
    step = advance(seen, Memory(from_bytes=3 * GI), FinishRecorded(TARGET, 5 * GI), POLICY)
    assert isinstance(step.effect, Settle)
    assert (step.effect.outcome, step.effect.requeue_after_s) == ("restart", 0.0)


def test_a_claim_at_its_node_waits_without_a_timer_of_its_own(snapshot, claim):
    """The node stage says when to look again."""
    step = advance(snapshot(claim(state="NodeResizePending", allocated="5Gi")), Memory(), NodeAwaited(5.0), POLICY)
    assert step.effect == Settle("waiting-for-node", 5.0)


def test_a_retry_is_counted(snapshot, claim):
    """A call after a failure is a retry, the first is not."""
    ready = claim(**BEGUN, conditions=(Condition("Resizing", "True"),))
    first = advance(snapshot(ready), Memory(), Started(), POLICY)
    assert isinstance(first.effect, CallDriver)
    assert Retry() not in first.notes
    failed = advance(snapshot(ready), first.memory, Failed(TARGET, classify("UNAVAILABLE", "x")), POLICY)
    later = advance(snapshot(ready, mono_s=2.0), failed.memory, Started(), POLICY)
    assert isinstance(later.effect, CallDriver)
    assert Retry() in later.notes


def test_a_failure_for_an_old_wish_is_followed_by_the_new_one_at_once(snapshot, claim):
    """The user edits while the driver is at work on the old size: its failure holds up nobody."""
    ready = claim(**BEGUN, conditions=(Condition("Resizing", "True"),))
    called = advance(snapshot(ready), Memory(), Started(), POLICY)
    edited = replace(ready, requested="4Gi")
    recorded = advance(snapshot(edited), called.memory, Failed(TARGET, classify("OUT_OF_RANGE", "x")), POLICY)
    assert isinstance(recorded.effect, RecordClaim)
    settled = advance(snapshot(edited), recorded.memory, recorded.effect.then, POLICY)
    assert isinstance(settled.effect, Settle)
    assert settled.effect.requeue_after_s == 0.0


@pytest.mark.parametrize("known", ["", "failed", "unknown"])
def test_what_was_not_called_keeps_what_was_known(snapshot, claim, known):
    """A missing secret neither brings back a target that failed for good, nor drops one whose outcome is open."""
    ready = claim(**BEGUN, conditions=(Condition("Resizing", "True"),))
    called = advance(snapshot(ready), Memory(attempt=known), Started(), POLICY)
    assert isinstance(called.effect, CallDriver)
    step = advance(snapshot(ready), called.memory, Failed(TARGET, not_called("no secret")), POLICY)
    assert step.memory.attempt == known
    assert not isinstance(step.effect, RecordClaim)


def test_a_transition_time_moves_only_with_its_status(world):
    """Since when a claim has been resizing is told through every retry."""
    day = world(lambda *_: classify("INTERNAL", "x"))
    day.appear()
    day.run_until(0.5)
    began = {c.type: c.last_transition_time for c in day.claim.conditions}
    day.run_until(7200.0)
    assert {c.type: c.last_transition_time for c in day.claim.conditions} == began
    assert set(began) == {"Resizing", "ControllerResizeError"}


def test_foreign_conditions_survive_with_every_field(world):
    """A condition of somebody else comes through a whole growth as it was."""
    foreign = Condition("ModifyingVolume", "False", "Busy", "text", "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")
    day = world(
        lambda *_: Expansion(5 * GI, node_expansion_required=False), claim=replace(CLAIM, conditions=(foreign,))
    )
    day.appear()
    day.run_until(1.0)
    assert day.claim.capacity == "5Gi"
    assert day.claim.conditions == (foreign,)


def test_an_annotation_put_back_by_somebody_is_not_fought_over(snapshot, claim):
    """`pre-resize-capacity` is removed once in a look, whatever is then found."""
    seen = snapshot(claim(requested="3Gi"), replace(VOLUME, pre_resize_capacity="3Gi"))
    first = advance(seen, Memory(), Started(), POLICY)
    assert isinstance(first.effect, RecordVolume)
    again = advance(seen, first.memory, first.effect.then, POLICY)
    assert isinstance(again.effect, Settle)


def test_a_growth_that_finds_a_leftover_annotation_writes_its_own(world):
    """Whether the old one went in the same look or before a crash, the volume ends with what the claim has now.

    The peer loses the annotation in one of the two ways.
    """
    day = world(
        lambda *_: Expansion(5 * GI, node_expansion_required=True), volume=replace(VOLUME, pre_resize_capacity="1Gi")
    )
    day.appear()
    day.run_until(1.0)
    assert day.claim.state == "NodeResizePending"
    assert day.volume.pre_resize_capacity == "3Gi"


def test_users_are_asked_for_only_where_it_matters(snapshot, claim):
    """An offline-only answer asks who uses the volume; with --handle-volume-inuse-error=false it does not."""
    answer = Failed(TARGET, classify("FAILED_PRECONDITION", "in use"))
    careful = advance(snapshot(claim(**BEGUN)), Memory(), answer, POLICY)
    assert type(careful.effect).__name__ == "ObserveUsers"
    careless = advance(snapshot(claim(**BEGUN)), Memory(), answer, Policy(handle_in_use=False))
    assert isinstance(careless.effect, RecordClaim)


def test_pods_that_can_no_longer_be_read_have_not_gone(snapshot, claim):
    """A driver that wants the volume unused is tried early when its pod goes, not when nobody can tell any longer."""
    waiting = Memory(
        failures=1,
        failure=classify("FAILED_PRECONDITION", "in use"),
        attempt="failed",
        not_before_s=300.0,
        blockers=Users(running_pod=True, attached=True),
    )
    ready = claim(**BEGUN, conditions=(Condition("Resizing", "True"),))
    unknown = advance(snapshot(ready, users=Users()), waiting, Started(), POLICY)
    assert unknown.effect == Settle("waiting", 300.0, "offline-required")
    gone = advance(snapshot(ready, users=Users(running_pod=False, attached=True)), waiting, Started(), POLICY)
    assert isinstance(gone.effect, CallDriver)


def test_an_open_circuit_is_no_refusal_that_makes_the_named_time_longer(snapshot, claim):
    """Only the driver's own word counts: not having been called says nothing of how patient it wants us."""
    turned_away = replace(not_called("circuit open"), retry_after_s=2.0)
    step = advance(snapshot(claim(**BEGUN)), Memory(repeats=1), Failed(TARGET, turned_away), POLICY)
    assert step.memory.repeats == 1
    limited = replace(classify("RESOURCE_EXHAUSTED", "wait"), retry_after_s=60.0)
    step = advance(snapshot(claim(**BEGUN)), Memory(repeats=1), Failed(TARGET, limited), POLICY)
    assert step.memory.repeats == 2


def test_an_annotation_that_has_lapsed_is_not_worth_a_write(snapshot, claim):
    """What the retry annotation said is over, and the claim says already that the attempt failed: silence."""
    said = (Condition("Resizing", "True"), Condition("ControllerResizeError", "True", message="x"))
    lapsed = '{"class":"quota","target":"5Gi","notBefore":"2020-01-01T00:00:00Z"}'
    failed = claim(**BEGUN, conditions=said, retry=lapsed)
    known = Memory(said=(("failed/5368709120/internal/INTERNAL", 0.0),))
    step = advance(snapshot(failed), known, Failed(TARGET, classify("INTERNAL", "again")), POLICY)
    assert isinstance(step.effect, Settle)


# ---------------------------------------------------------------- hostile input


@pytest.mark.parametrize("answered", [0, 1, -1, 3 * GI, 5 * GI - 1])
def test_an_answer_below_the_target_is_an_error_and_not_a_loop(world, answered):
    """The volume object is untouched, the claim says why, and the driver is asked again with a back-off."""
    day = world(lambda *_: Expansion(answered, node_expansion_required=False))
    day.appear()
    day.run_until(60.0)
    assert day.volume.capacity == "3Gi"
    assert day.claim.capacity == "3Gi"
    assert day.claim.has_condition("ControllerResizeError")
    assert len(day.calls) < 10
    assert [say.reason for say in day.events] == ["Resizing", "VolumeResizeFailed"]


@pytest.mark.parametrize("answered", [5 * GI + 1, 6 * GI, 2**63 - 1])
def test_an_answer_above_the_target_is_taken_by_its_word(world, answered):
    """More than asked is a success, up to the largest size that an int64 holds."""
    day = world(lambda *_: Expansion(answered, node_expansion_required=False))
    day.appear()
    day.run_until(60.0)
    assert day.claim.capacity_bytes == day.volume.capacity_bytes == answered
    assert len(day.calls) == 1
    assert day.settled[-1].requeue_after_s is None


NONSENSE_TIMES = ["", "soon", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-13-45T99:00:00Z", "2026-11-23"]
STATES = ["", "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizePending", "NodeResizeInfeasible"]


@given(
    conditions=st.lists(
        st.builds(
            Condition,
            st.sampled_from([*sorted(RESIZE_CONDITIONS), "Foreign", ""]),
            st.sampled_from(["True", "False", "Unknown", "maybe"]),
            st.text(max_size=5),
            st.text(max_size=5),
            st.sampled_from(NONSENSE_TIMES),
            st.sampled_from(NONSENSE_TIMES),
        ),
        max_size=6,
    ).map(tuple),
    fields=st.fixed_dictionaries(
        {
            "state": st.sampled_from([*STATES, "Nonsense"]),
            "allocated": st.sampled_from(["", "1", "3Gi", "5Gi", "9Gi", "9223372036854775807"]),
            "retry": st.sampled_from(["", "{", "null", '{"class":"quota","target":"5Gi","notBefore":"x"}']),
        }
    ),
    codes=st.lists(
        st.sampled_from(["OK", "INTERNAL", "OUT_OF_RANGE", "UNAVAILABLE", "FAILED_PRECONDITION"]), min_size=1
    ),
    node=st.booleans(),
    controller=st.booleans(),
)
def test_a_claim_written_by_hand_ends_quietly(conditions, fields, codes, node, controller):
    """Whatever stands in conditions, state, target and annotation: an hour costs few calls, writes and events."""

    def answer(call, number):
        code = codes[number % len(codes)]
        if code == "OK":
            return Expansion(call.target.size_bytes, node_expansion_required=node)
        return classify(code, "x")

    day = Simulation(
        replace(CLAIM, conditions=conditions, **fields),
        VOLUME,
        replace(DRIVER, controller_expansion=controller),
        answer,
        users=Users(running_pod=False),
    )
    day.appear()
    day.run_until(3600.0)
    assert len(day.calls) < 40
    assert len(day.events) < 15
    assert len(day.patches) < 40
    foreign = [c for c in conditions if c.type not in RESIZE_CONDITIONS]
    assert [c for c in day.claim.conditions if c.type not in RESIZE_CONDITIONS] == foreign
    assert day.claim.capacity_bytes >= CLAIM.capacity_bytes
    for say in day.events:
        assert isinstance(say, Say)


def test_a_node_only_driver_is_never_called(world):
    """The volume takes the wish as it was written, and the node is told."""
    day = world(
        lambda *_: pytest.fail("the driver was called"),
        claim=replace(CLAIM, requested="6G"),
        driver=DriverFacts("d.csi.test", controller_expansion=False),
    )
    day.appear()
    day.run_until(10.0)
    assert (day.volume.capacity, day.claim.state, day.claim.allocated) == ("6G", "NodeResizePending", "6G")


def test_a_wish_that_changed_while_the_node_was_refusing_again_does_not_wait(snapshot, claim):
    """The node refuses a verified size a second time; the user asked for another one in between: that goes at once."""
    at_node = {"allocated": "5Gi", "state": "NodeResizePending"}
    grown = replace(VOLUME, capacity="5Gi")
    pending = PendingRecorded(TARGET, is_verified=True)
    memory = advance(snapshot(claim(**at_node), grown), Memory(from_bytes=3 * GI), pending, POLICY).memory
    refused = {"allocated": "5Gi", "state": "NodeResizeInfeasible", "conditions": (Condition("Resizing", "True"),)}
    same = advance(snapshot(claim(**refused), grown, mono_s=1.0), memory, Started(), POLICY)
    assert isinstance(same.effect, Settle)
    other = advance(snapshot(claim(**refused, requested="4Gi"), grown, mono_s=1.0), memory, Started(), POLICY)
    assert isinstance(other.effect, CallDriver)
