"""What is known of one claim and its surroundings when somebody asks why it is not growing.

Filled in by whoever can read the cluster (`cli.explain_reader`); only read here. None stands for what could not be
read, which is never taken for "there is none": `unreadable` says why, in the server's words.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from resizer.core.node_wait import NodeDelay, NodeFacts, find_delay
from resizer.core.target import Aim, find_target
from resizer.core.verdict import Rule
from resizer.model.objects import (
    CONTROLLER_RESIZE_INFEASIBLE,
    NODE_RESIZE_ERROR,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    NODE_RESIZE_PENDING,
    RESIZING,
    Attachment,
    Claim,
    Node,
    Pod,
    Volume,
)

SHOWN: Final = 400
"""How much of a foreign text is shown, in characters."""

NODE_STATES: Final = frozenset({NODE_RESIZE_PENDING, NODE_RESIZE_IN_PROGRESS, NODE_RESIZE_INFEASIBLE})


class ClassFacts(Struct, frozen=True):
    """A StorageClass."""

    name: str
    allows_growth: bool
    is_there: bool = True


class DriverObjects(Struct, frozen=True):
    """What the cluster says of a driver: its CSIDriver object, and the nodes whose CSINode lists it."""

    is_declared: bool
    needs_attach: bool = True
    nodes: frozenset[str] | None = None


class Lease(Struct, frozen=True):
    """The lease of a driver's resizer. `renewed_s` in Unix seconds by the holder's clock."""

    namespace: str
    name: str
    holder: str
    renewed_s: float
    duration_s: float


class EventFacts(Struct, frozen=True):
    """An event on the claim. `at_s`: last seen, Unix seconds."""

    type: str
    reason: str
    message: str
    at_s: float
    count: int = 1
    component: str = ""


class Quota(Struct, frozen=True):
    """One storage limit of one ResourceQuota that counts this claim, in bytes."""

    name: str
    resource: str
    hard_bytes: int
    used_bytes: int


class Right(Struct, frozen=True):
    """One answer of an access review: whether `subject` may do this."""

    subject: str
    verb: str
    resource: str
    allowed: bool
    needed_for: str = ""


class Facts(Struct, frozen=True, kw_only=True):
    """Everything an explanation reads. Times in Unix seconds."""

    claim: Claim
    volume: Volume | None
    now_s: float
    storage_class: ClassFacts | None = None
    driver: DriverObjects | None = None
    leases: tuple[Lease, ...] | None = None
    is_secret_there: bool | None = None
    rights: tuple[Right, ...] = ()
    quotas: tuple[Quota, ...] | None = None
    pods: tuple[Pod, ...] | None = None
    attachments: tuple[Attachment, ...] | None = None
    nodes: Mapping[str, Node | None] | None = None
    """Nodes of those pods; None for one that is gone."""
    events: tuple[EventFacts, ...] | None = None
    rules: Sequence[Rule] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def driver_name(self) -> str:
        """The CSI driver of the volume, empty when there is none."""
        return self.volume.driver if self.volume is not None else ""

    @property
    def aim(self) -> Aim | None:
        """Which size is aimed at now, as the controller decides it; None without a volume."""
        return find_target(self.claim, self.volume) if self.volume is not None else None

    @property
    def is_nodes_turn(self) -> bool:
        """Whether the growth waits for the node: by its state, or because the controller would wait for it."""
        return self.claim.state in NODE_STATES or self.aim == "wait-for-node"

    @property
    def is_taken_up(self) -> bool:
        """Whether some controller has recorded an intent for what is asked now."""
        claim = self.claim
        if claim.state == CONTROLLER_RESIZE_INFEASIBLE:
            return claim.allocated_bytes == claim.requested_bytes  # else another size was refused
        return bool(claim.state) or claim.has_condition(RESIZING) or claim.has_condition(NODE_RESIZE_ERROR)

    @property
    def node_delay(self) -> NodeDelay:
        """What keeps the node from growing the claim, as the controller says it too."""
        mode = self.volume.volume_mode if self.volume is not None else "Filesystem"
        return find_delay(self.claim, NodeFacts(self.using_pods(), self.nodes or {}), volume_mode=mode)

    def using_pods(self) -> tuple[Pod, ...] | None:
        """Pods that mount the claim and have not finished."""
        if self.pods is None:
            return None
        return tuple(pod for pod in self.pods if not pod.finished and mounts(pod, self.claim.name))


def mounts(pod: Pod, claim_name: str) -> bool:
    """Whether the pod mounts this claim."""
    return any(mount.claim_name == claim_name for mount in pod.mounts)


def writes(pod: Pod, claim_name: str) -> bool:
    """Whether the pod mounts this claim so that it can be written to: only then does its node grow it."""
    return any(mount.claim_name == claim_name and not mount.read_only for mount in pod.mounts)


def listed(names: Iterable[str], *, most: int = 5) -> str:
    """Write names as one would say them, not more than a few."""
    found = sorted(names)
    shown = ", ".join(found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"
