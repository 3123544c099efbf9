"""Two replicas: the claim that is edited as the leader ends is grown by the other one, soon, and by nobody twice."""

import asyncio
import signal
import time

import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.endpoint import LEASES
from resizer.kube.lease import lease_name
from tests.control_plane import REPLICAS
from tests.e2e.replicas import DEFAULT, PLAN, SHORT, Replicas, running_replicas
from tests.e2e.rig import is_grown_to
from tests.e2e.witness import LATE_S
from tests.scripted_driver import Answer, Plan

GIB = 1 << 30
EXPAND = "ControllerExpandVolume"
HANGS_ONCE = {EXPAND: (Answer(hang=True), Answer())}


async def _seconds_to_grow(
    replicas: Replicas, leader: str, number: int, *, edit_first: bool, size: str = "5Gi"
) -> float:
    """End the leader by this signal as a claim is edited; seconds from the edit to the grown claim."""
    rig = replicas.rig
    process = replicas.processes[leader]
    if not edit_first:
        process.send_signal(number)
    began = time.monotonic()
    await rig.edit(size=size)
    if edit_first:
        process.send_signal(number)
    await rig.wait_claim(is_grown_to(size))
    took_s = time.monotonic() - began
    async with asyncio.timeout(10):
        await process.wait()
    return took_s


async def test_a_claim_edited_as_the_leader_gets_sigterm_is_grown_within_a_second(tmp_path):
    """SIGTERM costs no time: what is in hand is finished, the lease released, and the warm follower goes on.

    Once the claim is edited just before the signal, once just after it, with an API server that fails at that moment.
    """
    async with running_replicas(tmp_path, timing=DEFAULT) as replicas:
        leader, follower = await replicas.start_both()
        await replicas.rig.place()
        took_s = await _seconds_to_grow(replicas, leader, signal.SIGTERM, edit_first=True)
        assert took_s < 1.0
        assert replicas.processes[leader].returncode == 0
        await replicas.wait_led_by(follower)

        await replicas.start(leader)
        await replicas.wait_following(leader, follower)
        replicas.rig.server.faults.add(Fault(kind="error", user=follower, verb="get", resource="leases", count=2))
        took_s = await _seconds_to_grow(replicas, follower, signal.SIGTERM, edit_first=False, size="6Gi")
        assert took_s < 1.0
        holders = [write.holder for write in replicas.witness.leases[lease_name(PLAN.name)]]
        assert holders.count("") == 2, "released each time"
        assert [act.size_bytes // GIB for act in replicas.witness.acts] == [5, 6]


async def _check_kill(tmp_path, timing) -> None:
    async with running_replicas(tmp_path, timing=timing) as replicas:
        leader, follower = await replicas.start_both()
        await replicas.rig.place()
        took_s = await _seconds_to_grow(replicas, leader, signal.SIGKILL, edit_first=False)

        assert took_s < timing.duration_s + 1.0
        assert [act.replica for act in replicas.witness.acts] == [follower]


async def test_a_claim_edited_as_the_leader_is_killed_is_grown_once_its_lease_has_expired(tmp_path):
    """Kill -9 costs the lease's duration, and less than a second more."""
    await _check_kill(tmp_path, SHORT)


@pytest.mark.soak
async def test_kill_costs_at_most_nine_seconds_at_our_defaults(tmp_path):
    """The promise with the lease settings that ship: 8 s and 1 s."""
    await _check_kill(tmp_path, DEFAULT)


@pytest.mark.parametrize("hangs", ["its lease calls", pytest.param("all its calls", marks=pytest.mark.soak)])
async def test_a_leader_whose_calls_hang_stops_before_its_lease_expires(tmp_path, hangs):
    """Calls that never return take the lease from a leader by its own clock: it cuts its call off and starts none.

    Claims are edited all the while, and one driver call hangs, so that both are seen: the call in flight ends before
    the follower may act, and (by the witness) none of the old leader's begins after its renew deadline.
    """
    async with running_replicas(tmp_path) as replicas:
        leader, follower = await replicas.start_both()
        rig, acts = replicas.rig, replicas.witness.acts
        await rig.place("stuck")
        for number in range(8):
            await rig.place(f"data-{number}")
        driver = replicas.drivers[leader, PLAN.name]
        driver.plan = Plan(node_expansion_required=False, answers={f"{EXPAND}/pv-stuck": (Answer(hang=True),)})
        await rig.edit("stuck")
        await driver.wait_calls(EXPAND, 1)

        resource = "leases" if hangs == "its lease calls" else ""
        fault = rig.server.faults.add(Fault(kind="hold-before", user=leader, resource=resource))
        await fault.wait_held()
        last_s = [w.at_s for w in replicas.witness.leases[lease_name(PLAN.name)] if w.holder == leader][-1]
        for number in range(8):
            await rig.edit(f"data-{number}")
            await asyncio.sleep(replicas.timing.duration_s / 8)  # spread over the time in which both are tempted
        for name in ("stuck", *(f"data-{number}" for number in range(8))):
            await rig.wait_claim(is_grown_to("5Gi"), name)

        fence_s = last_s + replicas.timing.renew_deadline_s
        first_of_follower_s = min(act.began_s for act in acts if act.replica == follower)
        assert acts[0].ended_s < min(fence_s + LATE_S, first_of_follower_s)
        assert first_of_follower_s > last_s + replicas.timing.duration_s
        assert rig.log_of(replicas.processes[leader], "lease.lost")
        assert replicas.processes[leader].returncode is None


async def test_a_leader_that_loses_its_lease_while_it_ends_does_not_contend_again(tmp_path):
    """SIGTERM with a call in hand, and somebody takes the lease meanwhile: the call is cut off, and that is the end."""
    async with running_replicas(tmp_path) as replicas:
        rig, name = replicas.rig, REPLICAS[0]
        process = await replicas.start(name)
        await replicas.wait_led_by(name)
        driver = replicas.drivers[name, PLAN.name]
        driver.plan = Plan(node_expansion_required=False, answers=HANGS_ONCE)
        await rig.place()
        await rig.edit(size="5Gi")
        await driver.wait_calls(EXPAND, 1)
        process.send_signal(signal.SIGTERM)
        theft = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}}
        await rig.client.patch(LEASES, lease_name(PLAN.name), theft, namespace="default")
        async with asyncio.timeout(15):
            assert await process.wait() == 0


