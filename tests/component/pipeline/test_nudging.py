"""The nudge as kubelets feel it: who is nudged, how often, and what it costs the API server.

`Nodes` stands in for the kubelets: at a pod's nudge, and at no other time, it takes the pod's claims that wait for
their node through NodeResizeInProgress to the end, as a kubelet was recorded to do.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from resizer.devcluster.client import PODS as API_PODS
from tests.component.node.rig import running_rig as running_cluster
from tests.component.pipeline.rig import GIB, NAMESPACE, Document, Rig, is_grown, pod_body, running_rig
from tests.component.pipeline.test_offline import PODS, REQUIRED, limited_kubeconfig
from tests.scripted_driver import Answer, Plan

NUDGED_AT = "csi-resizer.dev/nudged-at"
ON_NODE = Plan(node_expansion_required=True)
EXPAND = "ControllerExpandVolume"


class Nodes:
    """Kubelets of all nodes but those that are `gone`; `calls` are the (pod, claim) that one was asked to grow."""

    def __init__(self, rig: Rig, gone: tuple[str, ...]) -> None:
        self.calls: list[tuple[str, str]] = []
        self._rig = rig
        self._gone = gone
        self._pods = rig.server.store.named("pods")
        self._changed = asyncio.Event()
        self._seen = self._pods.end

    async def run(self) -> None:
        self._pods.listeners.add(self._changed.set)
        while True:
            await self._changed.wait()
            self._changed.clear()
            changes = self._pods.changes_from(self._seen)
            self._seen = self._pods.end
            for change in changes:
                pod = change.current.document()
                before = change.previous.document() if change.previous else {"metadata": {}}
                if nudges(pod) != nudges(before) and pod["spec"]["nodeName"] not in self._gone:
                    self._sync(pod)

    def _sync(self, pod: Document) -> None:
        """What a kubelet does once it looks at the pod's volumes."""
        for volume in pod["spec"]["volumes"]:
            source = volume.get("persistentVolumeClaim", {"claimName": f"{pod['metadata']['name']}-{volume['name']}"})
            if not source.get("readOnly"):
                self.grow(pod["metadata"]["name"], source["claimName"])

    def grow(self, pod: str, claim: str) -> None:
        if state(self._rig, claim) != "NodeResizePending":
            return
        self.calls.append((pod, claim))

        def begin(doc: Document) -> None:
            doc["status"]["allocatedResourceStatuses"]["storage"] = "NodeResizeInProgress"

        def finish(doc: Document) -> None:
            doc["status"]["capacity"]["storage"] = doc["status"]["allocatedResources"]["storage"]
            del doc["status"]["allocatedResourceStatuses"], doc["status"]["conditions"]

        self._rig.patch("persistentvolumeclaims", claim, begin, subresource="status")
        self._rig.patch("persistentvolumeclaims", claim, finish, subresource="status")


@contextlib.asynccontextmanager
async def nodes_of(rig: Rig, *, gone: tuple[str, ...] = ()) -> AsyncIterator[Nodes]:
    nodes = Nodes(rig, gone)
    task = asyncio.create_task(nodes.run())
    try:
        yield nodes
        assert not task.done(), task.exception()
    finally:
        task.cancel()


def state(rig: Rig, name: str = "data") -> str:
    return str(rig.claim(name)["status"].get("allocatedResourceStatuses", {}).get("storage", ""))


def nudges(pod: Document) -> list[str]:
    """The times on the pod's annotation."""
    return [t for t in pod["metadata"].get("annotations", {}).get(NUDGED_AT, "").split(",") if t]


def pod_of(rig: Rig, name: str) -> Document:
    pod = rig.get("pods", name)
    assert pod is not None
    return pod


def run_pod(rig: Rig, body: Document) -> None:
    """Have this pod run."""
    rig.create("pods", body)
    name = body["metadata"]["name"]
    rig.patch("pods", name, lambda doc: doc["status"].update(phase="Running"), subresource="status")


def patched(rig: Rig) -> list[str]:
    """Names of the pods that somebody tried to patch, one a patch."""
    return sorted(r.name for r in rig.server.audit.select(verb="patch", resource="pods", subresource="status"))


