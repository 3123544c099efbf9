"""The provisioner, the attacher, the scheduler and the kubelet-like part together, on a scripted driver."""

import asyncio
import contextlib
import hashlib
import json

from resizer.devcluster.client import (
    ATTACHMENTS,
    CLAIMS,
    CSI_NODES,
    EVENTS,
    NODES,
    PODS,
    SECRETS,
    STORAGE_CLASSES,
    VOLUMES,
)
from resizer.devcluster.cluster import Cluster

DRIVER = "scripted.csi.test"


def is_bound(claim):
    return claim is not None and claim.get("status", {}).get("phase") == "Bound"


def is_running(pod):
    return pod is not None and pod.get("status", {}).get("phase") == "Running"


def is_gone(doc):
    return doc is None


async def test_claim_is_bound_to_a_volume_like_the_real_provisioners(tmp_path, scripted_driver, build, wait_until):
    """A Pending claim gets a volume whose fields, secrets' references and binding are the upstream ones."""
    prefix = "csi.storage.k8s.io"
    roles = ("provisioner-secret", "controller-expand-secret", "node-stage-secret", "node-expand-secret")
    parameters = {
        f"{prefix}/{role}-{part}": value for role in roles for part, value in (("name", "s"), ("namespace", "default"))
    }
    parameters |= {f"{prefix}/fstype": "xfs", "tier": "gold"}
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        secret = {"metadata": {"name": "s", "namespace": "default"}, "stringData": {"token": "very-secret"}}
        await client.create(SECRETS, secret)
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER, parameters=parameters))
        await client.create(CLAIMS, build.claim("data", "fast", "3Gi"))
        claim = await wait_until(client, CLAIMS, "data", is_bound, namespace="default")
        volume = await client.get(VOLUMES, claim["spec"]["volumeName"])
    ref = {"name": "s", "namespace": "default"}
    assert claim["status"]["capacity"] == {"storage": "3Gi"}
    assert volume["metadata"]["name"] == f"pvc-{claim['metadata']['uid']}"
    assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    csi = volume["spec"]["csi"]
    assert (csi["driver"], csi["fsType"]) == (DRIVER, "xfs")
    assert csi["controllerExpandSecretRef"] == csi["nodeExpandSecretRef"] == csi["nodeStageSecretRef"] == ref
    (request,) = [request for method, request in scripted_driver.requests if method == "CreateVolume"]
    assert dict(request.secrets) == {"token": "very-secret"}
    assert dict(request.parameters) == {"tier": "gold"}
    assert request.volume_capabilities[0].mount.fs_type == "xfs"


async def test_what_is_listed_says_what_it_is(tmp_path, scripted_driver, build):
    """A list's items carry no kind; the cluster's parts get it all the same: an event about one ended the cluster."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        await cluster.client.create(STORAGE_CLASSES, build.storage_class("fast", "other"))
        (listed,) = (await cluster.client.list(STORAGE_CLASSES)).items
        async with contextlib.aclosing(cluster.client.watch(STORAGE_CLASSES)) as events:
            watched = (await anext(events)).object
    assert [(doc["apiVersion"], doc["kind"]) for doc in (listed, watched)] == [
        ("storage.k8s.io/v1", "StorageClass")
    ] * 2


async def test_pod_runs_with_its_volume_where_a_kubelet_puts_it(tmp_path, scripted_driver, build, wait_until):
    """Staging and publishing paths, both vol_data.json and the attachment are those of a real kubelet."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER))
        await client.create(CLAIMS, build.claim("data", "fast", "3Gi"))
        await client.create(PODS, build.pod("db", "data"))
        pod = await wait_until(client, PODS, "db", is_running, namespace="default")
        claim = await client.get(CLAIMS, "data", namespace="default")
        name = claim["spec"]["volumeName"]
        root = tmp_path / "kubelet/node-1"
        by_method = dict(scripted_driver.requests)
        staging = (
            root / f"plugins/kubernetes.io/csi/{DRIVER}" / hashlib.sha256(name.encode()).hexdigest() / "globalmount"
        )
        target = root / "pods" / pod["metadata"]["uid"] / "volumes/kubernetes.io~csi" / name / "mount"
        assert by_method["NodeStageVolume"].staging_target_path == str(staging)
        assert by_method["NodePublishVolume"].target_path == str(target)
        assert dict(by_method["NodePublishVolume"].publish_context) == {"slot": "7"}
        assert by_method["ControllerPublishVolume"].node_id == "scripted-node"
        attachment = f"csi-{hashlib.sha256(f'{name}{DRIVER}node-1'.encode()).hexdigest()}"
        assert (await client.get(ATTACHMENTS, attachment))["status"]["attached"] is True
        assert json.loads((target.parent / "vol_data.json").read_text()) == {
            "attachmentID": attachment,
            "driverName": DRIVER,
            "nodeName": "node-1",
            "specVolID": name,
            "volumeHandle": name,
            "volumeLifecycleMode": "Persistent",
        }
        note = json.loads((staging.parent / "vol_data.json").read_text())
        assert note == {"driverName": DRIVER, "volumeHandle": name}
        (driver,) = (await client.get(CSI_NODES, "node-1"))["spec"]["drivers"]
        assert (driver["name"], driver["nodeID"]) == (DRIVER, "scripted-node")
        assert (await client.get(NODES, "node-1"))["status"]["nodeInfo"]["kubeletVersion"] == "v1.36.0"


