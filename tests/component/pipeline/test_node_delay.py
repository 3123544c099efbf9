"""What is said of a node that takes too long: from the running pipeline's event, metric and log, once each."""

import asyncio

import pytest

from tests.component.pipeline.rig import Document, Rig, is_grown, pod_body, running_rig
from tests.component.pipeline.test_offline import PODS, REQUIRED, limited_kubeconfig
from tests.scripted_driver import Plan

ON_NODE = Plan(node_expansion_required=True)
SHORT = "300ms"
DELAYED = "NodeResizeDelayed"
PENDING_SINCE = "resizer_claim_pending_since_timestamp_seconds{"
CLASS_OF = {"no-pod": "Normal", "read-only": "Warning", "node-not-ready": "Warning", "kubelet-too-old": "Warning"}


async def pending_class(rig: Rig) -> str:
    """The class of the one claim that is pending, empty when none is."""
    _, metrics = await rig.fetch("/metrics")
    found = [line for line in metrics.splitlines() if line.startswith(PENDING_SINCE)]
    return found[0].partition('class="')[2].partition('"')[0] if found else ""


def delays(rig: Rig) -> list[str]:
    return [event for event in rig.events() if event.endswith(DELAYED)]


def fail_node(rig: Rig, *, said: str) -> None:
    """The node's error in the claim's status, as a kubelet leaves it at each of its attempts."""

    def change(document: Document) -> None:
        others = [one for one in document["status"]["conditions"] if one["type"] != "NodeResizeError"]
        error = {"type": "NodeResizeError", "status": "True", "message": said, "lastTransitionTime": None}
        document["status"]["conditions"] = [*others, error]

    rig.patch("persistentvolumeclaims", "data", change, subresource="status")


def node_grows(rig: Rig) -> None:
    """The claim's status as a kubelet leaves it."""
    rig.set_status("data", {"phase": "Bound", "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"]})


def run_reader(rig: Rig) -> None:
    body = pod_body("reader", "data")
    body["spec"]["volumes"][0]["persistentVolumeClaim"]["readOnly"] = True
    rig.create("pods", body)
    rig.patch("pods", "reader", lambda doc: doc["status"].update(phase="Running"), subresource="status")


