"""The nudge: one patch a pod for all that wait, three at most, counted from the annotation, refused once."""

import asyncio

import pytest
from msgspec.structs import replace

from resizer.core.state import AwaitNode
from resizer.model.errors import ForbiddenError, NotFoundError, UnavailableError
from resizer.model.objects import NUDGED_AT, PodMount
from resizer.pipeline.stages.node_resize import NodeResize
from resizer.pipeline.stages.nudge import MOST, Nudger, read_times
from tests.unit.pipeline.conftest import CLAIM, DRIVER, POD

pytestmark = pytest.mark.looptime
BEGAN_S = 1_790_000_000.0


@pytest.fixture
def nudging(server):
    async def build(**fields):
        api = server(pods=(replace(POD, **fields),))
        refusals = []
        loop = asyncio.get_running_loop()
        nudger = Nudger(api, now=lambda: BEGAN_S + loop.time(), on_refused=refusals.append)
        return api, nudger, refusals

    return build


def _fail_with(error):
    def fail(_, what):
        if what == "pod":
            raise error

    return fail


async def test_claims_of_one_pod_share_a_patch(nudging):
    """Ten claims that wait for one pod's node cost one patch."""
    api, nudger, _ = await nudging()
    await asyncio.gather(*(nudger.nudge(POD) for _ in range(10)))
    assert len(api.written) == 1
    assert len(nudger.times_since(POD, BEGAN_S)) == 1


async def test_nudges_are_counted_from_the_annotation(nudging):
    """A new process reads what an earlier one did, and nonsense counts as nothing."""
    _, nudger, _ = await nudging()
    await asyncio.sleep(10)
    told = replace(POD, nudged_at="2026-09-21T14:13:21.000000Z,2026-09-21T14:13:26.000000Z,nonsense")
    assert len(nudger.times_since(told, BEGAN_S)) == 2
    assert len(nudger.times_since(told, BEGAN_S + 5)) == 1
    assert read_times("x" * 5000) == []


async def test_a_nudge_from_the_future_counts_for_nothing(nudging):
    """A clock that was set back, or another's that is fast: what is due now is sent all the same, and counted."""
    api, nudger, _ = await nudging(nudged_at="2026-09-21T15:13:20.000000Z,2026-09-21T15:13:25.000000Z")
    assert nudger.times_since(api.pods[POD.key], BEGAN_S) == []
    for sent in range(1, 4):
        await nudger.nudge(api.pods[POD.key])
        assert len(nudger.times_since(api.pods[POD.key], BEGAN_S)) == sent


async def test_another_replicas_nudges_count_as_well(nudging):
    """A replica that led before and leads again goes on counting where the one in between stopped."""
    api, nudger, _ = await nudging()
    await nudger.nudge(POD)
    await asyncio.sleep(10)
    began_s = BEGAN_S + 5
    told = replace(api.pods[POD.key], nudged_at=f"{api.pods[POD.key].nudged_at},2026-09-21T14:13:26.000000Z")
    assert len(nudger.times_since(told, BEGAN_S)) == 2
    assert len(nudger.times_since(told, began_s)) == 1


async def test_the_annotation_keeps_the_last_three(nudging):
    """The value is bounded."""
    api, nudger, _ = await nudging()
    for _ in range(5):
        await nudger.nudge(api.pods[POD.key])
        await asyncio.sleep(5)
    value = api.written[-1]["metadata"]["annotations"][NUDGED_AT]
    assert len(value.split(",")) == MOST


async def test_a_refused_nudge_is_said_once_and_ends_nudging(nudging):
    """Without the right nothing more is tried, and the text names the right."""
    api, nudger, refusals = await nudging()
    api.fail = _fail_with(ForbiddenError("no", verb="patch", resource="pods/status"))
    await asyncio.gather(nudger.nudge(POD), nudger.nudge(replace(POD, uid="pod-2", name="b")))
    api.fail = lambda *_: None
    await nudger.nudge(POD)
    assert nudger.is_refused
    assert len(refusals) == 1
    assert "pods/status" in refusals[0]
    assert not api.written


