"""A growth from edit to end, on every control plane there is: what the API server stores at each step counts."""

import asyncio

from resizer.devcluster.endpoint import CLAIMS, EVENTS, LEASES, PODS
from resizer.kube.lease import lease_name
from tests.control_plane import ON_EACH_PLANE, REPLICAS
from tests.e2e.rig import HTTP, WITHIN_S, awaits_node, is_grown_to, running_rig
from tests.scripted_driver import Answer, Plan

GIB = 1 << 30
EXPAND = "ControllerExpandVolume"
NUDGED_AT = "csi-resizer.dev/nudged-at"


@ON_EACH_PLANE
async def test_a_claim_is_grown_twice_through_a_failure(tmp_path, plane):
    """300 to 400 to 500, once with an error between: capacity, volume and conditions agree, events tell of it."""
    failing = Plan(
        node_expansion_required=False,
        answers={EXPAND: (Answer(code="INTERNAL", message="back-end busy"), Answer())},
    )
    async with running_rig(tmp_path, failing, plane=plane) as rig:
        await rig.place(size="300Gi")
        process = await rig.start_resizer()
        for size in ("400Gi", "500Gi"):
            await rig.edit(size=size)
            claim = await rig.wait_claim(is_grown_to(size))
            assert claim["status"]["allocatedResources"]["storage"] == size
            assert (await rig.volume())["spec"]["capacity"]["storage"] == size
        assert await rig.stop(process) == 0
        reasons = {event["reason"] for event in (await rig.client.list(EVENTS, namespace="default")).items}
    assert reasons >= {"Resizing", "VolumeResizeFailed", "VolumeResizeSuccessful"}
    asked = [int(call.request["capacity_range"]["required_bytes"]) // GIB for call in rig.driver.calls_of(EXPAND)]
    assert asked == [400, 400, 500]


@ON_EACH_PLANE
async def test_the_nodes_turn_is_handed_over_and_its_kubelet_nudged(tmp_path, plane):
    """NodeResizePending with both conditions, the pod's annotation through its status; nothing left once it is done."""
    async with running_rig(tmp_path, Plan(node_expansion_required=True), plane=plane) as rig:
        await rig.place()
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        spec = {"nodeName": "node-1", "containers": [{"name": "db", "image": "db"}], "volumes": volumes}
        await rig.client.create(PODS, {"metadata": {"name": "db", "namespace": "default"}, "spec": spec})
        await rig.client.patch_status(PODS, "db", {"phase": "Running"}, namespace="default")
        await rig.start_resizer()
        await rig.edit(size="5Gi")
        claim = await rig.wait_claim(awaits_node("5Gi"))
        conditions = {condition["type"] for condition in claim["status"]["conditions"]}
        assert conditions == {"Resizing", "FileSystemResizePending"}
        async with asyncio.timeout(WITHIN_S):
            pod = await rig.client.get(PODS, "db", namespace="default")
            while NUDGED_AT not in pod["metadata"].get("annotations", {}):
                pod = await rig.client.get(PODS, "db", namespace="default")

        done = {"capacity": {"storage": "5Gi"}, "allocatedResourceStatuses": None, "conditions": None}
        await rig.client.patch(CLAIMS, "data", {"status": done}, namespace="default", subresource="status")
        await rig.wait_claim(is_grown_to("5Gi"))


@ON_EACH_PLANE
async def test_a_follower_takes_over_as_the_leader_gets_sigterm(tmp_path, plane):
    """Two replicas, one lease: released on SIGTERM and taken over, and the claim edited then is grown."""
    async with running_rig(tmp_path, plane=plane) as rig:
        await rig.place()
        processes = {}
        for name in REPLICAS:
            processes[name] = await rig.start_resizer(HTTP, "--leader-election", RESIZER_IDENTITY=name)
        for process in processes.values():
            await rig.wait_http(process, "/readyz", 200)
        await rig.until(lambda: any(rig.log_of(p, "group.started") for p in processes.values()), "somebody works")
        leader = next(name for name, process in processes.items() if rig.log_of(process, "group.started"))
        (follower,) = set(REPLICAS) - {leader}
        assert await rig.stop(processes[leader]) == 0
        await rig.edit(size="5Gi")
        await rig.wait_claim(is_grown_to("5Gi"))
        lease = await rig.client.get(LEASES, lease_name(rig.driver.plan.name), namespace="default")
    assert lease["spec"]["holderIdentity"] == follower
    assert len(rig.driver.calls_of(EXPAND)) == 1
