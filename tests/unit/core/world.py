"""A world small enough to search whole: what stands where, and what others than the process do to it.

A `World` is one frozen state: the claim and the volume on the server, the back-end, a process and its cache. Here are
the user's edits, the node at work, the back-end that is late, the watch, crashes and starts; `steps` has what the
process does, `laws` what has to hold.

What is left out keeps the space finite and changes no decision: time is "before" or "after" a wait, texts and
transition times are constants, versions say only whether a copy is the newest.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from resizer.core.pacing import Limits
from resizer.core.state import (
    CallDriver,
    Instant,
    Memory,
    Observation,
    Policy,
    Started,
    Step,
    Users,
)
from resizer.core.triggers import find_trigger, wants_attention
from resizer.core.verdict import Failure
from resizer.model.driver import DriverFacts
from resizer.model.objects import (
    NODE_RESIZE_ERROR,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    NODE_RESIZE_PENDING,
    RESIZE_CONDITIONS,
    Claim,
    Condition,
    Volume,
)
from tests.parity.simulation import EPOCH_S

NOW = Instant(EPOCH_S, 1_000_000.0)
POLICY = Policy(Limits())
TIME = "2026-09-21T14:13:20Z"
CURRENT, OLD = "1", "0"
PAST = -POLICY.limits.retry_max_s
AT_WORK = (NODE_RESIZE_PENDING, NODE_RESIZE_IN_PROGRESS)

Timer = Literal["none", "now", "later", "later, the API server was away"]
AWAY: Timer = "later, the API server was away"

FAILURES = (
    Failure("internal", "final", "x", "INTERNAL"),
    Failure("infeasible", "final", "x", "OUT_OF_RANGE"),
    Failure("transient", "uncertain", "x", "UNAVAILABLE"),
    Failure("offline-required", "final", "x", "FAILED_PRECONDITION"),
    Failure("rate-limited", "uncertain", "x", "RESOURCE_EXHAUSTED", retry_after_s=900),
    Failure("not-called", "unchanged", "x"),
)
USERS = (Users(running_pod=True), Users(running_pod=False))


class BrokenLawError(AssertionError):
    """A law of section 5 does not hold here."""


class Process(Struct, frozen=True, cache_hash=True, gc=False):
    """What a process knows: its memory, its cache, and where in the loop it stands."""

    memory: Memory
    claim: Claim
    volume: Volume
    at: Observation | CallDriver | None = None
    """The observation to decide next, the call in flight, or None at rest."""
    users: Users | None = None
    resume: Observation | None = None
    dirty: bool = False
    timer: Timer = "none"
    is_current: bool = True
    """Whether it has read or written the claim itself, so that its copy is no older than its own work."""


class Budget(Struct, frozen=True, cache_hash=True, gc=False):
    """How often each kind of trouble may still come. Without a bound no path would have to end."""

    edits: int = 1
    crashes: int = 1
    faults: int = 1


class World(Struct, frozen=True, cache_hash=True, gc=False):
    """One state of everything."""

    claim: Claim
    volume: Volume
    backend: int
    late: int
    """A size that the back-end may yet grow to by itself, after an attempt with an unknown outcome."""
    process: Process | None
    unknown: int
    """The target whose outcome nobody knows; 0 for none."""
    budget: Budget
    is_sound: bool
    """Whether the starting state is one that a resize leaves behind, not one that only a hand could write."""
    lagging: tuple[Claim, Volume] | None = None
    """What a follower's watch has seen, which stopped there: the next process may begin with it."""


class Setting(NamedTuple):
    """What stays the same through one search."""

    driver: DriverFacts
    node_required: bool
    sizes: tuple[int, ...]
    followers: bool
    """Whether a process may begin with a cache that lags behind."""
    reads_afresh: bool
    """Whether the claim loop reads the claim itself before its first call for a target that it has not recorded."""
    steps: dict[tuple[Any, ...], Step]


def setting(
    *, controller: bool, node: bool, sizes: tuple[int, ...], followers: bool = False, reads_afresh: bool = True
) -> Setting:
    facts = DriverFacts("d", controller_expansion=controller)
    return Setting(facts, node or not controller, sizes, followers, reads_afresh, {})


