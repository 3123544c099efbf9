"""The nudge: one annotation on a pod makes its kubelet look at the pod's volumes at once.

A kubelet grows a filesystem at the pod's next sync, up to 82 s away; a changed annotation brings the sync at
once (DESIGN section 2). The annotation `csi-resizer.dev/nudged-at` holds the times of the last nudges, at most
three, comma-separated: they are counted from there, so that a restart does not begin again. All of a pod's claims
that are waiting share one patch. If the API server refuses or drops the annotation, that is said once and no more
nudges are sent.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from resizer.model.errors import ApiError, ForbiddenError, NotFoundError
from resizer.model.objects import NUDGED_AT, Pod
from resizer.model.timestamp import format_micro_time, parse_time
from resizer.pipeline.ports import Clock, Writer

MOST: Final = 3
MOST_PODS: Final = 10_000
GATHER_S: Final = 0.01
"""How long a pod's nudge waits for the pod's other claims, in seconds."""
REQUIRED_RIGHT: Final = 'apiGroups: [""], resources: ["pods/status"], verbs: ["patch"]'

log = structlog.get_logger()


class Nudger:
    """Nudges the kubelets of pods, each pod at most once at a time."""

    def __init__(self, writer: Writer, *, now: Clock, on_refused: Callable[[str], None]) -> None:
        self._writer = writer
        self._now = now
        self._on_refused = on_refused
        self._gathering: dict[str, asyncio.Task[None]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._sent: dict[str, tuple[float, ...]] = {}
        self.refusal = ""
        """Why no more nudges are sent, and which right to add; empty while they are."""

    @property
    def is_refused(self) -> bool:
        """Whether no more nudges are sent."""
        return bool(self.refusal)

    def times_since(self, pod: Pod, since_s: float) -> list[float]:
        """When this pod has been nudged since then: by this process, or by the annotation's word. Unix seconds."""
        return [t for t in self._times(pod) if t >= since_s]

    async def nudge(self, pod: Pod) -> None:
        """Nudge this pod, together with whoever asks for it in the next moment. Never raises."""
        task = self._gathering.get(pod.uid)
        if task is None:
            task = asyncio.create_task(self._send(pod), name=f"nudge-{pod.key}")
            self._gathering[pod.uid] = task
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        # A waiter that is cancelled must not take the others' nudge with it.
        await asyncio.shield(task)

    async def close(self) -> None:
        """Cut off the nudges that are under way: the writer is about to go."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _times(self, pod: Pod) -> list[float]:
        """The last nudges that are known of: our own, of which the cache may lag behind, and another replica's.

        What lies ahead of our clock (it was set back, or another's is fast) is no nudge that has been sent.
        """
        known = {*self._sent.get(pod.uid, ()), *read_times(pod.nudged_at)}
        return sorted(t for t in known if t <= self._now())[-MOST:]

    def _remember(self, pod: Pod, times: tuple[float, ...]) -> None:
        """Keep what was sent, of the newest pods: of the others the annotation tells."""
        self._sent.pop(pod.uid, None)
        self._sent[pod.uid] = times
        while len(self._sent) > MOST_PODS:
            del self._sent[next(iter(self._sent))]

    async def _send(self, pod: Pod) -> None:
        try:
            await asyncio.sleep(GATHER_S)
        finally:
            # Whoever comes from here on was not in time for this one. Not later: by then the entry may be another's.
            del self._gathering[pod.uid]
        if self.is_refused:
            return
        value = ",".join(format_micro_time(t) for t in (*self._times(pod), self._now())[-MOST:])
        self._remember(pod, tuple(read_times(value)))  # as the annotation has them, to the microsecond
        try:
            answer = await self._writer.patch_pod_status(pod, {"metadata": {"annotations": {NUDGED_AT: value}}})
        except ForbiddenError as error:
            self._refuse(f"{error}; add the right: {REQUIRED_RIGHT}")
        except NotFoundError:
            pass  # the pod has gone, and its mount with it
        except ApiError as error:
            log.warning("nudge.failed", pod=pod.key, error=str(error))
        else:
            if answer.nudged_at != value:
                self._refuse("the API server's answer to patching pods/status lacks the annotation")

    def _refuse(self, reason: str) -> None:
        if not self.is_refused:
            self.refusal = reason
            log.warning("nudge.off", reason=reason, consequence="kubelets grow filesystems at their own next sync")
            self._on_refused(reason)


def read_times(annotation: str) -> list[float]:
    """Read the annotation's times, Unix seconds; nonsense (it is written by anybody) counts as none."""
    times = [parse_time(part.strip()) for part in annotation[:256].split(",")]
    return [unix_s for unix_s in times if unix_s > 0][-MOST:]
