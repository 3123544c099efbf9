"""What the demo sees while it waits: the cluster's live copies, its warnings, and the driver's answers.

It feeds the timelines of the growths under way and wakes the one who waits. It changes nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from resizer.demo.objects import NAMESPACE, pod_name
from resizer.demo.parts import DemoError
from resizer.demo.timeline import Timeline
from resizer.devcluster.client import EVENTS
from resizer.devcluster.cluster import Cluster

_FATAL = frozenset({"ProvisioningFailed", "FailedMount", "FailedAttachVolume", "VolumeResizeFailed"})
_PASSING = ("FailedPrecondition", "code = ABORTED", "code = UNAVAILABLE")
"""No end: the first is the kubelet's word for a growth that waits for the pod to go, the others are tried again."""

StageReached = Callable[[Timeline, str], None]


class Observer:
    """Watches one cluster for the demo."""

    def __init__(self, cluster: Cluster, *, on_stage: StageReached) -> None:
        self._cluster = cluster
        self._on_stage = on_stage
        self._timelines: dict[str, Timeline] = {}
        self._changed = asyncio.Event()
        self._trouble = ""
        mirrors = cluster.mirrors
        mirrors.claims.subscribe(self._on_claim)
        mirrors.volumes.subscribe(self._on_volume)
        mirrors.pods.subscribe(self._on_pod)

    async def run(self) -> None:
        """Follow the warnings until cancelled."""
        async with contextlib.aclosing(self._cluster.client.watch(EVENTS, namespace=NAMESPACE)) as events:
            async for event in events:
                self._on_event(event.object)

    def follow(self, timeline: Timeline) -> None:
        """Follow a growth, in place of the claim's one before."""
        self._timelines[timeline.claim] = timeline

    def see_answer(self, claim: dict[str, Any]) -> None:
        """Take the answer to an edit: one that changes nothing comes through no watch."""
        now = self._now()
        self._see(claim["metadata"]["name"], lambda timeline: timeline.see_claim(claim, now))

    async def wait_until(self, condition: Callable[[], bool], *, what: str, timeout_s: float) -> None:
        """Wait for a condition that a change in the cluster brings about. DemoError for trouble or at the deadline."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    if self._trouble:
                        raise DemoError(self._trouble)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise DemoError(f"{what} within {timeout_s:g} s; {self._describe_waiting()}") from error

    def _describe_waiting(self) -> str:
        """Where the first growth that is not done stands, for the error's line."""
        for timeline in self._timelines.values():
            if not timeline.is_done:
                state = timeline.node_error or timeline.state or "no state"
                return f"claim {timeline.claim} stands at {list(timeline.times_s)[-1]!r} ({state})"
        return "run it with --keep and look at `kubectl get events`"

    def _see(self, claim: str, see: Callable[[Timeline], bool]) -> None:
        self._changed.set()
        timeline = self._timelines.get(claim)
        if timeline is None:
            return
        before = set(timeline.times_s)
        if see(timeline):
            for stage in timeline.times_s.keys() - before:
                self._on_stage(timeline, stage)

    def _now(self) -> float:
        return time.monotonic()

    def _on_claim(self, key: str) -> None:
        claim, now = self._cluster.mirrors.claims.get(key), self._now()
        if claim is not None:
            self._see(claim["metadata"]["name"], lambda timeline: timeline.see_claim(claim, now))

    def _on_volume(self, key: str) -> None:
        volume, now = self._cluster.mirrors.volumes.get(key), self._now()
        if volume is not None:
            name = volume["spec"].get("claimRef", {}).get("name", "")
            self._see(name, lambda timeline: timeline.see_volume(volume, now))

    def _on_pod(self, key: str) -> None:
        pod, now = self._cluster.mirrors.pods.get(key), self._now()
        self._changed.set()
        for claim in list(self._timelines):
            if pod is not None and key == f"{NAMESPACE}/{pod_name(claim)}":
                self._see(claim, lambda timeline: timeline.see_pod(pod, now))

    def on_driver_call(self, method: str, handle: str) -> None:
        """Take a good answer of the driver."""
        now = self._now()
        for volume in self._cluster.mirrors.volumes.objects.values():
            if volume["spec"].get("csi", {}).get("volumeHandle") == handle:
                name = volume["spec"].get("claimRef", {}).get("name", "")
                self._see(name, lambda timeline: timeline.see_driver(method, now))

    def _on_event(self, event: dict[str, Any]) -> None:
        about = event.get("involvedObject", {})
        message = " ".join(event.get("message", "").split())
        if (
            event.get("type") == "Warning"
            and event.get("reason") in _FATAL
            and not any(word in message for word in _PASSING)
        ):
            kind = {"PersistentVolumeClaim": "claim", "Pod": "pod"}.get(about.get("kind", ""), "object")
            self._trouble = self._trouble or f"{kind} {about.get('namespace')}/{about.get('name')}: {message}"
            self._changed.set()