def opened(rig: Rig) -> list[str]:
    """Lists and watches of pods that the resizer has asked for."""
    mine = (r for r in rig.server.audit.select(resource="pods") if r.user_agent.startswith("resizer/"))
    return [f"{r.verb} {r.namespace}" for r in mine if r.verb in ("list", "watch")]


@pytest.mark.soak
async def test_five_hundred_claims_at_once_cost_one_watch_and_one_nudge_a_pod(folder, capsys):
    """At most two lists and watches for the whole namespace, one nudge a pod, and each one works."""
    names = [f"data-{i}" for i in range(500)]
    async with running_rig(folder, ON_NODE) as rig, nodes_of(rig) as nodes:
        for name in names:
            rig.seed(name, requested="3Gi")
            rig.run_pod(f"pod-{name}", name)
        rig.start()
        await rig.wait(lambda: bool(rig.logged("group.started")))
        began_s = asyncio.get_running_loop().time()
        for name in names:
            rig.ask("5Gi", name)
        # Looked at cheaply on each of thousands of changes, then with care.
        await rig.wait(lambda: len(nodes.calls) >= len(names), timeout_s=60)
        await rig.wait(lambda: all(is_grown(rig, name=name)() for name in names), timeout_s=60)
        took_s = asyncio.get_running_loop().time() - began_s
        assert patched(rig) == sorted(f"pod-{name}" for name in names)
        assert sorted(nodes.calls) == sorted((f"pod-{name}", name) for name in names)
        assert all(len(nudges(pod_of(rig, f"pod-{name}"))) == 1 for name in names)
        counted = opened(rig)
    assert 1 <= len(counted) <= 2
    assert all(one.endswith(" default") for one in counted)
    with capsys.disabled():
        print(f"\n500 claims in {took_s:.2f} s; pods opened: {counted}; nudges: {len(nodes.calls)}")  # noqa: T201  # the figures


@pytest.mark.parametrize("gone", [False, True], ids=["all-there", "one-gone"])
async def test_the_pods_of_a_shared_claim_are_nudged_at_the_same_moment(folder, gone):
    """ReadWriteMany on three nodes: one nudge a pod, all in one second; a node that is gone holds nothing up.

    The first node's kubelet finishes the claim, and every node that is there grows its own mount.
    """
    there = ("node-1", "node-2") if gone else ("node-1", "node-2", "node-3")
    async with running_cluster(folder, nodes=there) as rig:
        await rig.make(pods=(), accessModes=["ReadWriteMany"])
        for node in there:
            await rig.start_pod(f"on-{node}", "data", node=node)
        if gone:
            body = pod_body("on-node-3", "data")
            await rig.client.create(API_PODS, {**body, "spec": {**body["spec"], "nodeName": "node-3"}})
            await rig.client.patch_status(API_PODS, "on-node-3", {"phase": "Running"}, namespace=NAMESPACE)
        async with rig.pipeline(node_mode="kubelet"):
            began_s = asyncio.get_running_loop().time()
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
            took_s = asyncio.get_running_loop().time() - began_s
            await rig.wait(lambda: len(rig.calls()) == len(there))
            await rig.wait(lambda: all(nudges(rig.pod(f"on-node-{i}")) for i in (1, 2, 3)))
        times = [nudges(rig.pod(f"on-node-{i}")) for i in (1, 2, 3)]
        size_bytes = rig.filesystem_bytes(pod="on-node-1")
    assert [len(one) for one in times] == [1, 1, 1]
    seconds = [datetime.fromisoformat(one).timestamp() for (one,) in times]
    assert max(seconds) - min(seconds) < 1
    assert size_bytes == 2 * GIB
    assert took_s < 3


async def test_one_nudge_does_for_all_claims_of_a_pod(folder):
    """Ten claims of one pod become pending together: one patch, and all ten are grown by it."""
    names = [f"data-{i}" for i in range(10)]
    plan = Plan(node_expansion_required=True, answers={EXPAND: (Answer(hang=True),)})
    async with running_rig(folder, plan) as rig, nodes_of(rig) as nodes:
        for name in names:
            rig.seed(name)
        run_pod(rig, with_volumes("db", [{"persistentVolumeClaim": {"claimName": name}} for name in names]))
        rig.start()
        await rig.driver.wait_calls(EXPAND, len(names))
        rig.driver.release(EXPAND)
        await rig.wait(lambda: all(is_grown(rig, name=name)() for name in names), timeout_s=4)
        assert patched(rig) == ["db"]
        assert sorted(nodes.calls) == [("db", name) for name in names]