async def test_a_dropped_annotation_ends_nudging(nudging):
    """An admission that takes the annotation away is as good as a refusal."""
    api, nudger, refusals = await nudging()
    api.drops_nudges = True
    await nudger.nudge(POD)
    assert len(refusals) == 1


@pytest.mark.parametrize(
    "error",
    [NotFoundError("gone", verb="patch", resource="pods/status"), UnavailableError("x", verb="patch", resource="pods")],
)
async def test_other_failures_of_a_nudge_harm_nobody(nudging, error):
    """A pod that has gone, or an API server that is away, is no reason to fail or to stop."""
    api, nudger, refusals = await nudging()
    api.fail = _fail_with(error)
    await nudger.nudge(POD)
    assert not refusals
    assert not nudger.is_refused


async def test_a_waiting_claim_nudges_at_once_then_after_5_and_30_seconds(server, silent):
    """Three nudges, no more, and none while the node is at work or for a pod that only reads."""
    reader = replace(POD, name="reader", uid="pod-2", mounts=(PodMount("data", read_only=True),))
    api = server(pods=(POD, reader))
    node, loop = _node(api, silent), asyncio.get_running_loop()
    began_s, sent = loop.time(), []
    while True:
        before = len(api.written)
        awaited = await node.run(CLAIM, AwaitNode(BEGAN_S + began_s, is_begun=False))
        sent += [round(loop.time() - began_s)] * (len(api.written) - before)
        if awaited.check_after_s is None:
            break
        await asyncio.sleep(awaited.check_after_s)
    assert sent == [0, 5, 30]
    assert (await node.run(CLAIM, AwaitNode(loop.time() + BEGAN_S, is_begun=True))).check_after_s is None
    assert len(api.written) == 3
    node.close()


async def test_a_list_of_pods_that_is_late_costs_no_nudge(server, silent):
    """The API server lists the pods too late for the first look: the claim is looked at again, and its pod nudged."""
    api, listed = server(pods=(POD,)), asyncio.Event()
    api.wait_synced = listed.wait
    node, loop = _node(api, silent), asyncio.get_running_loop()
    waiting = AwaitNode(BEGAN_S + loop.time(), is_begun=False)
    for _ in range(3):
        awaited = await node.run(CLAIM, waiting)
        assert awaited.check_after_s is not None
        await asyncio.sleep(awaited.check_after_s)
    assert not api.written
    listed.set()
    for _ in range(3):
        await node.run(CLAIM, waiting)
    assert len(api.written) == 1, "the next ones are counted from the first, not from when it was due"
    node.close()


async def test_pods_that_may_not_be_listed_are_not_asked_for_again(server, silent):
    """Without the right to pods there is nothing to come back for."""
    api = server(pods=(POD,))

    async def refuse():
        raise ForbiddenError("no", verb="list", resource="pods")

    api.wait_synced = refuse
    node = _node(api, silent)
    assert (await node.run(CLAIM, AwaitNode(BEGAN_S, is_begun=False))).check_after_s is None
    node.close()


def _node(api, silent):
    loop = asyncio.get_running_loop()
    nudger = Nudger(api, now=lambda: BEGAN_S + loop.time(), on_refused=lambda _: None)
    return NodeResize(api, api, nudger, driver=DRIVER, telemetry=silent(), now=lambda: BEGAN_S + loop.time())


async def test_a_cancelled_waiter_does_not_take_the_others_nudge(nudging):
    """One claim's work is cut off; the pod's other claim still gets its nudge."""
    api, nudger, _ = await nudging()
    first, second = asyncio.create_task(nudger.nudge(POD)), asyncio.create_task(nudger.nudge(POD))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert len(api.written) == 1


async def test_closing_cuts_off_what_is_under_way(nudging):
    """Nothing is sent once the writer goes: a nudge under way ends with the pipeline, not after it."""
    api, nudger, _ = await nudging()
    waiting = asyncio.create_task(nudger.nudge(POD))
    await asyncio.sleep(0)
    await nudger.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(1)
    assert not api.written
