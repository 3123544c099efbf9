"""Breadth-first search of everything that can happen, and of where it ends when trouble stops.

`search` visits every state that `steps.moves` reaches from the given ones, each once, and checks the laws of section 5
in it. From each state it also follows the one path on which nothing goes wrong any more (`settle_down`): that path has
to end, in a state that is grown or explained, and in the same one when the process is killed on the spot.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import astuple, replace

from resizer.core.state import CallDriver, Expanded, Failed, FailureRecorded, IntentRecorded, ObserveUsers, Users
from resizer.core.triggers import wants_attention
from resizer.model.objects import RESIZE_CONDITIONS
from tests.unit.core.laws import check_rest
from tests.unit.core.steps import check_silence, decide, proceed
from tests.unit.core.steps import moves as all_moves
from tests.unit.core.world import (
    AT_WORK,
    CURRENT,
    BrokenLawError,
    Budget,
    Process,
    Setting,
    World,
    begin,
    crash,
    deliver_claim,
    deliver_volume,
    is_bound_by_records,
    lapse,
    late_growth,
    look,
    new_claim,
    new_volume,
    node_grows,
    start,
)

RESIZE_STATES = (
    "",
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
)
LONGEST_PATH = 200
NOBODY = Users(running_pod=False)


class Figures(NamedTuple):
    """What a search saw."""

    states: int
    moves: int
    ends: int


class Search:
    """One search with one setting."""

    def __init__(self, options: Setting) -> None:
        self.options = options
        self.ends: dict[World, World] = {}
        self.parents: dict[World, World | None] = {}
        self.moves = 0

    def run(self, starts: Iterable[World]) -> Figures:
        """Visit everything reachable. Raises BrokenLawError with the path that leads there."""
        queue = deque(starts)
        for world in queue:
            self.parents[world] = None
        while queue:
            world = queue.popleft()
            try:
                self.check(world)
                for after in all_moves(world, self.options):
                    self.moves += 1
                    if after not in self.parents:
                        self.parents[after] = world
                        queue.append(after)
            except BrokenLawError as error:
                raise BrokenLawError(f"{error}\n{self.story(world)}") from error
        return Figures(len(self.parents), self.moves, len({observable(end) for end in self.ends.values()}))

    def check(self, world: World) -> None:
        """What holds in every state."""
        check_silence(world, self.options)
        check_rest(world)
        end = self.settle_down(world)
        check_end(end)
        process = world.process
        if process is None or not world.is_sound or is_better_informed(process, self.options) or is_withdrawn(world):
            return
        if world.late > world.claim.allocated_bytes:
            return  # the back-end is at work on a target that the records no longer hold: when it ends decides
        end = self.settle_down(caught_up(world))
        after_crash = self.settle_down(crash(world, self.options))
        if observable(after_crash) != observable(end):
            raise BrokenLawError(f"law 7: ends as {observable(end)}, after a crash as {observable(after_crash)}")

    def settle_down(self, world: World) -> World:
        """Follow the path without further trouble to its end."""
        path = [bare(world)]
        while path[-1] not in self.ends:
            after = self.calm_move(path[-1])
            if after is None:
                self.ends[path[-1]] = path[-1]
                break
            path.append(after)
            if len(path) > LONGEST_PATH:
                raise BrokenLawError("no end: the process goes on for ever although nothing goes wrong")
        end = self.ends[path[-1]]
        for step in path:
            self.ends[step] = end
        return end

    def calm_move(self, world: World) -> World | None:
        """The one next move when all is well; None at the end."""
        process = world.process
        late = late_growth(world)
        if late is not None:
            return late
        if process is None:
            return start(world)
        delivered = caught_up(world)
        if process.at is not None:
            return self.calm_step(delivered)
        if delivered is not world:
            return delivered
        if process.dirty or process.timer == "now":
            return replace(world, process=replace(look(process), users=_asked(process)))
        grown = node_grows(world)
        if grown is not None:
            return grown
        if process.timer != "none":
            waited = lapse(world)
            assert waited.process is not None
            return replace(waited, process=replace(look(waited.process), users=_asked(process)))
        return self.resync(world)

    def calm_step(self, world: World) -> World:
        process = world.process
        assert process is not None
        if not isinstance(process.at, CallDriver) and isinstance(decide(world, self.options).effect, ObserveUsers):
            return replace(world, process=replace(process, users=NOBODY))
        return next(proceed(world, self.options, faults=False))

    def resync(self, world: World) -> World | None:
        """Every ten minutes all that asks for growth is looked at again: the last resort, and usually nothing."""
        process = world.process
        assert process is not None
        if not (wants_attention(world.claim) or world.volume.pre_resize_capacity is not None):
            return None
        after = replace(world, process=replace(look(process), users=_asked(process)))
        for _ in range(LONGEST_PATH):
            assert after.process is not None
            if after.process.at is None:
                break
            after = self.calm_step(after)
        return after if after != world else None

    def story(self, world: World) -> str:
        """The path that leads to a state, one line a state."""
        path: list[World] = []
        here: World | None = world
        while here is not None:
            path.append(here)
            here = self.parents[here]
        return "\n".join(tell(step) for step in reversed(path))


def all_starts(options: Setting, budget: Budget, *, capacities: Iterable[int]) -> list[World]:
    """Every state of requested size, claim's size, target, state and volume over the sizes, that asks for growth."""
    sizes = options.sizes
    return [
        begin(new_claim(requested, capacity, allocated, state), new_volume(volume), budget, options)
        for capacity in capacities
        for requested in sizes
        for allocated in (None, *sizes)
        for state in RESIZE_STATES
        for volume in sizes
        if requested > capacity <= volume
    ]