@pytest.mark.soak
async def test_a_leader_that_was_stopped_like_a_paused_machine_starts_nothing_when_it_wakes(tmp_path):
    """SIGSTOP past the lease's end: the follower leads, and the one that wakes calls no driver on its old lease."""
    async with running_replicas(tmp_path) as replicas:
        leader, follower = await replicas.start_both()
        rig = replicas.rig
        await rig.place()
        replicas.processes[leader].send_signal(signal.SIGSTOP)
        await rig.edit(size="5Gi")
        await rig.wait_claim(is_grown_to("5Gi"))
        await rig.edit(size="7Gi")
        replicas.processes[leader].send_signal(signal.SIGCONT)
        await rig.wait_claim(is_grown_to("7Gi"))
        await rig.wait_log(replicas.processes[leader], "lease.lost")

        assert {act.replica for act in replicas.witness.acts} == {follower}


async def test_a_new_leader_whose_watch_lags_behind_calls_no_driver_for_what_is_done(tmp_path):
    """A follower's cache shows a growth under way that the old leader has long finished: it asks before it acts."""
    async with running_replicas(tmp_path) as replicas:
        leader, follower = await replicas.start_both()
        rig = replicas.rig
        driver = replicas.drivers[leader, PLAN.name]
        driver.plan = Plan(node_expansion_required=False, answers=HANGS_ONCE)
        await rig.place()
        await rig.edit(size="5Gi")
        await driver.wait_calls(EXPAND, 1)
        await rig.place("other")  # in the follower's watch behind the recorded target
        await _wait_claims_known(replicas, follower, 2)
        silence = rig.server.faults.add(Fault(kind="silent", user=follower, resource="persistentvolumeclaims"))

        driver.release(EXPAND)
        await rig.wait_claim(is_grown_to("5Gi"))
        await rig.edit(size="7Gi")
        await rig.wait_claim(is_grown_to("7Gi"))
        await rig.stop(replicas.processes[leader])
        await replicas.wait_led_by(follower)
        # The follower's first look at this claim ends without a call; the edit shows that it has had its look.
        rig.server.faults.remove(silence.id)
        await rig.edit("other")
        await rig.wait_claim(is_grown_to("5Gi"), "other")

        assert [act.volume for act in replicas.witness.acts if act.replica == follower] == ["pv-other"]


