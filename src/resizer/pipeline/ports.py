"""What the pipeline needs from outside, and no more: the ports that `kube`, `csi` and `obs` implement.

Ports that touch the network are asynchronous, try once, raise the errors of `resizer.model.errors` only, and
carry their own deadline. The others are plain functions that never block.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

from resizer.model.driver import DriverFacts, Expansion
from resizer.model.objects import Attachment, Claim, Node, Pod, Volume

__all__ = ["DriverFacts", "Expansion"]

JsonObject = dict[str, Any]
EventType = Literal["Normal", "Warning"]


class Objects(Protocol):
    """The cache of claims and volumes. Reading is synchronous; what a write answered is visible at once."""

    def claim(self, key: str) -> Claim | None:
        """Return the claim `namespace/name`, if it exists."""

    def volume(self, name: str) -> Volume | None:
        """Return the volume of this name, if it exists."""

    def claims(self) -> Iterable[Claim]:
        """All claims, a snapshot that later changes do not disturb."""


class Writer(Protocol):
    """The only way to change the API server. Every body is a JSON merge patch that carries the version read.

    The answer of a write (and of a read) goes into the cache before the call returns, and an older watch event
    never takes it back.
    """

    async def patch_claim_status(self, claim: Claim, body: JsonObject) -> Claim:
        """Patch the claim's `status` subresource (labels and annotations pass through it as well)."""

    async def patch_volume(self, volume: Volume, body: JsonObject) -> Volume:
        """Patch the volume."""

    async def patch_pod_status(self, pod: Pod, body: JsonObject) -> Pod:
        """Patch the pod's `status` subresource."""

    async def read_claim(self, key: str) -> Claim | None:
        """Read the claim afresh, past the cache; None when it is gone (the cache then forgets it)."""

    async def read_volume(self, name: str) -> Volume | None:
        """Read the volume afresh, past the cache; None when it is gone (the cache then forgets it)."""


class EventSink(Protocol):
    """Kubernetes events about claims. Never blocks, never fails a resize; bounded, and counts what it drops."""

    def emit(self, claim: Claim, *, type_: EventType, reason: str, message: str, driver: str) -> None:
        """Say it once; the sink aggregates repetitions. `message` is cut to 1,024 characters."""


class SecretReader(Protocol):
    """Secrets, read when needed and never kept."""

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, str]:
        """Return the decoded data of the secret. Values never appear in an error or a log."""


class NamespacePods(Protocol):
    """The pods of one namespace, kept current by a watch while somebody holds it."""

    @property
    def synced(self) -> bool:
        """Whether the first list has been processed."""

    async def wait_synced(self) -> None:
        """Wait until the first list has been processed. Raises ForbiddenError when the right is missing."""

    def pods_of(self, claim_name: str) -> list[Pod]:
        """Pods that mount this claim, in any phase."""

    def pod(self, name: str) -> Pod | None:
        """Return the pod of this name."""


class PodSource(Protocol):
    """Pods, one namespace at a time: listed and watched only while held, shared by all holders."""

    def hold(self, namespace: str) -> NamespacePods:
        """Start (or join) the watch of this namespace. Each `hold` is undone by one `release`."""

    def release(self, namespace: str) -> None:
        """Give one `hold` back; the last one ends the watch, after a short linger."""


class AttachmentSource(Protocol):
    """VolumeAttachments, watched only while held."""

    def hold(self) -> None:
        """Start (or join) the watch."""

    def release(self) -> None:
        """Give one `hold` back."""

    async def wait_synced(self) -> None:
        """Wait until the first list has been processed; to be called while held. Raises ForbiddenError."""

    def attachments_of(self, volume_name: str) -> list[Attachment] | None:
        """Attachments of this volume; None while the first list has not been processed."""


class NodeReader(Protocol):
    """Nodes, read one by one when one of them is late."""

    async def read_node(self, name: str) -> Node | None:
        """Return the node; None when there is none of this name. Raises ApiError, as without the right to nodes."""


class ExpandableVolumePlugin(Protocol):
    """The article's in-tree interface of this name: one implementation for CSI 1.x, one for `csi.v0`."""

    @property
    def facts(self) -> DriverFacts:
        """What the driver said of itself."""

    async def expand_volume_device(
        self, volume: Volume, *, new_size_bytes: int, old_size_bytes: int, secrets: Mapping[str, str]
    ) -> Expansion:
        """Grow the volume on the back-end.

        Raises DriverError with the gRPC code, NotCalledError when the request could not even be formed
        (an access mode that CSI cannot express, an empty handle). The deadline lies in the call itself.
        """

    async def requires_fs_resize(self, volume: Volume) -> bool:
        """Whether the filesystem has to be grown on the node after this driver has grown a volume."""


class LeaseGuard(Protocol):
    """Whether this process may act for a driver right now. Checked in the same step that starts a call."""

    def is_held(self) -> bool:
        """True while the lease is valid by our own monotonic clock (always true when election is off)."""


StageName = Literal["controller-resize", "node-resize", "status-patch"]


class StageTelemetry(Protocol):
    """What the stages tell `obs`. Labels are bounded: driver, stage, outcome, class; never a claim's name."""

    def stage_started(self, *, driver: str, stage: StageName) -> None:
        """One more in flight."""

    def stage_finished(self, *, driver: str, stage: StageName, outcome: str, duration_s: float) -> None:
        """One less in flight; `outcome` is "success", "failure", "conflict" or "cancelled"."""

    def stage_retried(self, *, driver: str, stage: StageName) -> None:
        """The stage is tried again for the same target."""

    def stage_failed(self, *, driver: str, stage: StageName, class_: str) -> None:
        """The stage failed; `class_` is a failure class of `core.verdict` or an API error's class."""


NextRetry = Callable[[], float | None]
"""In how many seconds the earliest claim that waits is tried next; None when none waits."""


class ResizeTelemetry(Protocol):
    """What the claim loop tells `obs` about whole resizes."""

    def resize_phase(self, claim: Claim, *, driver: str, phase: str, class_: str, since: float) -> None:
        """The claim is pending in this phase since `since` (Unix seconds)."""

    def resize_settled(self, claim: Claim, *, driver: str) -> None:
        """The claim is pending no longer, or gone."""

    def resize_finished(
        self, *, driver: str, outcome: str, class_: str, duration_s: Mapping[str, float], grown_bytes: int
    ) -> None:
        """A resize ended; `duration_s` is by phase, with "total" from asked to finished."""

    def follow_retries(self, *, driver: str, next_retry: NextRetry) -> None:
        """Whoever shows when this driver's claims are tried next may ask this, at any time."""


class QueueLoad(Protocol):
    """What a queue can be asked at any time."""

    @property
    def name(self) -> str:
        """Its name: the driver's, if it is one driver's."""

    def depth(self) -> int:
        """How many keys wait for a worker."""

    def ages_s(self) -> list[float]:
        """For how long each key in work has been worked on."""


class QueueTelemetry(Protocol):
    """client-go's workqueue metrics, by their names there."""

    def follow(self, queue: QueueLoad) -> None:
        """This is the queue of its name from now on, and may be asked at any time."""

    def added(self, *, name: str) -> None:
        """A key was added."""

    def taken(self, *, name: str, waited_s: float) -> None:
        """A worker took a key that had waited this long."""

    def done(self, *, name: str, worked_s: float) -> None:
        """A worker finished a key."""

    def retried(self, *, name: str) -> None:
        """A key was added again after a delay."""


class Clock(Protocol):
    """Wall-clock time for timestamps; durations come from the event loop."""

    def __call__(self) -> float:
        """Unix seconds."""
