"""What the recordings do not show of the kubelet-like part: syncs without a nudge, pods that come back, many nodes."""

import asyncio
import contextlib

from resizer.devcluster.client import CLAIMS, EVENTS, PODS, STORAGE_CLASSES, VOLUMES
from resizer.devcluster.cluster import Cluster
from resizer.devcluster.kubelet_growth import KubeletTiming

DRIVER = "scripted.csi.test"


def is_running(pod):
    return pod is not None and pod.get("status", {}).get("phase") == "Running"


def is_grown(claim):
    status = claim["status"] if claim else {}
    return status.get("capacity") == {"storage": "2Gi"} and "allocatedResourceStatuses" not in status


def has_node_error(claim):
    return claim is not None and any(one["type"] == "NodeResizeError" for one in claim["status"].get("conditions", []))


async def make_pending(client, name):
    """Leave claim and volume as the resizer does when the node has to act; return the volume's name."""
    claim = await client.get(CLAIMS, name, namespace="default")
    volume = claim["spec"]["volumeName"]
    await client.patch(VOLUMES, volume, {"spec": {"capacity": {"storage": "2Gi"}}})
    foreign = {"type": "example.com/Checked", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {
        "allocatedResources": {"storage": "2Gi"},
        "allocatedResourceStatuses": {"storage": "NodeResizePending"},
        "conditions": [foreign, {**foreign, "type": "Resizing"}, {**foreign, "type": "FileSystemResizePending"}],
    }
    await client.patch_status(CLAIMS, name, status, namespace="default")
    return volume


async def start_pod(cluster, build, wait_until, *, pod="db", **more):
    client = cluster.client
    await client.create(PODS, build.pod(pod, "data", **more))
    return await wait_until(client, PODS, pod, is_running, namespace="default")


async def prepare(cluster, build, **spec):
    await cluster.client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER))
    await cluster.client.create(CLAIMS, build.claim("data", "fast", "1Gi", **spec))


async def test_growth_is_noticed_at_the_next_sync_without_a_nudge(tmp_path, scripted_driver, build, wait_until):
    """Nobody nudges: the pod's own sync finds the growth, not earlier, and foreign conditions are kept."""
    timing = KubeletTiming(sync_s=1.0)
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address], timing=timing) as cluster:
        await prepare(cluster, build)
        await start_pod(cluster, build, wait_until)
        started = asyncio.get_running_loop().time()
        await make_pending(cluster.client, "data")
        claim = await wait_until(cluster.client, CLAIMS, "data", is_grown, namespace="default")
        took_s = asyncio.get_running_loop().time() - started
    assert 0.5 < took_s < 3
    assert [one["type"] for one in claim["status"]["conditions"]] == ["example.com/Checked"]
    assert claim["status"]["allocatedResources"] == {"storage": "2Gi"}
    (request,) = [request for method, request in scripted_driver.requests if method == "NodeExpandVolume"]
    assert request.capacity_range.required_bytes == 2 << 30
    assert request.volume_path.endswith("/mount")
    assert request.staging_target_path.endswith("/globalmount")


async def test_refusal_because_of_use_ends_with_the_pod(tmp_path, scripted_driver, build, wait_until):
    """After FAILED_PRECONDITION nothing is tried again until the pod goes; the next pod's mounting grows it."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await prepare(cluster, build)
        await start_pod(cluster, build, wait_until)
        volume = await make_pending(client, "data")
        scripted_driver.node_codes[volume] = ["FAILED_PRECONDITION", "OK"]
        await client.patch(PODS, "db", {"metadata": {"annotations": {"nudge": "1"}}}, namespace="default")
        await wait_until(client, CLAIMS, "data", has_node_error, namespace="default")
        await client.patch(PODS, "db", {"metadata": {"annotations": {"nudge": "2"}}}, namespace="default")
        await client.delete(PODS, "db", namespace="default")
        await wait_until(client, PODS, "db", lambda pod: pod is None, namespace="default")
        assert scripted_driver.count("NodeExpandVolume", volume) == 1
        await start_pod(cluster, build, wait_until, pod="db-again")
        claim = await wait_until(client, CLAIMS, "data", is_grown, namespace="default")
        assert not has_node_error(claim)
        assert scripted_driver.count("NodeExpandVolume", volume) == 2


async def test_every_node_grows_its_own_mount_of_a_shared_volume(tmp_path, scripted_driver, build, wait_until):
    """The first node finishes the claim, the others still grow theirs when nudged, and leave the claim alone."""
    nodes = ("node-1", "node-2", "node-3")
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address], nodes=nodes) as cluster:
        client = cluster.client
        await prepare(cluster, build, accessModes=["ReadWriteMany"])
        for node in nodes:
            await start_pod(cluster, build, wait_until, pod=f"db-{node}", node=node)
        volume = await make_pending(client, "data")
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                body = {"metadata": {"annotations": {"nudge": "1"}}}
                group.create_task(client.patch(PODS, f"db-{node}", body, namespace="default"))
        await wait_until(client, CLAIMS, "data", is_grown, namespace="default")
        async with asyncio.timeout(10):
            while scripted_driver.count("NodeExpandVolume", volume) < 3:
                await client.get(CLAIMS, "data", namespace="default")  # the driver has no signal; each turn is a call
        paths = {
            r.staging_target_path.split("/kubelet/")[1].split("/")[0]
            for m, r in scripted_driver.requests
            if m == "NodeExpandVolume"
        }
        assert paths == set(nodes)
        published = [r.node_id for m, r in scripted_driver.requests if m == "ControllerPublishVolume"]
        assert sorted(published) == sorted(nodes)


async def test_success_is_told_in_an_event(tmp_path, scripted_driver, build, wait_until):
    """`kubectl describe pvc` shows that the node has grown the filesystem."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await prepare(cluster, build)
        await start_pod(cluster, build, wait_until)
        await make_pending(client, "data")
        await client.patch(PODS, "db", {"metadata": {"annotations": {"nudge": "1"}}}, namespace="default")
        async with asyncio.timeout(10), contextlib.aclosing(client.watch(EVENTS)) as events:
            async for event in events:
                if event.object["reason"] == "FileSystemResizeSuccessful":
                    break
        assert event.object["involvedObject"]["name"] == "data"
