"""The claim loop around the core: conflicts, an API server that is away, another uid under the same name."""

import asyncio
from collections import Counter

import pytest
import structlog
from msgspec.structs import replace

from resizer.core.state import Memory
from resizer.model.driver import Expansion
from resizer.model.errors import ConflictError, DriverError, NotFoundError, UnavailableError
from resizer.model.objects import Condition
from tests.unit.pipeline.conftest import CLAIM, GI, VOLUME, Plugin, Rig, Server

pytestmark = pytest.mark.looptime
KEY = CLAIM.key


async def test_a_claim_is_grown_in_one_look(rig):
    """Intent, call, volume, claim: three patches, one call, and nothing to remember."""
    here = rig()
    result = await here.loop.look(KEY)
    assert result.outcome == "finished"
    assert (here.server.claim(KEY).capacity, here.server.volume("pv").capacity) == ("5Gi", "5Gi")
    assert here.plugin.calls == [5 * GI]
    assert len(here.server.written) == 3
    assert here.reasons() == ["Resizing", "VolumeResizeSuccessful"]
    assert len(here.memories) == 0


async def test_nothing_asked_for_means_no_write(rig):
    """Silence."""
    here = rig(Server(replace(CLAIM, requested="3Gi")))
    assert (await here.loop.look(KEY)).outcome == "idle"
    assert not here.server.written
    assert (await here.loop.look("default/unknown")).outcome == "gone"


async def test_a_conflict_decides_the_same_observation_again(rig):
    """Somebody writes between our read and our patch: the driver's answer is kept, and no failure is announced."""
    here = rig()
    conflicts = iter((True, False, True, False, True))

    def fail(verb, what):
        if verb == "patch" and next(conflicts, False):
            raise ConflictError("changed", verb=verb, resource=what)

    here.server.fail = fail
    result = await here.loop.look(KEY)
    assert result.outcome == "finished"
    assert here.plugin.calls == [5 * GI]
    assert here.reasons() == ["Resizing", "VolumeResizeSuccessful"]


async def test_conflicts_without_end_back_off(rig):
    """After three at once the claim is put down for a while, and nothing is announced."""
    here = rig()

    def fail(verb, what):
        if verb == "patch":
            raise ConflictError("changed", verb=verb, resource=what)

    here.server.fail = fail
    first = await here.loop.look(KEY)
    second = await here.loop.look(KEY)
    assert (first.outcome, second.outcome) == ("retry", "retry")
    assert 0.9 <= first.requeue_after_s <= 1.0 < second.requeue_after_s
    assert here.reasons() == []


@pytest.mark.parametrize("down", ["volume", "claim"])
async def test_an_answer_is_kept_while_the_api_server_is_away(rig, down):
    """The driver is not asked again for what it has answered: the answer is written down when that is possible."""
    here = rig()

    def fail(verb, what):
        if verb == "patch" and what == down and here.plugin.calls:
            raise UnavailableError("away", verb=verb, resource=what)

    here.server.fail = fail
    for _ in range(3):
        assert (await here.loop.look(KEY)).outcome == "retry"
    here.server.fail = lambda *_: None
    assert (await here.loop.look(KEY)).outcome == "finished"
    assert here.plugin.calls == [5 * GI]
    assert len(here.memories) == 0


async def test_a_failure_is_kept_while_the_api_server_is_away(rig):
    """An error of the driver, too, is taken up at the next look."""
    here = rig()

    def refuse(size):
        raise DriverError("OUT_OF_RANGE", f"{size} is too large")

    def fail(verb, what):
        if verb == "patch" and here.plugin.calls:
            raise UnavailableError("away", verb=verb, resource=what)

    here.plugin.answer, here.server.fail = refuse, fail
    assert (await here.loop.look(KEY)).outcome == "retry"
    here.server.fail = lambda *_: None
    result = await here.loop.look(KEY)
    assert (result.outcome, result.requeue_after_s) == ("retry", 300.0)
    assert here.server.claim(KEY).state == "ControllerResizeInfeasible"
    assert len(here.plugin.calls) == 1


