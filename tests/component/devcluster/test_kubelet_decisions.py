"""The kubelet-like part against the 18 recorded cases of a real kubelet 1.36, all at once, on a faster clock.

The recordings were made with the peer as resizer, so a stand-in here does what the peer did: it grows the volume
object, sets NodeResizePending, changes the pod once, and sets NodeResizePending again whenever the node has said
NodeResizeInfeasible. Compared are every state in its order (capacity, allocated, state, conditions with their
messages) and the counts of calls within the recorded 200 s, which are 5 s here.
"""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from resizer.devcluster.client import CLAIMS, PODS, STORAGE_CLASSES, VOLUMES, Client
from resizer.devcluster.cluster import Cluster
from resizer.devcluster.kubelet_growth import KubeletTiming

DRIVER = "scripted.csi.test"
PACE = 40
RECORDED_S = 200
PENDING = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."
CASES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data/kubelet-decisions/cases.jsonl").read_text().splitlines()
]
NAMES = [f"case-{number}" for number in range(len(CASES))]


def condition(type_, message=""):
    at = "2026-01-01T00:00:00Z"
    return {"type": type_, "status": "True", "message": message, "lastTransitionTime": at, "lastProbeTime": None}


class Peer:
    """What the peer did in the recordings, for one claim."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self.verifications = 1

    async def status(self, **status) -> None:
        await self._client.patch_status(CLAIMS, self._name, status, namespace="default")

    async def grow(self, volume: str, *, node_acts: bool) -> None:
        states = {"allocatedResources": {"storage": "2Gi"}}
        await self.status(
            **states,
            allocatedResourceStatuses={"storage": "ControllerResizeInProgress"},
            conditions=[condition("Resizing")],
        )
        await self._client.patch(VOLUMES, volume, {"spec": {"capacity": {"storage": "2Gi"}}})
        if not node_acts:
            done = {
                "metadata": {"annotations": {"volume.kubernetes.io/node-expansion-not-required": "true"}},
                "status": {"capacity": {"storage": "2Gi"}, "allocatedResourceStatuses": None, "conditions": None},
            }
            await self._client.patch(CLAIMS, self._name, done, namespace="default", subresource="status")
            return
        await self.pend([condition("Resizing"), condition("FileSystemResizePending", PENDING)])

    async def pend(self, conditions) -> None:
        await self.status(allocatedResourceStatuses={"storage": "NodeResizePending"}, conditions=conditions)

    async def verify(self, claim) -> None:
        """The node found it infeasible: the controller agrees with the size, so the node's turn comes again."""
        self.verifications += 1
        await self.pend(claim["status"]["conditions"])


def shown(claim):
    """What the recordings keep of a claim."""
    status = claim["status"]
    conditions = [
        f"{one['type']}={one['status']}" + (f": {one['message']}" if one.get("message") else "")
        for one in status.get("conditions", [])
    ]
    return {
        "capacity": status["capacity"]["storage"],
        "allocated": status.get("allocatedResources", {}).get("storage"),
        "state": status.get("allocatedResourceStatuses", {}).get("storage"),
        "conditions": conditions,
    }


async def follow(client: Client, peers: dict, histories: dict, bound: set, ready: asyncio.Event) -> None:
    """Note every state of every claim, and let the peer answer to NodeResizeInfeasible."""
    async with contextlib.aclosing(client.watch(CLAIMS)) as events:
        async for event in events:
            claim, name = event.object, event.object["metadata"]["name"]
            if claim["status"].get("phase") != "Bound":
                continue
            bound.add(name)
            if len(bound) == len(NAMES):
                ready.set()
            state = shown(claim)
            if not histories[name] or histories[name][-1] != state:
                histories[name].append(state)
                if state["state"] == "NodeResizeInfeasible":
                    await peers[name].verify(claim)


async def nudge(client: Client, name: str) -> None:
    body = {"metadata": {"annotations": {"csi-resizer.dev/nudged-at": "now"}}}
    await client.patch(PODS, name, body, namespace="default", subresource="status")


@pytest.fixture
async def outcome(tmp_path, scripted_driver, build, wait_until):
    """Run all cases at once; return the states and the number of calls of each."""
    timing = KubeletTiming(sync_s=1_000, first_backoff_s=0.5 / PACE, max_backoff_s=122 / PACE)
    histories = {name: [] for name in NAMES}
    ready = asyncio.Event()
    async with (
        Cluster.start(state_dir=tmp_path, drivers=[scripted_driver.address], timing=timing) as cluster,
        asyncio.TaskGroup() as group,
    ):
        client = cluster.client
        peers = {name: Peer(client, name) for name in NAMES}
        await client.create(STORAGE_CLASSES, build.storage_class("fast", DRIVER))
        follower = group.create_task(follow(client, peers, histories, set(), ready))
        for name in NAMES:
            await client.create(CLAIMS, build.claim(name, "fast", "1Gi", accessModes=["ReadWriteMany"]))
        async with asyncio.timeout(20):
            await ready.wait()
        volumes = {}
        for name, case in zip(NAMES, CASES, strict=True):
            plan = case["plan"]
            claim = await client.get(CLAIMS, name, namespace="default")
            volumes[name] = claim["spec"]["volumeName"]
            scripted_driver.node_codes[volumes[name]] = plan.get("node_codes", ["OK"])
            for pod in [] if plan.get("late") else [f"{name}-{n}" for n in range(plan.get("pods", 1))]:
                await client.create(PODS, build.pod(pod, name, read_only=plan.get("ro", False)))
                await wait_until(
                    client, PODS, pod, lambda pod: pod and pod["status"]["phase"] == "Running", namespace="default"
                )

        def calls(name: str) -> dict[str, int]:
            node = scripted_driver.count("NodeExpandVolume", volumes[name])
            return {"Cont": peers[name].verifications, "Node": node}

        def is_behind(name: str, case: dict) -> bool:
            is_called = all(calls(name)[kind] >= count for kind, count in case["n_calls"].items())
            return not is_called or len(histories[name]) < len(case["history"])

        started = asyncio.get_running_loop().time()
        for name, case in zip(NAMES, CASES, strict=True):
            await peers[name].grow(volumes[name], node_acts=case["plan"].get("node", True))
            if not case["plan"].get("late"):
                await nudge(client, f"{name}-0")
        for name, case in zip(NAMES, CASES, strict=True):
            if case["plan"].get("late"):
                await client.create(PODS, build.pod(f"{name}-0", name))
        # On a busy machine the last call may come late; one too many would come three seconds after it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                while any(map(is_behind, NAMES, CASES)):  # noqa: ASYNC110 -- the driver is another process
                    await asyncio.sleep(0.05)
        # The recordings' 200 s have to pass: a call too many is only seen by its coming.
        await asyncio.sleep(started + RECORDED_S / PACE - asyncio.get_running_loop().time())
        follower.cancel()
    return histories, {name: calls(name) for name in NAMES}


async def test_every_recorded_case_is_answered_as_by_a_real_kubelet(outcome):
    """States, their order, messages and numbers of calls agree in all 18 cases."""
    histories, calls = outcome
    wrong = []
    for name, case in zip(NAMES, CASES, strict=True):
        recorded = [
            {key: one[key] for key in ("capacity", "allocated", "state", "conditions")} for one in case["history"]
        ]
        if histories[name] != recorded:
            wrong.append((case["case"], "history", histories[name], recorded))
        if calls[name] != case["n_calls"]:
            wrong.append((case["case"], "calls", calls[name], case["n_calls"]))
    assert len(CASES) == 18
    assert wrong == []
