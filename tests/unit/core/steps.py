"""What the process does, one step at a time, with every way in which each may turn out.

`moves` gives every state that can come next, whatever happens. Whatever the process does it asks `advance` for, as the
claim loop does; a law that is broken on the way raises `BrokenLawError`.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from resizer.core import machine
from resizer.core.state import (
    AwaitNode,
    CallDriver,
    Expanded,
    Failed,
    Memory,
    NodeAwaited,
    Observation,
    ObserveUsers,
    RecordClaim,
    RecordVolume,
    Settle,
    Snapshot,
    Step,
    Users,
)
from resizer.model.driver import Expansion
from tests.parity.simulation import apply_claim_patch, apply_volume_patch
from tests.unit.core.laws import check_call, check_truth, is_settled
from tests.unit.core.world import (
    AWAY,
    CURRENT,
    FAILURES,
    NOW,
    POLICY,
    TIME,
    USERS,
    BrokenLawError,
    Setting,
    Timer,
    World,
    crash,
    deliver_claim,
    deliver_volume,
    edits,
    lag_behind,
    lapse,
    late_growth,
    look,
    node_moves,
    spend_fault,
    start,
    start_lagging,
    with_claim,
    with_volume,
)


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
        node_failed=False,
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


def check_silence(world: World, options: Setting) -> None:
    """Law 5: where everything is known and nothing is due, a look writes nothing and calls nobody."""
    process = world.process
    if process is None or not is_settled(process) or process.memory == Memory():
        return
    if process.memory.restarts and process.memory.failure is None:
        return  # between two restarts nothing has failed: whoever looks goes on
    blocked = process.memory.blockers
    before = replace(world, process=replace(look(process), users=None if blocked == Users() else blocked))
    step = decide(before, options)
    if isinstance(step.effect, RecordClaim | RecordVolume | CallDriver):
        raise BrokenLawError(f"law 5: a look that nobody asked for does {type(step.effect).__name__}")