def add_node(rig: Rig, *, ready: str, version: str) -> None:
    rig.create("nodes", {"metadata": {"name": "node-1"}})
    status: Document = {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": {"kubeletVersion": version}}
    rig.patch("nodes", "node-1", lambda doc: doc.update(status=status), subresource="status")


def keep_without_pod(rig: Rig) -> None:
    del rig


def keep_by_node_down(rig: Rig) -> None:
    add_node(rig, ready="Unknown", version="v1.34.1")
    rig.run_pod("writer")


def keep_by_old_kubelet(rig: Rig) -> None:
    add_node(rig, ready="True", version="v1.31.0")
    rig.run_pod("writer")


@pytest.mark.parametrize(
    ("keep", "class_"),
    [
        (keep_without_pod, "no-pod"),
        (run_reader, "read-only"),
        (keep_by_node_down, "node-not-ready"),
        (keep_by_old_kubelet, "kubelet-too-old"),
    ],
)
async def test_a_late_node_is_explained_once_until_it_grows_the_claim(folder, keep, class_):
    """Event, metric and log line name the cause; later looks do not repeat the event; growth takes the series away."""
    async with running_rig(folder, ON_NODE) as rig:
        rig.seed()
        keep(rig)
        rig.start(node_timeout=SHORT)
        await rig.wait(lambda: bool(delays(rig)))
        assert await pending_class(rig) == class_
        # Two more looks, a second apart, say nothing new.
        await wait_looked_again(rig)
        await wait_looked_again(rig)
        assert delays(rig) == [f"{CLASS_OF[class_]}/{DELAYED}"]
        assert count_of(rig) == 1
        assert len(explained_looks(rig)) == 1
        assert await pending_class(rig) == class_

        node_grows(rig)
        await rig.wait(is_grown(rig))
        await rig.wait(lambda: bool(rig.logged("claim.grown")))
        assert await pending_class(rig) == ""


async def test_waiting_for_a_node_is_one_line_in_the_log(folder):
    """The claim is looked at again when our own patch comes back: nothing is done, and nothing said."""
    async with running_rig(folder, ON_NODE) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.start()
        await rig.wait(lambda: len(rig.logged("claim.looked_at")) == 2)
        levels = [(entry["outcome"], entry["log_level"]) for entry in rig.logged("claim.looked_at")]
        assert levels == [("waiting-for-node", "info"), ("waiting-for-node", "debug")]


async def test_a_node_that_fails_is_counted_however_often_it_says_so(folder):
    """One failure in the metric and in the log when the error appears, none for each of the node's further tries."""
    async with running_rig(folder, ON_NODE) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.start(node_timeout=SHORT)
        await rig.wait(lambda: "Normal/FileSystemResizeRequired" in rig.events())
        assert await node_failures(rig) == 0
        for said in ("first", "second", "third"):
            fail_node(rig, said=said)
            await wait_looked_again(rig)
        assert await node_failures(rig) == 1
        assert [entry["claim"] for entry in rig.logged("claim.node_failed")] == ["default/data"]


async def test_before_its_time_is_over_nothing_is_said(folder):
    """With the usual five minutes a claim without a pod just waits, and no node is read."""
    async with running_rig(folder, ON_NODE) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.start()
        await rig.wait(lambda: "Normal/FileSystemResizeRequired" in rig.events())
        await rig.wait(lambda: bool(rig.logged("claim.looked_at")))
        (state,) = (await rig.debug_state())["claims"]
        assert await pending_class(rig) == "none"
        assert delays(rig) == []
        assert rig.server.audit.count(resource="nodes") == 0
        assert state["next_try"] is not None


async def test_without_the_right_to_nodes_the_rest_is_still_said(folder):
    """Whether the node is ready stays unknown, which is said once; what else is in the way is found all the same."""
    async with running_rig(folder, ON_NODE) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.start(node_timeout=SHORT, kubeconfig=limited_kubeconfig(rig, [*REQUIRED, PODS]))
        await rig.wait(lambda: bool(delays(rig)))
        assert await pending_class(rig) == "nudge-refused"
        assert 'resources: ["pods/status"], verbs: ["patch"]' in rig.event_messages()
        await wait_looked_again(rig)
        assert rig.server.audit.count(resource="nodes") == 1
        assert (await rig.fetch("/readyz"))[0] == 200
        lacks = [entry for entry in rig.logged("right.missing") if entry["resource"] == "nodes"]
        assert len(lacks) == 1
        assert 'resources: ["nodes"], verbs: ["get"]' in lacks[0]["next"]


async def wait_looked_again(rig: Rig) -> None:
    """One more look has ended: the time of the next one has moved on."""
    before = await next_try(rig)
    async with asyncio.timeout(10):
        # The program's own endpoint is asked: nobody tells of a look that changes nothing.
        while await next_try(rig) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def next_try(rig: Rig) -> float:
    (state,) = (await rig.debug_state())["claims"]
    at: float = state["next_try"]
    return at


async def node_failures(rig: Rig) -> int:
    """Failures of the stage node-resize, of every class."""
    _, metrics = await rig.fetch("/metrics")
    found = [line for line in metrics.splitlines() if line.startswith("resizer_stage_failures_total{")]
    return round(sum(float(line.rpartition(" ")[2]) for line in found if 'stage="node-resize"' in line))


def explained_looks(rig: Rig) -> list[object]:
    """Looks whose log line has the event's own words as the reason."""
    messages = rig.event_messages()
    return [look for look in rig.logged("claim.looked_at") if look["reason"] and look["reason"] in messages]


def count_of(rig: Rig) -> int:
    """How often the event was said, repetitions counted."""
    docs = [version.document() for version in rig.server.store.named("events").objects.values()]
    mine = [doc for doc in docs if doc["reason"] == DELAYED]
    return sum((doc.get("series") or {}).get("count") or doc.get("count") or 1 for doc in mine)