def caught_up(world: World) -> World:
    """A state in which the watch has brought everything."""
    world = deliver_claim(world) or world
    return deliver_volume(world) or world


def bare(world: World) -> World:
    """A state without its budget and its follower, which a path without trouble does not need."""
    return replace(world, budget=replace(world.budget, edits=0, crashes=0, faults=0), lagging=None)


def _asked(process: Process) -> Users | None:
    return None if process.memory.blockers == Users() else NOBODY


def is_better_informed(process: Process, options: Setting) -> bool:
    """Whether this process knows of the last attempt what the claim's records do not tell.

    Known to have failed for good, it may go on with a smaller wish where a new process has to repeat the recorded
    target; or it holds on to a repeated attempt where a new one would not. Both are safe, and need not end the same.
    """
    memory = process.memory
    if "failed" in (memory.attempt, memory.attempt_before):
        return True
    for news in (process.at, process.resume):
        if isinstance(news, Failed | FailureRecorded) and news.failure.outcome == "final":
            return True
        if isinstance(news, Expanded) and news.expansion.capacity_bytes < news.target.size_bytes:
            return True
    is_committed = memory.attempt == "unknown" or isinstance(process.at or process.resume, IntentRecorded | Expanded)
    return is_committed and not is_bound_by_records(process.claim, options)


def is_withdrawn(world: World) -> bool:
    """Whether nothing is asked for any more: what was begun then stays as it is, as with the peer."""
    return world.claim.requested_bytes <= world.claim.capacity_bytes


def observable(world: World) -> tuple[object, ...]:
    """What a user sees of a state."""
    claim, volume = world.claim, world.volume
    return (
        claim.requested,
        claim.capacity,
        claim.allocated,
        claim.state,
        tuple(sorted(c.type for c in claim.conditions)),
        claim.node_expansion_not_required,
        claim.retry,
        volume.capacity,
        volume.pre_resize_capacity,
        world.backend,
    )


def check_end(end: World) -> None:
    """An end is grown and tidy, asks for nothing, or says why it waits."""
    claim, volume = end.claim, end.volume
    is_reached = claim.allocated_bytes <= claim.capacity_bytes
    if end.is_sound and is_reached and (claim.state or {c.type for c in claim.conditions} & RESIZE_CONDITIONS):
        raise BrokenLawError(f"an untidy end: {observable(end)}")
    if claim.requested_bytes <= claim.capacity_bytes:
        if volume.pre_resize_capacity is not None and claim.capacity_bytes >= volume.capacity_bytes:
            raise BrokenLawError("an end with pre-resize-capacity left over")
        return
    waits_for_node = claim.state in AT_WORK and volume.capacity_bytes <= claim.capacity_bytes
    if end.is_sound or not waits_for_node:
        raise BrokenLawError(f"an end that is neither grown nor explained: {observable(end)}")


def tell(world: World) -> str:
    """One state in a line."""
    claim, process = world.claim, world.process
    conditions = ",".join(c.type for c in claim.conditions)
    text = (
        f"  S={claim.requested} C={claim.capacity} A={claim.allocated or '-'} T={claim.state or '-'}"
        f" V={world.volume.capacity} B={world.backend} [{conditions}] unknown={world.unknown} late={world.late}"
        f" {astuple(world.budget)} "
    )
    if process is None:
        return text + "no process"
    fresh = f"{'fresh' if process.claim.version == CURRENT else 'stale'}/"
    fresh += "fresh" if process.volume.version == CURRENT else "stale"
    memory = process.memory
    known = f"attempt={memory.attempt or '-'} failure={memory.failure.class_ if memory.failure else '-'}"
    return f"{text}{fresh} {process.at or 'at rest'} {known} dirty={process.dirty} timer={process.timer}"
