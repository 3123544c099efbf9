"""What a decision is made from, what it may ask for, and what can come back: the vocabulary of `machine`.

`Snapshot` is what stands in the API server (and the clock); `Memory` is what this process has learnt about one
claim, by uid, and may lose without harm; an `Effect` is the one thing to do next; an `Observation` is what came
of it; `Note`s are said and counted once the step that carries them has been reached.
"""

from typing import Literal

from msgspec import Struct

from resizer.core.node_wait import NodeFacts
from resizer.core.pacing import Limits
from resizer.core.status import JsonObject
from resizer.core.target import Attempt, Target
from resizer.core.verdict import Failure
from resizer.core.wish import NO_WISH, Wish
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.objects import Claim, Volume

Phase = Literal["", "controller-resize", "node-resize"]


class Instant(Struct, frozen=True):
    """Now: wall clock in Unix seconds for timestamps, a monotonic clock for durations, and chance in [0, 1)."""

    wall_s: float
    mono_s: float
    roll: float = 0.0


class Policy(Struct, frozen=True):
    """The settings that decisions depend on."""

    limits: Limits = Limits()
    handle_in_use: bool = True
    repeat_event_s: float = 3600.0
    node_timeout_s: float = 300.0


class Users(Struct, frozen=True):
    """Who uses the volume. None where that could not be found out (no right, no answer in time)."""

    running_pod: bool | None = None
    attached: bool | None = None


class Memory(Struct, frozen=True):
    """What this process remembers of one claim. A new process starts with `Memory()` and ends in the same state."""

    phase: Phase = ""
    target_bytes: int = 0
    asked_wall_s: float = 0.0
    granted_wall_s: float = 0.0
    from_bytes: int = 0
    failures: int = 0
    repeats: int = 0
    """How many of them named a time for the next try."""
    restarts: int = 0
    """Looks in a row that ended in a fresh look, without growth."""
    failure: Failure | None = None
    attempt: Attempt = ""
    """What is known of the last attempt at the recorded target."""
    attempt_before: Attempt = ""
    """The same, as it was before the call under way, should that turn out not to have been made."""
    not_before_s: float = 0.0
    wish: Wish = NO_WISH
    """Requested bytes and `storage-resizer` at the last attempt: a change of either ends a wait."""
    blockers: Users = Users()
    """Who used the volume when the driver said that it must be offline."""
    node_verified_s: float | None = None
    """When a node's refusal was last verified with the controller; monotonic."""
    excused_s: float | None = None
    """When something known last kept the node from growing the claim; monotonic."""
    node_failed: bool = False
    """The node's error that stands in the claim has been counted."""
    said: tuple[tuple[str, float], ...] = ()
    """Event causes and when they were last said; monotonic, the newest ones."""


class Snapshot(Struct, frozen=True):
    """Everything a decision reads."""

    claim: Claim | None
    volume: Volume | None
    driver: DriverFacts
    now: Instant
    users: Users | None = None
    """None until somebody has looked."""


# What can come back.


class Started(Struct, frozen=True, tag=True):
    """A worker took the claim from the queue."""

    is_cleared: bool = False
    """`pre-resize-capacity` was removed just now: if it is there again, somebody wants it there."""


class IntentRecorded(Struct, frozen=True, tag=True):
    """Step 1 is durable (or stood there already)."""

    target: Target
    state: str
    """The state that the claim has to show if the API server knows the recovery fields."""


class Expanded(Struct, frozen=True, tag=True):
    """The driver granted a size."""

    target: Target
    expansion: Expansion
    state: str
    """The claim's state when the driver was called."""


class Failed(Struct, frozen=True, tag=True):
    """The attempt failed, or ended before the driver was called."""

    target: Target
    failure: Failure


class FailureRecorded(Struct, frozen=True, tag=True):
    """What the claim says of the failure is durable."""

    target: Target
    failure: Failure
    delay_s: float


class PendingRecorded(Struct, frozen=True, tag=True):
    """Step 4 is durable: the node has to act."""

    target: Target
    is_verified: bool = False
    """The node had refused the target, and the controller has just confirmed it."""


class FinishRecorded(Struct, frozen=True, tag=True):
    """Step 4 is durable: the growth is finished."""

    target: Target
    capacity_bytes: int
    is_progress: bool = True
    """Whether the claim's size or state is another than before the driver was called."""


class NodeAwaited(Struct, frozen=True, tag=True):
    """The node stage has done what can be done now. `check_after_s`: when to look again, None for never."""

    check_after_s: float | None
    facts: NodeFacts | None = None
    """Where the claim is used, once the node has taken too long."""


Observation = (
    Started | IntentRecorded | Expanded | Failed | FailureRecorded | PendingRecorded | FinishRecorded | NodeAwaited
)


# What may be asked for.


class RecordClaim(Struct, frozen=True, tag=True):
    """Patch the claim's status; when that is durable, go on with `then`."""

    body: JsonObject
    then: Observation


class RecordVolume(Struct, frozen=True, tag=True):
    """Patch the volume; when that is durable, go on with `then`."""

    body: JsonObject
    then: Observation


class CallDriver(Struct, frozen=True, tag=True):
    """Call ControllerExpandVolume for the recorded target."""

    target: Target
    old_size_bytes: int
    state: str


class ObserveUsers(Struct, frozen=True, tag=True):
    """Find out who uses the volume, then go on with the same observation."""


class AwaitNode(Struct, frozen=True, tag=True):
    """Nudge the node if need be. `since_wall_s`: since when the node has been asked, Unix seconds."""

    since_wall_s: float
    is_begun: bool
    """The node is at work already (NodeResizeInProgress): nothing to nudge."""
    late_after_s: float | None = None
    """In how many seconds the node will have taken too long; from 0 down, find out where the claim is used."""


class Settle(Struct, frozen=True, tag=True):
    """Put the claim down. `requeue_after_s`: look again after that, None for not before an event."""

    outcome: Literal["idle", "finished", "waiting-for-node", "retry", "waiting", "unsupported", "restart"]
    requeue_after_s: float | None = None
    reason: str = ""
    is_news: bool = True
    """Whether this is worth a line in the log: not when it ends as the look before did."""


Effect = RecordClaim | RecordVolume | CallDriver | ObserveUsers | AwaitNode | Settle


# What is said and counted.


class Say(Struct, frozen=True, tag=True):
    """A Kubernetes event on the claim."""

    type_: Literal["Normal", "Warning"]
    reason: str
    message: str


class Enter(Struct, frozen=True, tag=True):
    """The claim is pending in this phase since then (Unix seconds)."""

    phase: Phase
    class_: str
    since_wall_s: float


class Leave(Struct, frozen=True, tag=True):
    """The claim is pending no longer."""


class Finish(Struct, frozen=True, tag=True):
    """A growth ended. Durations in seconds by phase, "total" from asked to finished."""

    outcome: Literal["success", "failure"]
    class_: str
    duration_s: dict[str, float]
    grown_bytes: int


class Retry(Struct, frozen=True, tag=True):
    """The driver is asked again for a target it has been asked for before."""


class NodeFailed(Struct, frozen=True, tag=True):
    """The node that this process waits for has failed to grow the filesystem."""


Note = Say | Enter | Leave | Finish | Retry | NodeFailed


class Step(Struct, frozen=True):
    """One decision: what to do, what to remember from now on, what to say."""

    effect: Effect
    memory: Memory
    notes: tuple[Note, ...] = ()
