"""The machine searched whole in a small world, and proof that the search finds what is wrong.

The full search is in tests/soak; this one has two sizes (and three without trouble) and takes seconds.
"""

import pytest
from msgspec.structs import replace

from resizer.core import failing, granting, machine, status, target
from resizer.core.state import CallDriver, PendingRecorded, RecordClaim, Say, Settle, Started, Step
from resizer.model.timestamp import format_time
from tests.unit.core.search import Search, all_starts
from tests.unit.core.world import BrokenLawError, Budget, setting

KINDS = {
    "node acts": {"controller": True, "node": True},
    "no node": {"controller": True, "node": False},
    "node only": {"controller": False, "node": True},
}


def _search(*, kind="node acts", sizes=2, budget=None, **how):
    numbers = tuple(range(3, 3 + sizes))
    options = setting(sizes=numbers, **KINDS[kind], **how)
    return Search(options).run(all_starts(options, budget or Budget(1, 1, 1), capacities=numbers[:-1]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_path_keeps_the_laws_and_ends(kind, capsys):
    """Over every reachable path the laws of section 5 hold, and every path without endless trouble ends well."""
    figures = _search(kind=kind)
    wide = _search(kind=kind, sizes=3, budget=Budget(1, 1, 0))
    with capsys.disabled():
        print(f"\nsearched ({kind}): {figures.states + wide.states:,} states")  # noqa: T201  # the figure is the point
    assert figures.states > 10_000
    assert wide.states > 10_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_follower_that_lags_behind_breaks_no_law(kind, capsys):
    """A process that begins to lead with a cache from any earlier moment keeps the laws all the same."""
    figures = _search(kind=kind, budget=Budget(1, 1, 0), followers=True)
    with capsys.disabled():
        print(f"\nsearched (follower, {kind}): {figures.states:,} states")  # noqa: T201  # as above
    assert figures.states > 5_000


# A search that cannot fail proves nothing: each of these spoils one rule, and the search has to say which law it broke.


def _expect_broken(law, **search):
    with pytest.raises(BrokenLawError, match=law):
        _search(**search)


def test_the_search_finds_a_call_before_its_intent(monkeypatch):
    """Law 1: a machine that calls the driver for a target that is not recorded is caught."""

    def hasty(claim, aim, snapshot, memory, policy):
        del snapshot, policy
        return Step(CallDriver(aim, claim.capacity_bytes, claim.state), memory)

    monkeypatch.setattr(machine, "_record_intent", hasty)
    _expect_broken("law 1")


@pytest.mark.soak
def test_the_search_finds_that_a_new_leader_must_read_afresh():
    """Laws 1 and 2: without reading the claim itself before its first call, a follower that lagged is caught."""
    _expect_broken("law [12]", sizes=3, budget=Budget(1, 1, 0), followers=True, reads_afresh=False)


def test_the_search_finds_a_target_dropped_too_early(monkeypatch):
    """Law 2: a machine that follows the user's new wish while the last attempt may still succeed is caught."""
    real = target.find_target

    def fickle(claim, volume, *, attempt="", controller_expansion=True):
        aim = real(claim, volume, attempt=attempt, controller_expansion=controller_expansion)
        is_open = claim.state == "ControllerResizeInProgress" and aim != "wait-for-node"
        return target.Target(claim.requested_bytes, claim.requested) if is_open else aim

    monkeypatch.setattr(machine, "find_target", fickle)
    _expect_broken("law 2", sizes=3)


def test_the_search_finds_a_shrinking_call(monkeypatch):
    """Law 2: a machine that trusts a recorded target below the claim's size is caught."""
    real = target.find_target

    def gullible(claim, volume, *, attempt="", controller_expansion=True):
        if claim.allocated and claim.allocated_bytes < claim.capacity_bytes and not claim.state:
            return target.Target(claim.allocated_bytes, claim.allocated)
        return real(claim, volume, attempt=attempt, controller_expansion=controller_expansion)

    monkeypatch.setattr(machine, "find_target", gullible)
    _expect_broken("law 2", sizes=3)


def test_the_search_finds_a_needless_write(monkeypatch):
    """Law 5: a machine that writes the same intent at every look is caught."""
    real = status.record_intent

    def noisy(claim, target_text, *, is_same_target, now):
        body = real(claim, target_text, is_same_target=is_same_target, now=now)
        return body or {"metadata": {"resourceVersion": claim.version}}

    monkeypatch.setattr(status, "record_intent", noisy)
    _expect_broken("law 5: a write that changes nothing")


def test_the_search_finds_a_wait_cut_short(monkeypatch):
    """Law 5: a machine that calls the driver again at any event, although a back-off is running, is caught."""
    monkeypatch.setattr(machine, "remaining_wait", lambda *_: (0.0, ""))
    _expect_broken("law 5: a look that nobody asked for")


def test_the_search_finds_a_success_announced_too_early(monkeypatch):
    """Law 6: a machine that announces success before the claim says so is caught."""
    real = granting.record

    def boastful(claim, snapshot, memory, observation, policy):
        step = real(claim, snapshot, memory, observation, policy)
        is_last = isinstance(step.effect, RecordClaim)
        done = Say("Normal", "VolumeResizeSuccessful", "Resize volume succeeded")
        return Step(Settle("finished"), step.memory, (done,)) if is_last else step

    monkeypatch.setattr(granting, "record", boastful)
    _expect_broken("law 6", kind="no node")


def test_the_search_finds_a_growth_lost_in_a_crash(monkeypatch):
    """Law 7: a machine that takes a grown volume with unfinished records for the node's business is caught."""
    real = target.find_target

    def negligent(claim, volume, *, attempt="", controller_expansion=True):
        if volume.capacity_bytes >= claim.requested_bytes and claim.state == "ControllerResizeInProgress":
            return "wait-for-node"
        return real(claim, volume, attempt=attempt, controller_expansion=controller_expansion)

    monkeypatch.setattr(machine, "find_target", negligent)
    _expect_broken("neither grown nor explained|nobody will ever look")


def test_the_search_finds_a_claim_forgotten(monkeypatch):
    """A machine that gives up after a failure, with no timer and no event to wait for, is caught."""
    real = failing.settle

    def resigned(claim, snapshot, memory, observation, policy):
        return replace(real(claim, snapshot, memory, observation, policy), effect=Settle("retry", None))

    monkeypatch.setattr(failing, "settle", resigned)
    _expect_broken("nobody will ever look")


def test_the_search_finds_an_endless_restart(monkeypatch):
    """A machine that begins again and again at once is caught."""
    real = machine.advance

    def restless(snapshot, memory, observation, policy):
        if isinstance(observation, Started) and snapshot.claim and snapshot.claim.state == "ControllerResizeInProgress":
            return Step(Settle("restart", 0.0), memory)
        return real(snapshot, memory, observation, policy)

    monkeypatch.setattr(machine, "advance", restless)
    _expect_broken("goes on for ever")


def test_the_search_finds_a_lost_answer_written_twice(monkeypatch):
    """A machine that, its own answer lost, tells a node again what the node has already done is caught."""

    def repetitive(claim, snapshot, memory, observation, policy):
        pending = PendingRecorded(observation.target)
        body = status.record_node_pending(claim, now=format_time(snapshot.now.wall_s))
        if body:
            return Step(RecordClaim(body, pending), memory)
        return granting.pend(claim, snapshot, memory, pending, policy)

    monkeypatch.setattr(granting, "_record_pending", repetitive)
    _expect_broken("untidy")