async def test_another_uid_under_the_same_name_is_another_claim(rig):
    """The claim is deleted and made again while the driver works: the new one gets nothing of the old one's."""
    here = rig()

    def swap(size):
        here.server.by_key[KEY] = replace(CLAIM, uid="uid-2", version="50")
        return Expansion(size, node_expansion_required=False)

    here.plugin.answer = swap
    result = await here.loop.look(KEY)
    assert result.outcome == "gone"
    assert here.server.claim(KEY) == replace(CLAIM, uid="uid-2", version="50")
    assert here.server.volume("pv").capacity == "3Gi"
    assert len(here.memories) == 0


async def test_an_answer_is_not_written_to_a_successor_that_stands_just_like_it(rig):
    """The new claim has taken the volume over, and a restored status with the same target: its uid decides."""
    here = rig()
    successor = replace(CLAIM, uid="uid-2", version="50", allocated="5Gi", state="ControllerResizeInProgress")

    def swap(size):
        here.server.by_key[KEY] = successor
        here.server.volumes["pv"] = replace(here.server.volume("pv"), claim_uid="uid-2")
        return Expansion(size, node_expansion_required=False)

    here.plugin.answer = swap
    assert (await here.loop.look(KEY)).outcome == "gone"
    assert here.server.claim(KEY) == successor
    assert here.server.volume("pv").capacity == "3Gi"


class Behind(Server):
    """A cache that lags: what really stands comes into it when it is read."""

    def __init__(self, claim, volume, really):
        super().__init__(claim, volume)
        self.really = really

    async def read_claim(self, key):
        self.by_key[key] = self.really.get("claim", self.by_key[key])
        return self.by_key[key]

    async def read_volume(self, name):
        self.volumes[name] = self.really.get("volume", self.volumes[name])
        return self.volumes[name]


BEGUN = replace(CLAIM, allocated="5Gi", state="ControllerResizeInProgress", conditions=(Condition("Resizing", "True"),))


@pytest.mark.parametrize(
    ("volume", "really"),
    [
        (VOLUME, {"volume": replace(VOLUME, claim_uid="uid-9")}),
        (VOLUME, {"claim": replace(BEGUN, allocated="4Gi", requested="3Gi")}),
        # A write to the volume says nothing of the claim.
        (replace(VOLUME, pre_resize_capacity="2Gi"), {"claim": replace(BEGUN, allocated="4Gi", requested="3Gi")}),
    ],
    ids=["volume", "claim", "claim-after-a-clean-up"],
)
async def test_a_target_found_recorded_is_asked_for_only_as_it_really_stands(rig, volume, really):
    """The cache of a process that begins to lead may lag: claim and volume are read before its first call."""
    here = rig(Behind(BEGUN, volume, really))
    await here.loop.look(KEY)
    assert here.plugin.calls == []


async def test_attachments_are_watched_only_while_the_volume_has_to_be_free(rig):
    """The driver wanted the volume unused, and then fails for another reason: nobody waits for a detach any longer."""
    here = rig()
    held = Counter()
    here.server.hold = lambda namespace="": held.update([namespace]) or here.server
    here.server.release = lambda namespace="": held.subtract([namespace])
    codes = iter(("FAILED_PRECONDITION", "INTERNAL"))

    def refuse(_):
        raise DriverError(next(codes), "no")

    here.plugin.answer = refuse
    delay_s = (await here.loop.look(KEY)).requeue_after_s
    assert held[""] == 1
    await asyncio.sleep(delay_s)
    assert (await here.loop.look(KEY)).outcome == "retry"
    assert len(here.plugin.calls) == 2
    assert held[""] == 0


