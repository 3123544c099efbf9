"""A world small enough to search whole: API server, cache, driver, node, user and one process that may die.

A `World` is one frozen state. `moves` gives every state that can come next, whatever happens: a user's edit, a watch
event that arrives late, a crash, a lost answer, each answer of the driver, the node at work. Whatever the process does
it asks `advance` for; the laws of section 5 are checked on the way and raise `BrokenLawError`.

What is left out keeps the space finite and changes no decision: time is "before" or "after" a wait, texts and
transition times are constants, versions say only whether a copy is the newest.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from resizer.core import machine
from resizer.core.pacing import Limits
from resizer.core.state import (
    AwaitNode,
    CallDriver,
    Expanded,
    Failed,
    Finish,
    Instant,
    Memory,
    NodeAwaited,
    Observation,
    ObserveUsers,
    Policy,
    RecordClaim,
    RecordVolume,
    Say,
    Settle,
    Snapshot,
    Started,
    Step,
    Users,
)
from resizer.core.triggers import find_trigger, wants_attention
from resizer.core.verdict import Failure
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.objects import (
    CONTROLLER_RESIZE_ERROR,
    FILE_SYSTEM_RESIZE_PENDING,
    NODE_RESIZE_ERROR,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    NODE_RESIZE_PENDING,
    RESIZE_CONDITIONS,
    Claim,
    Condition,
    Volume,
)
from tests.parity.simulation import EPOCH_S, apply_claim_patch, apply_volume_patch

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


# ---------------------------------------------------------------- the server, and what others do to it


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


# ---------------------------------------------------------------- the watch and the process


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
    dirty = process.dirty or is_news or bool(world.volume.pre_resize_capacity)
    return replace(world, process=replace(process, volume=world.volume, dirty=dirty))


def start(world: World) -> World:
    """A process starts, knowing nothing but what stands in the API server."""
    dirty = wants_attention(world.claim) or bool(world.volume.pre_resize_capacity)
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
    dirty = wants_attention(claim) or bool(volume.pre_resize_capacity)
    return replace(world, lagging=None, process=Process(Memory(), claim, volume, dirty=dirty, is_current=False))


def decide(world: World, options: Setting) -> Step:
    """What the core says to where the process stands."""
    process = world.process
    assert process is not None
    assert process.at is not None
    assert not isinstance(process.at, CallDriver)
    key = (process.claim, process.volume, process.memory, process.at, process.users)
    step = options.steps.get(key)
    if step is None:
        snapshot = Snapshot(process.claim, process.volume, options.driver, NOW, process.users)
        step = machine.advance(snapshot, process.memory, process.at, POLICY)
        step = replace(step, memory=merge(step.memory))
        options.steps[key] = step
    return step


def merge(memory: Memory) -> Memory:
    """Memories that decide alike are one: counts saturate, what was said and how long ago does not matter."""
    failure = memory.failure
    if failure is not None and failure.class_ != "offline-required":
        failure = FAILURES[0]
    return replace(
        memory,
        failure=failure,
        failures=min(memory.failures, 1),
        repeats=0,
        restarts=min(memory.restarts, 2),
        said=(),
        not_before_s=min(memory.not_before_s, NOW.mono_s + 1),
        asked_wall_s=0.0,
        granted_wall_s=0.0,
    )


def proceed(world: World, options: Setting, *, faults: bool = True) -> Iterator[World]:
    """The process takes one step, with every way in which it may turn out."""
    process = world.process
    assert process is not None
    if isinstance(process.at, CallDriver):
        yield from answers(world, process.at, options, faults=faults)
        return
    step = decide(world, options)
    if options.reads_afresh and not process.is_current and must_be_current(step, options):
        afresh = replace(process, claim=world.claim, volume=world.volume, is_current=True)
        yield replace(world, process=afresh)
        return
    told = replace(world, process=replace(process, memory=step.memory))
    match step.effect:
        case Settle(_, delay_s, _):
            check_truth(world, step)
            timer: Timer = "none" if delay_s is None else ("now" if delay_s <= 0 else "later")
            yield replace(told, process=replace(process, memory=step.memory, at=None, users=None, timer=timer))
        case RecordClaim() | RecordVolume():
            yield from writes(told, step.effect, faults=faults)
        case CallDriver():
            check_truth(world, step)
            check_call(world, step.effect)
            yield replace(told, process=replace(process, memory=step.memory, at=step.effect))
        case ObserveUsers():
            for users in USERS:
                yield replace(told, process=replace(process, memory=step.memory, users=users))
        case AwaitNode():
            check_truth(world, step)
            yield replace(told, process=replace(process, memory=step.memory, at=NodeAwaited(None)))


def must_be_current(step: Step, options: Setting) -> bool:
    """Where the claim loop reads the claim itself before it goes on, as `resizer.pipeline.claim` does."""
    if options.driver.controller_expansion:
        return isinstance(step.effect, CallDriver)
    return isinstance(step.effect, RecordClaim | RecordVolume)


def writes(world: World, effect: RecordClaim | RecordVolume, *, faults: bool) -> Iterator[World]:
    """A patch: applied, refused for its version, or with its answer lost on the way."""
    process = world.process
    assert process is not None
    copy = process.claim if isinstance(effect, RecordClaim) else process.volume
    if effect.body["metadata"]["resourceVersion"] != copy.version:
        raise BrokenLawError("a patch carries another version than the one it was decided on")
    if copy.version != CURRENT:
        # A conflict: read again, decide the same again. No failure.
        yield replace(world, process=replace(process, claim=world.claim, volume=world.volume))
        return
    written = apply(world, effect)
    here = written.process
    assert here is not None
    if isinstance(effect, RecordClaim):
        yield replace(written, process=replace(here, claim=written.claim, at=effect.then, is_current=True))
    else:
        yield replace(written, process=replace(here, volume=written.volume, at=effect.then))
    if faults and world.budget.faults:
        for lost in (world, written):
            after = lost.process
            assert after is not None
            resume = after.at if isinstance(after.at, Expanded | Failed) else None
            yield spend_fault(replace(lost, process=replace(after, at=None, resume=resume, users=None, timer=AWAY)))


def apply(world: World, effect: RecordClaim | RecordVolume) -> World:
    """The API server does what the patch says, and the laws are held against it."""
    if isinstance(effect, RecordVolume):
        volume = replace(apply_volume_patch(world.volume, effect.body), version=CURRENT)
        if volume.capacity_bytes < world.claim.capacity_bytes:
            raise BrokenLawError("law 2: the volume is made smaller than what the claim has")
        return with_volume(world, volume)
    claim = replace(apply_claim_patch(world.claim, effect.body), version=CURRENT)
    if claim == world.claim:
        raise BrokenLawError("law 5: a write that changes nothing")
    if claim.capacity_bytes < world.claim.capacity_bytes:
        raise BrokenLawError("law 2: the claim is made smaller")
    if world.unknown and claim.allocated_bytes != world.unknown:
        raise BrokenLawError("law 2: the target is changed while the outcome of the last attempt is unknown")
    process = world.process
    # Step 4 says what came of the attempt.
    unknown = 0 if process is not None and isinstance(process.at, Expanded) else world.unknown
    conditions = tuple(sorted((replace(c, last_transition_time=TIME) for c in claim.conditions), key=lambda c: c.type))
    return replace(with_claim(world, replace(claim, conditions=conditions)), unknown=unknown)


def answers(world: World, call: CallDriver, options: Setting, *, faults: bool) -> Iterator[World]:
    """The driver answers: it has grown the volume; or one of everything else that it may say."""
    target = call.target.size_bytes
    larger = max(world.backend, target)

    def grant(size: int) -> Expanded:
        return Expanded(call.target, Expansion(size, options.node_required), call.state)

    yield answered(replace(world, backend=larger, late=0), grant(larger), unknown=target)
    if not (faults and world.budget.faults):
        return
    spent = spend_fault(world)
    generous = min((size for size in options.sizes if size > larger), default=larger)
    if generous != larger:
        yield answered(replace(spent, backend=generous), grant(generous), unknown=target)
    for short in (0, target - 1):
        yield answered(spent, grant(short), unknown=0)
    for failure in FAILURES:
        answer = Failed(call.target, failure)
        match failure.outcome:
            case "final":
                yield answered(replace(spent, late=0), answer, unknown=0)
            case "uncertain":
                yield answered(replace(spent, backend=larger), answer, unknown=target)
                yield answered(replace(spent, late=target), answer, unknown=target)
            case "unchanged":
                yield answered(spent, answer, unknown=world.unknown)


def answered(world: World, observation: Observation, *, unknown: int) -> World:
    process = world.process
    assert process is not None
    return replace(world, process=replace(process, at=observation), unknown=unknown)


def moves(world: World, options: Setting) -> Iterator[World]:
    """Every state that may come next."""
    yield from edits(world, options.sizes)
    yield from node_moves(world)
    late = late_growth(world)
    if late is not None:
        yield late
    process = world.process
    if process is None:
        yield start(world)
        lagging = start_lagging(world)
        if lagging is not None:
            yield lagging
        return
    behind = lag_behind(world, options)
    if behind is not None:
        yield behind
    for delivered in (deliver_claim(world), deliver_volume(world)):
        if delivered is not None:
            yield delivered
    if world.budget.crashes:
        yield replace(crash(world, options), budget=replace(world.budget, crashes=world.budget.crashes - 1))
    if process.at is not None:
        yield from proceed(world, options)
        return
    if process.dirty or process.timer == "now":
        yield from looks(replace(world, process=look(process)))
    elif process.timer != "none":
        waited = lapse(world)
        assert waited.process is not None
        yield from looks(replace(waited, process=look(waited.process)))


def looks(world: World) -> Iterator[World]:
    """A look begins by asking who uses the volume, where a driver wanted nobody to."""
    process = world.process
    assert process is not None
    if process.memory.blockers == Users():
        yield world
        return
    for users in USERS:
        yield replace(world, process=replace(process, users=users))


# ---------------------------------------------------------------- laws


def check_call(world: World, call: CallDriver) -> None:
    """Laws 1 and 2, at the moment of a call and on the server's own records."""
    target = call.target.size_bytes
    if world.claim.allocated_bytes != target:
        raise BrokenLawError("law 1: the driver is called for a target that the claim does not record")
    if target < world.claim.capacity_bytes:
        raise BrokenLawError("law 2: less is asked for than the claim has")
    if world.unknown not in (0, target):
        raise BrokenLawError("law 2: another target is asked for while the outcome of the last attempt is unknown")