async def test_block_volume_lies_where_a_kubelet_puts_it(tmp_path, scripted_driver, build, wait_until):
    """Block volumes have their own staging, publishing and data paths, and are asked for as block."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER))
        await client.create(CLAIMS, build.claim("data", "fast", "3Gi", volumeMode="Block"))
        await client.create(PODS, build.pod("db", "data"))
        pod = await wait_until(client, PODS, "db", is_running, namespace="default")
        claim = await client.get(CLAIMS, "data", namespace="default")
        name, uid = claim["spec"]["volumeName"], pod["metadata"]["uid"]
        devices = tmp_path / "kubelet/node-1/plugins/kubernetes.io/csi/volumeDevices"
        by_method = dict(scripted_driver.requests)
        assert by_method["NodeStageVolume"].staging_target_path == str(devices / "staging" / name)
        assert by_method["NodePublishVolume"].target_path == str(devices / "publish" / name / uid)
        assert by_method["NodePublishVolume"].volume_capability.WhichOneof("access_type") == "block"
        assert json.loads((devices / name / "data/vol_data.json").read_text())["specVolID"] == name
        link = tmp_path / "kubelet/node-1/pods" / uid / "volumeDevices/kubernetes.io~csi" / name
        assert link.readlink() == devices / "publish" / name / uid
        await client.delete(PODS, "db", namespace="default")
        await wait_until(client, PODS, "db", is_gone, namespace="default")
        assert not link.parent.parent.parent.exists()
        assert not (devices / name).exists()


async def test_everything_is_let_go_in_order(tmp_path, scripted_driver, build, wait_until):
    """A deleted pod's volume is unpublished, unstaged and detached; a deleted claim's volume is then deleted."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER))
        await client.create(CLAIMS, build.claim("data", "fast", "3Gi"))
        await client.create(PODS, build.pod("db", "data"))
        await wait_until(client, PODS, "db", is_running, namespace="default")
        name = (await client.get(CLAIMS, "data", namespace="default"))["spec"]["volumeName"]
        await client.delete(CLAIMS, "data", namespace="default")
        await client.delete(PODS, "db", namespace="default")
        await wait_until(client, VOLUMES, name, is_gone)
        assert (await client.list(PODS)).items == (await client.list(CLAIMS)).items == []
        assert (await client.list(ATTACHMENTS)).items == []
    released = [method for method, _ in scripted_driver.calls if "Un" in method or "Delete" in method]
    assert released == ["NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume", "DeleteVolume"]
    left = [path for path in (tmp_path / "kubelet/node-1/pods").rglob("*") if path.exists()]
    assert left == []


