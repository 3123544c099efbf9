"""What a claim costs that fails for a whole day, class by class: calls, events and patches stay within bounds."""

import re
from itertools import cycle

import pytest

from resizer.core.machine import advance
from resizer.core.pacing import write_wait
from resizer.core.state import Enter, Memory, Policy, Settle, Started, Users
from resizer.core.verdict import Failure, Rule, classify, not_called, short_answer
from resizer.model.driver import Expansion
from tests.parity.simulation import EPOCH_S

DAY_S = 24 * 3600.0
MOST_CALLS, MOST_EVENTS, MOST_PATCHES = 400, 30, 50
MOST_INFEASIBLE_CALLS = 300


def _rule(class_, retry_after_s=0.0):
    return Rule(class_, re.compile("because"), retry_after_s=retry_after_s)


def _classed(code, *rules):
    return classify(code, "because", rules)


CLASSES = {
    "infeasible": _classed("OUT_OF_RANGE"),
    "offline-required": _classed("FAILED_PRECONDITION"),
    "rate-limited": _classed("RESOURCE_EXHAUSTED", _rule("rate-limited", 900.0)),
    "rate-limited for good": _classed("INTERNAL", _rule("rate-limited", 900.0)),
    "quota": _classed("RESOURCE_EXHAUSTED", _rule("quota")),
    "transient": _classed("UNAVAILABLE"),
    "denied": _classed("PERMISSION_DENIED"),
    "not-called": not_called("error getting secret"),
    "driver-bug": short_answer(5, 3),
    "internal": _classed("INTERNAL"),
}


@pytest.mark.parametrize("in_use", [True, False, None])
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("roll", [0.0, 0.999])
def test_a_day_of_failures_is_cheap(world, name, in_use, roll, capsys):
    """A claim that fails in one way for a day stays within the budget, whatever chance adds to the delays."""
    failure = CLASSES[name]
    tries = []

    def answer(call, number):
        del call, number
        tries.append(1)
        return failure if failure.class_ != "driver-bug" else Expansion(4 << 30, node_expansion_required=True)

    day = world(answer, users=Users(running_pod=in_use), roll=roll)
    day.appear()
    day.run_until(DAY_S)
    if roll == 0.0 and in_use is False:
        with capsys.disabled():
            line = f"\n{name}: {len(tries)} calls, {len(day.events)} events, {len(day.patches)} patches in a day"
            print(line)  # noqa: T201  # the figures are the point
    assert 1 < len(tries) < (MOST_INFEASIBLE_CALLS if name == "infeasible" else MOST_CALLS)
    assert len(day.events) < MOST_EVENTS
    assert len(day.patches) < MOST_PATCHES
    assert day.due_s is not None
    assert day.claim.has_condition("Resizing")


def test_texts_that_differ_each_time_cost_no_more(world):
    """A driver whose message carries a new request id each time is heard once an hour, not each time."""
    day = world(lambda _, number: classify("INTERNAL", f"request {number} failed"))
    day.appear()
    day.run_until(DAY_S)
    assert len(day.calls) > 100
    assert len(day.events) < MOST_EVENTS
    assert len(day.patches) < MOST_PATCHES


def test_causes_that_alternate_cost_no_more(world):
    """A driver that fails in another way each time stays within the budget too."""
    codes = cycle(("INTERNAL", "UNAVAILABLE", "PERMISSION_DENIED", "OUT_OF_RANGE", "DEADLINE_EXCEEDED"))
    day = world(lambda *_: classify(next(codes), "because"))
    day.appear()
    day.run_until(DAY_S)
    assert len(day.calls) < MOST_CALLS
    assert len(day.events) < MOST_EVENTS
    assert len(day.patches) < MOST_PATCHES


def test_long_waits_that_alternate_with_short_ones_cost_no_more(world):
    """The retry annotation is not taken away and put back at every turn."""
    turns = cycle((CLASSES["rate-limited"], CLASSES["transient"]))
    day = world(lambda *_: next(turns))
    day.appear()
    day.run_until(DAY_S)
    assert len(day.patches) < MOST_PATCHES
    assert len(day.calls) < MOST_CALLS


def test_an_old_cluster_is_asked_once_an_hour(world):
    """Where the API server drops the recovery fields no driver is called, one event says so, and it is tried hourly."""
    day = world(lambda *_: pytest.fail("the driver was called"), drops_recovery_fields=True)
    day.appear()
    day.run_until(DAY_S)
    assert not day.calls
    assert [say.reason for say in day.events] == ["VolumeResizeFailed"]
    assert "1.32" in day.events[0].message
    assert len(day.patches) <= 26