async def test_a_replica_with_a_cold_cache_leaves_the_lease_to_one_that_can_act(tmp_path):
    """One that has started first but has not read the claims yet does not contend; it follows once it is warm."""
    async with running_replicas(tmp_path) as replicas:
        cold, warm = REPLICAS
        fault = replicas.rig.server.faults.add(Fault(kind="hold-before", user=cold, resource="persistentvolumeclaims"))
        process = await replicas.launch(cold)
        await replicas.rig.wait_log(process, "driver.connected")
        await replicas.start(warm)
        await replicas.wait_led_by(warm)
        replicas.rig.server.faults.remove(fault.id)
        await replicas.wait_following(cold, warm)
        assert {write.holder for write in replicas.witness.leases[lease_name(PLAN.name)]} == {warm}


async def _wait_claims_known(replicas: Replicas, name: str, count: int) -> None:
    """Wait until this replica's cache holds so many claims."""
    text = ""
    while f'resizer_cache_objects{{resource="persistentvolumeclaims"}} {count:.1f}' not in text:
        _, text = await replicas.rig.http(replicas.processes[name], "/metrics")


async def test_losing_one_drivers_lease_leaves_the_other_driver_alone(tmp_path):
    """Two drivers in one process: the thief of one lease ends that driver's calls, and only those, until it is back."""
    first = Plan(name="first.example.com", node_expansion_required=False, answers=HANGS_ONCE)
    second = Plan(name="second.example.com", node_expansion_required=False, answers=HANGS_ONCE)
    async with running_replicas(tmp_path, plans=(first, second)) as replicas:
        rig, name = replicas.rig, REPLICAS[0]
        process = await replicas.start(name)
        for plan in (first, second):
            await replicas.wait_led_by(name, plan)
            await rig.place(f"data-{plan.name}", driver=plan.name)
            await rig.edit(f"data-{plan.name}")
            await replicas.drivers[name, plan.name].wait_calls(EXPAND, 1)
        await rig.place("meanwhile", driver=second.name)

        theft = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 1}}
        await rig.client.patch(LEASES, lease_name(first.name), theft, namespace="default")

        await rig.until(lambda: replicas.witness.acts[0].ended_s is not None, "the first driver's call is cut off")
        await rig.edit("meanwhile")
        await rig.wait_claim(is_grown_to("5Gi"), "meanwhile")
        assert replicas.witness.acts[1].driver == second.name
        assert replicas.witness.acts[1].ended_s is None, "the second driver's call goes on"
        assert len(rig.log_of(process, "lease.lost")) == 1

        await rig.wait_claim(is_grown_to("5Gi"), f"data-{first.name}")
        replicas.drivers[name, second.name].release(EXPAND)
        await rig.wait_claim(is_grown_to("5Gi"), f"data-{second.name}")
        assert [act.driver for act in replicas.witness.acts].count(second.name) == 2
        assert len(rig.log_of(process, "group.started")) == 3