async def test_a_pod_that_only_reads_is_not_nudged(folder):
    """A kubelet grows nothing where the pod's volume is read-only: the writer is nudged, the reader left alone."""
    async with running_rig(folder, ON_NODE) as rig, nodes_of(rig) as nodes:
        rig.seed()
        run_pod(rig, with_volumes("reader", [{"persistentVolumeClaim": {"claimName": "data", "readOnly": True}}]))
        rig.run_pod("writer")
        rig.start()
        await rig.wait(is_grown(rig), timeout_s=4)
        await rig.wait_quiet(0.3)
        assert patched(rig) == ["writer"]
        assert nodes.calls == [("writer", "data")]


async def test_the_pod_of_an_ephemeral_volume_is_nudged(folder):
    """The claim of a generic ephemeral volume is grown at its pod's nudge, though no pod names the claim."""
    async with running_rig(folder, ON_NODE) as rig, nodes_of(rig) as nodes:
        rig.seed("batch-v0")
        rig.run_pod("stranger", "other")
        run_pod(rig, with_volumes("batch", [{"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]))
        rig.start()
        await rig.wait(is_grown(rig, name="batch-v0"), timeout_s=4)
        assert patched(rig) == ["batch"]
        assert nodes.calls == [("batch", "batch-v0")]


async def test_without_the_right_the_kubelets_own_sync_grows(folder):
    """A forbidden nudge is said once, with the right to add; growth goes on when the kubelet looks by itself."""
    async with running_rig(folder, ON_NODE) as rig, nodes_of(rig) as nodes:
        for name in ("one", "two", "three"):
            rig.seed(name)
            rig.run_pod(f"pod-{name}", name)
        rig.start(kubeconfig=limited_kubeconfig(rig, [*REQUIRED, PODS]))
        await rig.wait(lambda: all(state(rig, name) == "NodeResizePending" for name in ("one", "two", "three")))
        await rig.wait(lambda: bool(rig.logged("nudge.off")))
        for name in ("one", "two", "three"):
            nodes.grow(f"pod-{name}", name)
            await rig.wait(is_grown(rig, name=name))
        rig.ask("6Gi", "one")
        await rig.wait(lambda: state(rig, "one") == "NodeResizePending")
        tried = len(patched(rig))
        nodes.grow("pod-one", "one")
        await rig.wait(is_grown(rig, "6Gi", "one"))
        (said,) = rig.logged("nudge.off")
        assert 'resources: ["pods/status"], verbs: ["patch"]' in said["reason"]
        assert rig.sizes("one") == [5 * GIB, 6 * GIB]
        assert 1 <= tried <= 3
        assert all(nudges(pod_of(rig, f"pod-{name}")) == [] for name in ("one", "two", "three"))
        assert len((await rig.debug_state())["nudge"]["refused"]) == 1
        assert (await rig.fetch("/readyz"))[0] == 200
        assert len(patched(rig)) == tried


async def test_with_nudging_off_no_pod_is_looked_at(folder):
    """Who turns nudging off waits as with the peer, and pods are neither listed nor watched for it."""
    async with running_rig(folder, ON_NODE) as rig, nodes_of(rig) as nodes:
        rig.seed()
        rig.run_pod("writer")
        rig.start(nudge=False)
        await rig.wait(lambda: state(rig) == "NodeResizePending")
        nodes.grow("writer", "data")
        await rig.wait(lambda: bool(rig.logged("claim.grown")))
        assert is_grown(rig)()
        assert opened(rig) == []


def with_volumes(name: str, sources: list[Document]) -> Document:
    """A pod of one container that mounts these volumes, `v0` and so on."""
    body = pod_body(name, "")
    body["spec"]["volumes"] = [{"name": f"v{i}", **source} for i, source in enumerate(sources)]
    mounts = [{"name": f"v{i}", "mountPath": f"/v{i}"} for i in range(len(sources))]
    body["spec"]["containers"][0]["volumeMounts"] = mounts
    return body