def new_claim(requested: int, capacity: int, allocated: int | None, state: str) -> Claim:
    return Claim(
        "n",
        "c",
        "u",
        CURRENT,
        phase="Bound",
        volume_name="v",
        requested=str(requested),
        capacity=str(capacity),
        allocated="" if allocated is None else str(allocated),
        state=state,
    )


def new_volume(capacity: int) -> Volume:
    return Volume(
        "v", "vu", CURRENT, str(capacity), claim_namespace="n", claim_name="c", claim_uid="u", driver="d", handle="h"
    )


def begin(claim: Claim, volume: Volume, budget: Budget, options: Setting) -> World:
    """A starting state: no process yet. What stands as ControllerResizeInProgress was begun by somebody."""
    begun = claim.state == "ControllerResizeInProgress" and claim.allocated_bytes >= claim.capacity_bytes
    is_open = begun and bool(claim.allocated) and options.driver.controller_expansion
    unknown = claim.allocated_bytes if is_open else 0
    return World(claim, volume, volume.capacity_bytes, unknown, None, unknown, budget, is_sound(claim, volume, options))


def is_sound(claim: Claim, volume: Volume, options: Setting) -> bool:
    """Whether a target above the claim's size stands wherever something is under way, and nodes wait for a volume."""
    is_at_node = claim.state in (*AT_WORK, NODE_RESIZE_INFEASIBLE)
    if volume.capacity_bytes < max(claim.capacity_bytes, claim.allocated_bytes if is_at_node else 0):
        return False
    if not options.driver.controller_expansion and volume.capacity_bytes > max(
        claim.capacity_bytes, claim.allocated_bytes
    ):
        return False  # nobody has granted such a volume
    if claim.state:
        return claim.allocated_bytes > claim.capacity_bytes
    return not claim.allocated or claim.allocated_bytes <= claim.capacity_bytes == volume.capacity_bytes


def with_claim(world: World, claim: Claim) -> World:
    """The claim changes on the server: every copy of it is old from now on."""
    process = world.process
    if process is not None and process.claim.version != OLD:
        process = replace(process, claim=replace(process.claim, version=OLD))
    return replace(world, claim=replace(claim, version=CURRENT), process=process)


def with_volume(world: World, volume: Volume) -> World:
    """The volume changes on the server: every copy of it is old from now on."""
    process = world.process
    if process is not None and process.volume.version != OLD:
        process = replace(process, volume=replace(process.volume, version=OLD))
    return replace(world, volume=replace(volume, version=CURRENT), process=process)


def edits(world: World, sizes: tuple[int, ...]) -> Iterator[World]:
    """The user asks for another size; the API server refuses less than the claim has."""
    if world.budget.edits:
        spent = replace(world, budget=replace(world.budget, edits=world.budget.edits - 1))
        for size in sizes:
            if size >= world.claim.capacity_bytes and size != world.claim.requested_bytes:
                yield with_claim(spent, replace(world.claim, requested=str(size)))


def node_grows(world: World) -> World | None:
    """The node finishes: the claim has the volume's size. It acts only where the volume is larger."""
    claim, volume = world.claim, world.volume
    if claim.state not in AT_WORK or volume.capacity_bytes <= claim.capacity_bytes:
        return None
    kept = tuple(c for c in claim.conditions if c.type not in RESIZE_CONDITIONS)
    return replace(with_claim(world, replace(claim, capacity=volume.capacity, state="", conditions=kept)), unknown=0)


def node_moves(world: World) -> Iterator[World]:
    """What the node may do: begin, finish, refuse for good."""
    grown = node_grows(world)
    if grown is None:
        return
    yield grown
    claim = world.claim
    if claim.state == NODE_RESIZE_PENDING:
        yield with_claim(world, replace(claim, state=NODE_RESIZE_IN_PROGRESS))
    if world.budget.faults:
        kept = tuple(c for c in claim.conditions if c.type != NODE_RESIZE_ERROR)
        error = Condition(NODE_RESIZE_ERROR, "True", last_transition_time=TIME)
        conditions = tuple(sorted((*kept, error), key=lambda c: c.type))
        refused = replace(claim, state=NODE_RESIZE_INFEASIBLE, conditions=conditions)
        yield spend_fault(with_claim(world, refused))