def check_truth(world: World, step: Step) -> None:
    """Law 6: what is said to have happened is durable."""
    for note in step.notes:
        grown = world.claim.capacity_bytes >= step.memory.target_bytes
        if isinstance(note, Finish) and not grown:
            raise BrokenLawError("law 6: a growth is counted that is not durable")
        if isinstance(note, Say) and note.reason == "VolumeResizeSuccessful" and not grown:
            raise BrokenLawError("law 6: a success is announced that is not durable")
        if isinstance(note, Say) and note.reason == "FileSystemResizeRequired":
            told = world.claim.state in (*AT_WORK, NODE_RESIZE_INFEASIBLE)
            if not told and not (grown or world.claim.has_condition(FILE_SYSTEM_RESIZE_PENDING)):
                raise BrokenLawError("law 6: the node is announced before it was told")


def is_settled(process: Process) -> bool:
    """Whether the process rests, knows all there is to know, and has nothing to take up again."""
    return (
        process.at is None
        and not process.dirty
        and process.resume is None
        and process.timer not in ("now", AWAY)
        and process.claim.version == CURRENT
        and process.volume.version == CURRENT
    )


def check_rest(world: World) -> None:
    """A claim that wants more and rests says why, and somebody is to act next: the node, or a timer."""
    process = world.process
    if process is None or not world.is_sound or not is_settled(process) or process.memory == Memory():
        return
    claim = world.claim
    if claim.requested_bytes <= claim.capacity_bytes:
        return
    if not claim.conditions and not claim.state:
        raise BrokenLawError("a claim rests without an explanation")
    if process.memory.attempt == "failed" and not claim.has_condition(CONTROLLER_RESIZE_ERROR):
        raise BrokenLawError("an attempt failed for good, and the claim does not say so")
    if process.timer == "none" and claim.state not in AT_WORK:
        raise BrokenLawError("a claim rests, and nobody will ever look at it again")


def check_silence(world: World, options: Setting) -> None:
    """Law 5: where everything is known and nothing is due, a look writes nothing and calls nobody."""
    process = world.process
    if process is None or not is_settled(process) or process.memory == Memory():
        return
    blocked = process.memory.blockers
    before = replace(world, process=replace(look(process), users=None if blocked == Users() else blocked))
    step = decide(before, options)
    if isinstance(step.effect, RecordClaim | RecordVolume | CallDriver):
        raise BrokenLawError(f"law 5: a look that nobody asked for does {type(step.effect).__name__}")