async def test_memory_of_a_forgotten_claim_is_gone(rig):
    """What was learnt of a deleted claim is not applied to the next of its name."""
    here = rig()
    here.plugin.answer = lambda _: Expansion(1, node_expansion_required=False)
    await here.loop.look(KEY)
    assert len(here.memories) == 1
    here.loop.forget(CLAIM)
    assert len(here.memories) == 0
    assert here.memories.recall(CLAIM).memory == Memory()


async def test_a_claim_gone_under_a_patch_is_put_down(rig):
    """404 on a write: read again, and no more than a retry."""
    here = rig()

    def fail(verb, what):
        if verb == "patch":
            raise NotFoundError("gone", verb=verb, resource=what)

    here.server.fail = fail
    assert (await here.loop.look(KEY)).outcome == "retry"


async def test_an_api_server_that_stays_away_is_asked_less_and_less(rig):
    """Also for a claim of which nothing else is remembered: here only a label is to be taken off."""
    here = rig(Server(replace(CLAIM, requested="3Gi", node_labels=("csi-resizer.dev/node-0",))))

    def fail(verb, what):
        raise UnavailableError("away", verb=verb, resource=what)

    here.server.fail = fail
    delays_s = [(await here.loop.look(KEY)).requeue_after_s for _ in range(5)]
    assert delays_s == sorted(delays_s)
    assert delays_s[-1] > 10


async def test_being_cancelled_at_any_await_leaves_a_claim_that_the_next_look_finishes():
    """Cut off at every possible moment, the next process ends the same, and asks the driver twice at most."""
    ends = set()
    for ticks in range(40):
        server, plugin = Server(), Plugin()
        plugin.answer = lambda size: Expansion(size, node_expansion_required=True)
        task = asyncio.create_task(Rig(server, plugin).loop.look(KEY))
        for _ in range(ticks):
            await asyncio.sleep(0.0007)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await Rig(server, plugin).loop.look(KEY)
        claim, volume = server.claim(KEY), server.volume("pv")
        ends.add((claim.allocated, claim.state, tuple(c.type for c in claim.conditions), volume.capacity))
        assert set(plugin.calls) == {5 * GI}
        assert len(plugin.calls) <= 2
    assert ends == {("5Gi", "NodeResizePending", ("Resizing", "FileSystemResizePending"), "5Gi")}


async def test_the_nodes_part_ends_with_the_growth_although_more_is_asked_for(rig):
    """A second growth waits for the first: the node has done that one, and its stage is measured to that moment."""
    here = rig()
    here.plugin.answer = lambda size: Expansion(size, node_expansion_required=True)
    assert (await here.loop.look(KEY)).outcome == "waiting-for-node"
    here.server.by_key[KEY] = replace(here.server.claim(KEY), requested="9Gi")
    assert (await here.loop.look(KEY)).outcome == "waiting-for-node"
    grown = replace(here.server.claim(KEY), capacity="5Gi", state="", conditions=())
    here.server.by_key[KEY] = grown
    assert (await here.loop.look(KEY)).outcome == "waiting-for-node"
    assert here.plugin.calls == [5 * GI, 9 * GI]
    ends = [said["stage"] for _, said in here.stages.named("stage_finished")]
    begins = [said["stage"] for _, said in here.stages.named("stage_started")]
    assert (begins.count("node-resize"), ends.count("node-resize")) == (2, 1)


async def test_a_look_that_did_something_has_its_line_although_it_ends_as_the_one_before(rig):
    """Both growths end waiting for the node: a line for each; a look in between that found nothing to do has none."""
    here = rig()
    here.plugin.answer = lambda size: Expansion(size, node_expansion_required=True)
    with structlog.testing.capture_logs() as logs:
        await here.loop.look(KEY)
        await here.loop.look(KEY)
        grown = replace(here.server.claim(KEY), capacity="5Gi", state="", conditions=(), requested="9Gi")
        here.server.by_key[KEY] = grown
        await here.loop.look(KEY)
    lines = [entry for entry in logs if entry["event"] == "claim.looked_at" and entry["log_level"] == "info"]
    assert [line["allocated"] for line in lines] == ["5Gi", "9Gi"]
