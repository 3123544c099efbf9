"""A process that starts grows a claim as soon as it has read it, and is ready only when it has read them all."""

import asyncio

import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.endpoint import CLAIMS, EVENTS
from tests.e2e.in_process import pipeline_in_process
from tests.e2e.rig import WITHIN_S, Rig, is_grown_to, running_rig
from tests.scripted_driver import Plan

EXPAND = "ControllerExpandVolume"
BOTH = ("persistentvolumeclaims", "persistentvolumes")
GROWS = Plan(node_expansion_required=False)


def _hold(rig: Rig, kind: str, *resources: str) -> list:
    return [rig.server.faults.add(Fault(kind=kind, verb="watch", resource=resource)) for resource in resources]


async def _place_asking(rig: Rig, name: str = "data") -> None:
    await rig.place(name, size="3Gi")
    await rig.edit(name, size="5Gi")


async def test_a_claim_is_grown_while_the_lists_still_come(tmp_path):
    """What is not read yet holds up nobody; `/readyz` says that it is not, until it is."""
    async with running_rig(tmp_path, GROWS) as rig:
        await _place_asking(rig)
        held = _hold(rig, "hold-end", *BOTH)
        async with pipeline_in_process(rig, leader_election=False) as pipeline:
            await rig.wait_claim(is_grown_to("5Gi"))
            status, text = await pipeline.get("/readyz")
            assert status == 503
            assert all(f"{resource}: the first list has not been processed" in text for resource in BOTH)
            for fault in held:
                rig.server.faults.release(fault.id)
            await pipeline.wait_get("/readyz", lambda answer: answer[0] == 200)
            assert len(rig.driver.calls_of(EXPAND)) == 1


@pytest.mark.parametrize("late", BOTH)
async def test_a_claim_whose_other_half_is_read_later_waits_for_it(tmp_path, late):
    """Whichever of claim and volume comes second brings the growth; before that there is no call, event or failure."""
    async with running_rig(tmp_path, GROWS) as rig:
        await _place_asking(rig)
        (held,) = _hold(rig, "hold-before", late)
        async with pipeline_in_process(rig, leader_election=False) as pipeline:
            await held.wait_held()
            (early,) = set(BOTH) - {late}
            await pipeline.wait_log("watch.synced", resource=early)
            await pipeline.wait_log("group.started")
            assert rig.driver.calls_of(EXPAND) == []
            rig.server.faults.release(held.id)
            await rig.wait_claim(is_grown_to("5Gi"))
            assert not [line for line in pipeline.log("claim.looked_at") if line["outcome"] != "grown"]


@pytest.mark.parametrize("late", BOTH)
async def test_a_wish_for_another_class_is_answered_whichever_half_is_read_later(tmp_path, late):
    """That volumes are not modified is said when claim and volume are both known, as if they had been at the start."""
    modifies = Plan(controller_capabilities=("EXPAND_VOLUME", "MODIFY_VOLUME"))
    async with running_rig(tmp_path, modifies) as rig:
        await rig.place()
        wish = {"spec": {"volumeAttributesClassName": "gold"}}
        await rig.client.patch(CLAIMS, "data", wish, namespace="default")
        (held,) = _hold(rig, "hold-before", late)
        async with pipeline_in_process(rig, leader_election=False) as pipeline:
            await held.wait_held()
            await pipeline.wait_log("group.started")
            rig.server.faults.release(held.id)
            async with asyncio.timeout(WITHIN_S):
                events = []
                while not events:
                    events = (await rig.client.list(EVENTS, namespace="default")).items
    assert [event["reason"] for event in events] == ["VolumeModifyUnsupported"]


async def test_a_list_that_breaks_off_and_begins_again_grows_nothing_twice(tmp_path):
    """Grown from the first attempt; the second finds one claim as it is now, and another one gone."""
    async with running_rig(tmp_path, GROWS) as rig:
        await _place_asking(rig)
        await rig.place("other")
        held = _hold(rig, "hold-end", *BOTH)
        async with pipeline_in_process(rig, leader_election=False) as pipeline:
            await rig.wait_claim(is_grown_to("5Gi"))
            await rig.client.patch(CLAIMS, "other", {"metadata": {"finalizers": None}}, namespace="default")
            await rig.client.delete(CLAIMS, "other", namespace="default")
            rig.server.end_watches()
            for fault in held:
                rig.server.faults.remove(fault.id)
            await pipeline.wait_get("/readyz", lambda answer: answer[0] == 200)
            await pipeline.wait_log("watch.synced", resource="persistentvolumeclaims", objects=1)
            await rig.edit(size="7Gi")
            await rig.wait_claim(is_grown_to("7Gi"))
            assert len(rig.driver.calls_of(EXPAND)) == 2


async def test_a_lease_is_not_asked_for_before_the_lists_have_ended(tmp_path):
    """With leader election a cold replica leaves the work to one that knows all of it."""
    async with running_rig(tmp_path, GROWS) as rig:
        await _place_asking(rig)
        held = _hold(rig, "hold-end", *BOTH)
        async with pipeline_in_process(rig) as pipeline:
            await asyncio.gather(*(fault.wait_held() for fault in held))
            await pipeline.wait_get("/metrics", lambda answer: 'resource="persistentvolumes"} 1.0' in answer[1])
            assert not pipeline.log("group.started")
            assert rig.driver.calls_of(EXPAND) == []
            for fault in held:
                rig.server.faults.release(fault.id)
            await rig.wait_claim(is_grown_to("5Gi"))