async def test_two_pods_of_a_node_share_one_staging(tmp_path, scripted_driver, build, wait_until):
    """A volume is staged once a node, published for each pod, and unstaged when the last pod has gone."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER))
        await client.create(CLAIMS, build.claim("data", "fast", "3Gi", accessModes=["ReadWriteMany"]))
        for pod in ("one", "two"):
            await client.create(PODS, build.pod(pod, "data"))
            await wait_until(client, PODS, pod, is_running, namespace="default")
        await client.delete(PODS, "one", namespace="default")
        await wait_until(client, PODS, "one", is_gone, namespace="default")
        methods = [method for method, _ in scripted_driver.calls]
        assert (methods.count("NodeStageVolume"), methods.count("NodePublishVolume")) == (1, 2)
        assert "NodeUnstageVolume" not in methods
        await client.delete(PODS, "two", namespace="default")
        await wait_until(client, PODS, "two", is_gone, namespace="default")
        assert [method for method, _ in scripted_driver.calls].count("NodeUnstageVolume") == 1


async def test_pods_are_spread_over_the_nodes(tmp_path, scripted_driver, build, wait_until):
    """Unscheduled pods go to the node with the fewest; a claim that waits for its consumer is bound then."""
    late = {"volumeBindingMode": "WaitForFirstConsumer"}
    nodes = ("node-1", "node-2", "node-3")
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address], nodes=nodes) as cluster:
        client = cluster.client
        await client.create(STORAGE_CLASSES, build.storage_class("late", DRIVER, **late))
        for number in range(3):
            await client.create(CLAIMS, build.claim(f"data-{number}", "late", "3Gi"))
            await client.create(PODS, build.pod(f"db-{number}", f"data-{number}"))
        pods = [await wait_until(client, PODS, f"db-{n}", is_running, namespace="default") for n in range(3)]
        assert {pod["spec"]["nodeName"] for pod in pods} == set(nodes)


async def test_a_class_without_its_secret_is_explained(tmp_path, scripted_driver, build, wait_until):
    """A missing secret holds the claim up with an event that names it, and provisioning goes on when it is there."""
    parameters = {f"csi.storage.k8s.io/provisioner-secret-{k}": v for k, v in (("name", "s"), ("namespace", "default"))}
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER, parameters=parameters))
        await client.create(CLAIMS, build.claim("data", "fast", "3Gi"))
        async with asyncio.timeout(10), contextlib.aclosing(client.watch(EVENTS)) as events:
            event = (await anext(events)).object
        assert event["reason"] == "ProvisioningFailed"
        assert "secret default/s is not there" in event["message"]
        assert scripted_driver.calls == []
        await client.create(SECRETS, {"metadata": {"name": "s", "namespace": "default"}, "stringData": {"a": "b"}})
        await wait_until(client, CLAIMS, "data", is_bound, namespace="default")


async def test_pod_that_comes_back_waits_for_the_detach(tmp_path, scripted_driver, build, wait_until):
    """A pod made again at once is never staged on a volume that is being detached: it is attached again first."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER))
        await client.create(CLAIMS, build.claim("data", "fast", "3Gi"))
        for _ in range(5):
            await client.create(PODS, build.pod("db", "data"))
            await wait_until(client, PODS, "db", is_running, namespace="default")
            await client.delete(PODS, "db", namespace="default")
            await wait_until(client, PODS, "db", is_gone, namespace="default")
    attached = False
    for method, _ in scripted_driver.calls:
        if method in {"ControllerPublishVolume", "ControllerUnpublishVolume"}:
            attached = method == "ControllerPublishVolume"
        elif method.startswith("Node"):
            assert attached, scripted_driver.calls


async def test_generic_ephemeral_volume_lives_with_its_pod(tmp_path, scripted_driver, build, wait_until):
    """The pod's template becomes a claim of the derived name, which goes with the pod, and its volume with it."""
    async with Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address]) as cluster:
        client = cluster.client
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER))
        pod = build.pod("db", "unused")
        template = {"metadata": {"labels": {"a": "b"}}, "spec": build.claim("x", "fast", "3Gi")["spec"]}
        pod["spec"]["volumes"] = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
        await client.create(PODS, pod)
        await wait_until(client, PODS, "db", is_running, namespace="default")
        claim = await client.get(CLAIMS, "db-scratch", namespace="default")
        assert claim["metadata"]["labels"] == {"a": "b"}
        await client.delete(PODS, "db", namespace="default")
        await wait_until(client, VOLUMES, claim["spec"]["volumeName"], is_gone)
        assert (await client.list(CLAIMS)).items == []
