from resizer.devcluster.apiserver.faults import Fault
from tests.component.pipeline.rig import GIB, NAMESPACE, Rig, is_grown, running_rig, volume_body
from tests.scripted_driver import Answer, Plan

EXPAND = "ControllerExpandVolume"
SLOW = {"retry_interval_start": "2m", "retry_interval_max": "5m"}
CLAIM_STATUS = {"verb": "patch", "resource": "persistentvolumeclaims", "subresource": "status"}


def replace_claim(rig: Rig, *, requested: str, volume: bool = True) -> None:
    """Delete the claim and its volume; others of the same names take their place."""
    rig.delete("persistentvolumeclaims", "data")
    rig.delete("persistentvolumes", "pv-data")
    rig.seed(requested=requested, volume=volume)


async def test_a_claim_created_again_inherits_nothing(folder):
    """A claim that takes another's name is not made to wait for the other's failure, nor grown to its size."""
    plan = Plan(node_expansion_required=False, answers={EXPAND: (Answer(code="OUT_OF_RANGE"), Answer())})
    async with running_rig(folder, plan) as rig:
        rig.seed(requested="9Gi")
        rig.start(**SLOW)
        await rig.wait(lambda: "Warning/VolumeResizeFailed" in rig.events())
        replace_claim(rig, requested="5Gi")
        await rig.wait(is_grown(rig), timeout_s=5)
        assert rig.sizes() == [9 * GIB, 5 * GIB]
        assert rig.claim()["status"]["allocatedResources"]["storage"] == "5Gi"


async def test_an_answer_for_a_claim_that_is_gone_is_not_written_to_its_successor(folder):
    """A claim that is replaced while the driver works: the late answer touches neither the new claim nor its volume."""
    plan = Plan(node_expansion_required=False, answers={EXPAND: (Answer(hang=True), Answer())})
    async with running_rig(folder, plan) as rig:
        rig.seed(requested="9Gi")
        rig.start()
        await rig.driver.wait_calls(EXPAND, 1)
        replace_claim(rig, requested="3Gi")
        rig.driver.release(EXPAND)
        await rig.wait(lambda: not rig.driver.in_flight[EXPAND])
        await rig.wait_quiet(0.5)
        assert rig.sizes() == [9 * GIB]
        status = rig.claim()["status"]
        assert "allocatedResources" not in status
        assert "conditions" not in status
        assert rig.volume()["spec"]["capacity"]["storage"] == "3Gi"
        assert rig.volume()["metadata"].get("annotations", {}) == {}
        rig.ask("5Gi")
        await rig.wait(is_grown(rig))


async def test_a_claim_deleted_while_its_intent_is_written(folder):
    """A claim that is gone by the time of our patch is let go: no call, no error loop, and nothing remembered."""
    async with running_rig(folder) as rig:
        fault = rig.server.faults.add(Fault(kind="hold-before", count=1, user_agent="resizer", **CLAIM_STATUS))
        rig.seed()
        rig.start()
        await fault.wait_held()
        rig.delete("persistentvolumeclaims", "data")
        rig.server.faults.remove(fault.id)
        await rig.wait(lambda: rig.server.audit.count(verb="patch", status=404) == 1)
        await rig.wait_quiet(0.6)
        assert rig.sizes() == []
        assert rig.logged("worker.bug") == []
        assert (await rig.debug_state())["claims"] == []


async def test_a_claim_that_is_being_deleted_is_grown_while_it_exists(folder):
    """A deletion that waits for a pod (a finalizer) changes nothing: the claim is treated like any other."""
    plan = Plan(node_expansion_required=False, answers={EXPAND: (Answer(hang=True), Answer())})
    async with running_rig(folder, plan) as rig:
        rig.seed()
        rig.patch(
            "persistentvolumeclaims",
            "data",
            lambda doc: doc["metadata"].update(finalizers=["kubernetes.io/pvc-protection"]),
        )
        rig.start()
        await rig.driver.wait_calls(EXPAND, 1)
        rig.mark_deleted("data")
        rig.driver.release(EXPAND)
        await rig.wait(is_grown(rig))
        assert rig.claim()["metadata"]["deletionTimestamp"]
        rig.patch("persistentvolumeclaims", "data", lambda doc: doc["metadata"].pop("finalizers"))
        assert rig.get("persistentvolumeclaims", "data") is None


async def test_a_volume_that_appears_later(folder):
    """A claim whose volume we do not know yet is grown as soon as the volume is there, and bound to this claim."""
    async with running_rig(folder) as rig:
        rig.seed(volume=False)
        rig.start(**SLOW)
        await rig.wait(lambda: bool(rig.logged("group.started")))
        stranger = "11111111-1111-4111-8111-111111111111"
        rig.create("persistentvolumes", volume_body("data", capacity="3Gi", driver=rig.driver.plan.name, uid=stranger))
        await rig.wait_quiet(0.3)
        assert rig.sizes() == []
        uid = rig.claim()["metadata"]["uid"]
        rig.patch("persistentvolumes", "pv-data", lambda doc: doc["spec"]["claimRef"].update(uid=uid))
        await rig.wait(is_grown(rig), timeout_s=5)
        assert rig.sizes() == [5 * GIB]


async def test_several_drivers_in_one_process(folder):
    """Each driver is asked for its own volumes only; one that is not served is left alone; a late socket joins."""
    plans = [Plan(name=f"{name}.csi.test", node_expansion_required=False) for name in ("one", "two", "late")]
    async with running_rig(folder, *plans) as rig:
        late = rig.drivers[2]
        await rig.withdraw(late)
        for plan in plans:
            for number in range(5):
                rig.seed(f"{plan.name.partition('.')[0]}-{number}", driver=plan.name)
        rig.seed("foreign", driver="foreign.csi.test")
        rig.start()
        await rig.wait(lambda: len(rig.logged("claim.grown")) == 10)
        assert rig.sizes("late-0", late) == []
        await rig.serve(late)
        await rig.wait(lambda: len(rig.logged("claim.grown")) == 15)
        for driver in rig.drivers:
            own = driver.plan.name.partition(".")[0]
            asked = sorted(call.request["volume_id"] for call in driver.calls_of(EXPAND))
            assert asked == [f"h-{own}-{number}" for number in range(5)]
        assert "allocatedResources" not in rig.claim("foreign")["status"]
        events = [e.document() for e in rig.server.store.named("events").objects.values()]
        assert {e["metadata"]["namespace"] for e in events} == {NAMESPACE}
