"""kill -9 between any two durable steps, with real processes: the next one ends in the same state, nothing doubled."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.endpoint import CLAIMS
from tests.e2e.rig import Rig, awaits_node, is_grown_to, running_rig
from tests.scripted_driver import Answer, Plan

GIB = 1 << 30
CLAIM_STATUS = {"verb": "patch", "resource": "persistentvolumeclaims", "subresource": "status"}
VOLUME = {"verb": "patch", "resource": "persistentvolumes"}


async def _hold(rig: Rig, kind: Any, where: dict[str, str]) -> Callable[[], None]:
    """Have the next such request stand still, start the resizer, wait until it is held."""
    fault = rig.server.faults.add(Fault(kind=kind, count=1, user_agent="resizer", **where))
    await rig.start_resizer()
    await fault.wait_held()
    return lambda: rig.server.faults.remove(fault.id)


async def before_intent(rig: Rig) -> Callable[[], None]:
    return await _hold(rig, "hold-before", CLAIM_STATUS)


async def after_intent(rig: Rig) -> Callable[[], None]:
    return await _hold(rig, "hold-after", CLAIM_STATUS)


async def during_driver_call(rig: Rig) -> Callable[[], None]:
    name = "ControllerExpandVolume"
    rig.driver.plan = Plan(
        node_expansion_required=rig.driver.plan.node_expansion_required, answers={name: (Answer(hang=True), Answer())}
    )
    await rig.start_resizer()
    await rig.driver.wait_calls(name, 1)
    return lambda: rig.driver.release(name)


async def before_volume(rig: Rig) -> Callable[[], None]:
    return await _hold(rig, "hold-before", VOLUME)


async def after_volume(rig: Rig) -> Callable[[], None]:
    return await _hold(rig, "hold-after", VOLUME)


async def _hold_second_status(rig: Rig, kind: Any) -> Callable[[], None]:
    """Stand still at the volume, then at the claim's next patch: the one that hands over or finishes."""
    release_volume = await _hold(rig, "hold-before", VOLUME)
    fault = rig.server.faults.add(Fault(kind=kind, count=1, user_agent="resizer", **CLAIM_STATUS))
    release_volume()
    await fault.wait_held()
    return lambda: rig.server.faults.remove(fault.id)


async def before_result(rig: Rig) -> Callable[[], None]:
    return await _hold_second_status(rig, "hold-before")


async def after_result(rig: Rig) -> Callable[[], None]:
    return await _hold_second_status(rig, "hold-after")


BOUNDARIES = [
    before_intent,
    after_intent,
    during_driver_call,
    before_volume,
    after_volume,
    before_result,
    after_result,
]


@pytest.mark.parametrize("reach", BOUNDARIES, ids=lambda reach: reach.__name__)
@pytest.mark.parametrize("needs_node", [False, True], ids=["no-node", "node"])
async def test_killed_between_any_two_steps_the_next_process_finishes(tmp_path, reach, needs_node):
    """Whatever step a process dies at, its successor reaches the same final state and asks for the same size."""
    async with running_rig(tmp_path, Plan(node_expansion_required=needs_node)) as rig:
        rig.seed()
        await rig.bind()
        release = await reach(rig)
        rig.processes[-1].send_signal(signal.SIGKILL)
        await rig.processes[-1].wait()
        release()
        await rig.start_resizer()
        claim = await rig.wait_claim(awaits_node("5Gi") if needs_node else is_grown_to("5Gi"))
        volume = await rig.volume()

    assert claim["status"]["allocatedResources"]["storage"] == "5Gi"
    assert volume["spec"]["capacity"]["storage"] == "5Gi"
    before = volume["metadata"].get("annotations", {}).get("volume.alpha.kubernetes.io/pre-resize-capacity")
    assert before == ("3Gi" if needs_node else None)
    calls = rig.driver.calls_of("ControllerExpandVolume")
    sizes = {int(call.request["capacity_range"]["required_bytes"]) for call in calls}
    assert sizes == {5 * GIB}
    assert len(calls) <= 2, "one call of the process that died, one of its successor"


async def test_a_user_who_edits_while_nobody_runs_does_not_lose_the_unknown_attempt(tmp_path):
    """The target of a call whose outcome is unknown stands, even if the wish changed while no process ran."""
    async with running_rig(tmp_path) as rig:
        rig.seed()
        await rig.bind()
        release = await during_driver_call(rig)
        rig.processes[-1].send_signal(signal.SIGKILL)
        await rig.processes[-1].wait()
        release()
        wish = {"spec": {"resources": {"requests": {"storage": "7Gi"}}}}
        await rig.client.patch(CLAIMS, "data", wish, namespace="default")
        await rig.start_resizer()
        await rig.wait_claim(is_grown_to("7Gi"))
    sizes = [
        int(call.request["capacity_range"]["required_bytes"]) // GIB
        for call in rig.driver.calls_of("ControllerExpandVolume")
    ]
    assert sizes == [5, 5, 7]
