import asyncio
import os
import shutil

import pytest

from resizer.core.node_label import node_label
from resizer.devcluster.client import PODS
from tests.component.node.rig import GIB, NAMESPACE, running_rig

pytestmark = pytest.mark.skipif(
    shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin") is None, reason="mkfs.ext4 (e2fsprogs) is not here"
)
LABEL = node_label("node-1")


async def test_the_agent_grows_what_the_kubelet_does_not_look_at(folder):
    """From the edit to the real size within a second or so, without the kubelet, and the label is gone in the end.

    The driver's node part is called once with published and staging path; nobody nudges the pod.
    """
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline(), rig.agent():
            asked_s = asyncio.get_running_loop().time()
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
            took_s = asyncio.get_running_loop().time() - asked_s
        assert rig.filesystem_bytes() == 2 * GIB
        assert took_s < 5
        assert len(rig.calls()) == 1
        assert "csi-resizer.dev/nudged-at" not in rig.pod("db")["metadata"].get("annotations", {})
        assert rig.claim()["status"]["allocatedResources"] == {"storage": "2Gi"}
        assert [e["claim"] for e in rig.logged("claim.grown")] == ["default/data"]


async def test_the_label_names_the_node_until_the_agent_comes(folder):
    """The label comes with the hand-over, in one write, and waits for an agent that starts later."""
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline():
            await rig.ask("2Gi")
            await rig.wait(lambda: rig.state() == "NodeResizePending")
            assert rig.labels() == {LABEL}
            assert rig.filesystem_bytes() == GIB
            async with rig.agent():
                await rig.wait(rig.is_grown)
        assert rig.filesystem_bytes() == 2 * GIB


async def test_agent_and_kubelet_together_do_no_harm(folder):
    """Both are told at the same moment: the claim ends grown once, without an error, a label or a second event."""
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline(), rig.agent():
            for number, size in enumerate(("2Gi", "3Gi", "4Gi", "5Gi", "6Gi")):
                await rig.ask(size)
                await rig.wait(lambda: bool(rig.state()))
                body = {"metadata": {"annotations": {"looked-at": str(number)}}}
                await rig.client.patch(PODS, "db", body, namespace=NAMESPACE)
                await rig.wait(lambda size=size: rig.is_grown(size))
                assert rig.node_error() == ""
        assert rig.filesystem_bytes() == 6 * GIB
        assert len(rig.logged("claim.grown")) == 5
        assert rig.logged("worker.bug") == []


async def test_two_pods_on_one_node_are_both_grown(folder):
    """Each published path is handed to the driver, and one last patch ends it."""
    async with running_rig(folder) as rig:
        await rig.make(pods=("db", "backup"), accessModes=["ReadWriteMany"])
        async with rig.pipeline(), rig.agent():
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
        assert len(rig.calls()) == 2
        assert rig.filesystem_bytes(pod="db") == rig.filesystem_bytes(pod="backup") == 2 * GIB


async def test_a_claim_on_several_nodes_is_left_to_the_kubelets(folder):
    """No label is set, the pods are nudged instead, and each node's kubelet grows its own mount."""
    async with running_rig(folder, nodes=("node-1", "node-2")) as rig:
        await rig.make(pods=(), accessModes=["ReadWriteMany"])
        await rig.start_pod("a", "data", node="node-1")
        await rig.start_pod("b", "data", node="node-2")
        async with rig.pipeline(), rig.agent("node-1"), rig.agent("node-2"):
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
            await rig.wait(lambda: len(rig.calls()) >= 2)
        assert rig.logged("agent.looked_at") == []
        for pod in ("a", "b"):
            assert "csi-resizer.dev/nudged-at" in rig.pod(pod)["metadata"]["annotations"]


async def test_a_pod_that_moves_takes_the_label_with_it(folder, monkeypatch):
    """The pod leaves before its agent came: the label goes to the node where the volume is used next, or goes."""
    monkeypatch.setattr("resizer.pipeline.stages.node_resize.LABELS_CHECKED_AFTER_S", 0.1)
    async with running_rig(folder, nodes=("node-1", "node-2")) as rig:
        await rig.make(pods=())
        await rig.start_pod("db", "data", node="node-1")
        async with rig.pipeline():
            await rig.ask("2Gi")
            await rig.wait(lambda: rig.labels() == {LABEL})
            await rig.client.delete(PODS, "db", namespace=NAMESPACE)
            await rig.wait(lambda: rig.labels() == set())
            assert rig.state() == "NodeResizePending"
            # The kubelet that mounts it next grows it while mounting.
            await rig.start_pod("db", "data", node="node-2")
            await rig.wait(rig.is_grown)


async def test_an_agent_hears_of_its_own_claims_only(folder):
    """Claims without its label never reach an agent: nothing of them is in its watch."""
    async with running_rig(folder) as rig:
        await rig.make("data")
        await rig.make("other", pods=())
        async with rig.pipeline(), rig.agent():
            await rig.ask("2Gi", "other")
            await rig.wait(lambda: rig.state("other") == "NodeResizePending")
            assert rig.labels("other") == set()
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
        keys = {entry["claim"] for entry in rig.logged("agent.looked_at")}
        assert keys == {"default/data"}


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0
    or not os.access("/dev/loop-control", os.R_OK | os.W_OK)
    or shutil.which("mkfs.xfs", path="/usr/sbin:/sbin:/usr/bin:/bin") is None,
    reason="needs root, loop devices and mkfs.xfs",
)
async def test_a_mounted_filesystem_is_grown_by_the_agent(folder):
    """The pod's own mount has the new size by statvfs, and a device on the same node by itself, at once."""
    async with running_rig(folder, backend="loop") as rig:
        await rig.make(fs="xfs")
        await rig.make("raw", pods=("raw",), fs="xfs", volumeMode="Block")
        before = rig.filesystem_bytes()
        async with rig.pipeline(), rig.agent():
            await rig.ask("2Gi")
            await rig.ask("2Gi", "raw")
            await rig.wait(lambda: rig.is_grown() and rig.is_grown(name="raw"))
        assert rig.filesystem_bytes() - before >= 0.97 * GIB
        assert rig.filesystem_bytes("raw", "raw") == 2 * GIB
        for pod in ("db", "raw"):
            await rig.client.delete(PODS, pod, namespace=NAMESPACE)
            await rig.wait(lambda pod=pod: rig.pod(pod) is None)