def spend_fault(world: World) -> World:
    return replace(world, budget=replace(world.budget, faults=world.budget.faults - 1))


def late_growth(world: World) -> World | None:
    """The back-end finishes what an earlier attempt left behind."""
    return replace(world, backend=max(world.backend, world.late), late=0) if world.late else None


def crash(world: World, options: Setting) -> World:
    """The process dies. A call in flight may still reach the back-end; what only it knew is lost."""
    process = world.process
    assert process is not None
    late, unknown = world.late, world.unknown
    if isinstance(process.at, CallDriver):
        late = unknown = process.at.target.size_bytes
    if unknown and not is_bound_by_records(world.claim, options):
        unknown = 0
    return replace(world, process=None, late=late, unknown=unknown)


def is_bound_by_records(claim: Claim, options: Setting) -> bool:
    """Whether the claim's own records keep the target, so that a process which knows nothing keeps it too.

    In the other states (none, ControllerResizeInfeasible) a repeated attempt is kept by memory only, as with the
    peer: recording it would cost two writes at every repetition. A driver that is never called has no attempts.
    """
    if claim.state == NODE_RESIZE_INFEASIBLE and not options.driver.controller_expansion:
        return False
    return claim.state not in ("", "ControllerResizeInfeasible")


def deliver_claim(world: World) -> World | None:
    """The watch brings the claim as it now is; whatever happened in between was lost or merged."""
    process = world.process
    if process is None or process.claim.version == CURRENT:
        return None
    jumps = find_trigger(process.claim, world.claim) != "ignore"
    return replace(world, process=replace(process, claim=world.claim, dirty=process.dirty or jumps))


def deliver_volume(world: World) -> World | None:
    """The watch brings the volume as it now is."""
    process = world.process
    if process is None or process.volume.version == CURRENT:
        return None
    is_news = process.volume.capacity != world.volume.capacity and wants_attention(process.claim)
    dirty = process.dirty or is_news or world.volume.pre_resize_capacity is not None
    return replace(world, process=replace(process, volume=world.volume, dirty=dirty))


def start(world: World) -> World:
    """A process starts, knowing nothing but what stands in the API server."""
    dirty = wants_attention(world.claim) or world.volume.pre_resize_capacity is not None
    return replace(world, process=Process(Memory(), world.claim, world.volume, dirty=dirty))


def look(process: Process) -> Process:
    """A worker takes the claim."""
    return replace(process, at=process.resume or Started(), resume=None, dirty=False, timer="none", users=None)


def lapse(world: World) -> World:
    """Every wait is over: in the memory, and in the annotation."""
    process = world.process
    assert process is not None
    memory = process.memory
    verified = None if memory.node_verified_s is None else NOW.mono_s + PAST
    process = replace(process, memory=replace(memory, not_before_s=0.0, node_verified_s=verified))
    claim = world.claim
    if claim.retry and claim.retry != "lapsed":
        claim = replace(claim, retry="lapsed")
        if process.claim.retry:
            process = replace(process, claim=replace(process.claim, retry="lapsed"))
    return replace(world, claim=claim, process=process)


def lag_behind(world: World, options: Setting) -> World | None:
    """A follower's watch stops here, once: it is told nothing more until it leads."""
    if not options.followers or world.lagging is not None or world.process is None or not world.budget.crashes:
        return None
    return replace(world, lagging=(replace(world.claim, version=OLD), replace(world.volume, version=OLD)))


def start_lagging(world: World) -> World | None:
    """The follower leads, with what it last saw."""
    if world.lagging is None:
        return None
    claim, volume = world.lagging
    dirty = wants_attention(claim) or volume.pre_resize_capacity is not None
    return replace(world, lagging=None, process=Process(Memory(), claim, volume, dirty=dirty, is_current=False))