def test_the_schedule_of_a_transient_failure(world):
    """Waits double from a second to five minutes."""
    day = world(lambda *_: CLASSES["transient"])
    day.appear()
    day.run_until(1200.0)
    waits = [round(b - a) for a, b in zip(day.call_times, day.call_times[1:], strict=False)]
    assert waits[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


def test_the_schedule_of_a_driver_that_names_a_time(world):
    """The first wait is the driver's own; if it still refuses then, each further one is longer, up to an hour."""
    day = world(lambda *_: CLASSES["rate-limited"])
    day.appear()
    day.run_until(4 * 3600.0)
    waits = [round(b - a) for a, b in zip(day.call_times, day.call_times[1:], strict=False)]
    assert waits == [900, 1800, 2700, 3600, 3600]


def test_a_restart_does_not_hammer_a_driver_that_said_not_yet(world):
    """A wait of more than five minutes survives any number of restarts in the claim's annotation."""
    day = world(lambda *_: CLASSES["rate-limited"])
    day.appear()
    for minute in range(1, 15):
        day.run_until(minute * 60.0)
        day.restart()
    day.run_until(899.0)
    assert len(day.calls) == 1
    day.run_until(901.0)
    assert len(day.calls) == 2


def test_a_new_process_knows_what_a_claim_waits_for(snapshot, claim):
    """The claim's annotation gives the class of its wait, or whoever is on call is told that nobody has answered."""
    retry = write_wait(CLASSES["rate-limited"], target="5Gi", delay_s=900.0, now_s=EPOCH_S)
    waiting = claim(allocated="5Gi", state="ControllerResizeInProgress", retry=retry)
    step = advance(snapshot(waiting), Memory(), Started(), Policy())
    assert isinstance(step.effect, Settle)
    assert [note.class_ for note in step.notes if isinstance(note, Enter)] == ["rate-limited"]


def test_a_changed_wish_ends_a_remembered_wait(world):
    """After a restart, too, an edit goes at once."""
    day = world(lambda *_: Failure("rate-limited", "uncertain", "later", "INTERNAL", 900.0))
    day.appear()
    day.run_until(10.0)
    day.restart()
    day.run_until(20.0)
    assert len(day.calls) == 1
    day.change(requested="6Gi")
    day.run_until(21.0)
    assert len(day.calls) == 2


def test_the_annotation_goes_when_the_claim_has_grown(world):
    """Success removes what remembered the wait."""
    answers = iter((CLASSES["rate-limited"], Expansion(5 << 30, node_expansion_required=False)))
    day = world(lambda *_: next(answers))
    day.appear()
    day.run_until(10.0)
    assert day.claim.retry
    day.run_until(1000.0)
    assert day.claim.capacity == "5Gi"
    assert not day.claim.retry


def test_an_offline_driver_is_asked_again_when_the_pod_goes(world):
    """With a running pod it waits a slow window; when the pod goes, a look is enough to try at once."""
    answers = cycle((CLASSES["offline-required"],))
    day = world(lambda *_: next(answers), users=Users(running_pod=True, attached=True))
    day.appear()
    day.run_until(30.0)
    assert len(day.calls) == 1
    assert "no running pod uses it" in day.events[-1].message
    day.users = Users(running_pod=False, attached=True)
    day.due_s = day.now_s
    day.run_until(30.5)
    assert len(day.calls) == 2
    day.users = Users(running_pod=False, attached=False)
    day.due_s = day.now_s
    day.run_until(30.6)
    assert len(day.calls) == 3


def test_a_node_refusal_is_verified_once_and_then_in_slow_windows(world):
    """NodeResizeInfeasible costs one call at once, then one a window; a new wish does not wait."""
    day = world(
        lambda call, _: Expansion(call.target.size_bytes, node_expansion_required=True),
    )
    day.appear()
    day.run_until(1.0)
    for _ in range(60):
        day.run_until(day.now_s + 10.0)
        if day.claim.state == "NodeResizePending":
            day.change(state="NodeResizeInfeasible")
    verified = [at for call, at in zip(day.calls, day.call_times, strict=True) if call.state == "NodeResizeInfeasible"]
    assert verified == [11.0, 311.0]
    count = len(day.calls)
    day.change(requested="6Gi")
    day.run_until(day.now_s + 1.0)
    assert len(day.calls) == count + 1
