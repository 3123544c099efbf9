"""One claim, its volume, a scripted driver and time, without a network: what the pipeline does around the core.

The API server here applies merge patches with the version they were decided on, keeps quantities canonical as the
real one does, and counts what is written. Time is a number that jumps from one thing due to the next, so that a day
of failures takes a moment. Nothing here decides: every decision is `resizer.core.machine.advance`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from resizer.core.machine import advance
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
    Note,
    Observation,
    ObserveUsers,
    Policy,
    RecordClaim,
    RecordVolume,
    Say,
    Settle,
    Snapshot,
    Started,
    Users,
)
from resizer.core.status import JsonObject
from resizer.core.triggers import find_trigger, wants_attention
from resizer.core.verdict import Failure
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.errors import ConflictError
from resizer.model.objects import (
    NODE_EXPANSION_NOT_REQUIRED,
    NODE_LABEL_PREFIX,
    PRE_RESIZE_CAPACITY,
    RETRY,
    Claim,
    Condition,
    Volume,
)
from resizer.model.quantity import parse_quantity

MOST_STEPS = 40
EPOCH_S = 1_790_000_000.0

Answer = Callable[[CallDriver, int], Expansion | Failure]
"""What the driver answers to a call, the n-th (from 0)."""


class KilledError(Exception):
    """The process was killed after a step."""


def canonical(text: str) -> str:
    return parse_quantity(text).canonical


def apply_claim_patch(claim: Claim, body: JsonObject) -> Claim:
    """Apply a merge patch as the API server does. Raises ConflictError for another version."""
    metadata, status = body.get("metadata", {}), body.get("status", {})
    if metadata.get("resourceVersion", claim.version) != claim.version:
        raise ConflictError("the object has been modified", verb="patch", resource="persistentvolumeclaims/status")
    known = {"annotations", "labels", "resourceVersion"}
    assert metadata.keys() <= known, metadata
    assert status.keys() <= {"allocatedResources", "allocatedResourceStatuses", "capacity", "conditions"}, status
    change: dict[str, object] = {"version": str(int(claim.version) + 1)}
    annotations = metadata.get("annotations", {})
    assert annotations.keys() <= {RETRY, NODE_EXPANSION_NOT_REQUIRED}, annotations
    if RETRY in annotations:
        change["retry"] = annotations[RETRY] or ""
    if NODE_EXPANSION_NOT_REQUIRED in annotations:
        change["node_expansion_not_required"] = annotations[NODE_EXPANSION_NOT_REQUIRED] == "true"
    labels = metadata.get("labels", {})
    assert all(label.startswith(NODE_LABEL_PREFIX) and value is None for label, value in labels.items()), labels
    change["node_labels"] = tuple(label for label in claim.node_labels if label not in labels)
    if "allocatedResources" in status:
        change["allocated"] = canonical(status["allocatedResources"]["storage"])
    if "capacity" in status:
        change["capacity"] = canonical(status["capacity"]["storage"])
    if "allocatedResourceStatuses" in status:
        change["state"] = status["allocatedResourceStatuses"]["storage"] or ""
    if "conditions" in status:
        change["conditions"] = tuple(_condition(c) for c in status["conditions"] or ())
    return replace(claim, **change)


def _condition(entry: JsonObject) -> Condition:
    return Condition(
        entry["type"],
        entry["status"],
        entry.get("reason", ""),
        entry.get("message", ""),
        entry["lastTransitionTime"] or "",
        entry["lastProbeTime"] or "",
    )


def apply_volume_patch(volume: Volume, body: JsonObject) -> Volume:
    """Apply a merge patch as the API server does. Raises ConflictError for another version."""
    metadata = body["metadata"]
    if metadata.get("resourceVersion", volume.version) != volume.version:
        raise ConflictError("the object has been modified", verb="patch", resource="persistentvolumes")
    annotations = metadata.get("annotations", {})
    assert annotations.keys() <= {PRE_RESIZE_CAPACITY}, annotations
    change: dict[str, object] = {"version": str(int(volume.version) + 1)}
    if PRE_RESIZE_CAPACITY in annotations:
        change["pre_resize_capacity"] = annotations[PRE_RESIZE_CAPACITY]
    if "spec" in body:
        change["capacity"] = canonical(body["spec"]["capacity"]["storage"])
    return replace(volume, **change)


@dataclass
class Simulation:
    """One claim's world. `look` is a worker's look at it; `run_until` lets virtual time pass."""

    claim: Claim | None
    volume: Volume | None
    driver: DriverFacts
    answer: Answer
    policy: Policy = field(default_factory=lambda: Policy(Limits()))
    users: Users = field(default_factory=lambda: Users(running_pod=False))
    drops_recovery_fields: bool = False
    now_s: float = 0.0
    roll: float = 0.0
    memory: Memory = field(default_factory=Memory)
    due_s: float | None = None
    dies_after: int = 0
    """After so many steps that somebody else can see (writes, calls) the process is killed, once; 0: never."""
    steps: int = 0
    calls: list[CallDriver] = field(default_factory=list)
    call_times: list[float] = field(default_factory=list)
    events: list[Say] = field(default_factory=list)
    finished: list[Finish] = field(default_factory=list)
    patches: list[JsonObject] = field(default_factory=list)
    settled: list[Settle] = field(default_factory=list)

    def appear(self) -> None:
        """The process starts (or the claim does): look, if there is a reason to."""
        leftover = self.volume is not None and self.volume.pre_resize_capacity is not None
        if self.claim is not None and (wants_attention(self.claim) or leftover):
            self.due_s = self.now_s

    def restart(self) -> None:
        """The process is killed; the next one knows nothing but what stands in the API server."""
        self.memory, self.due_s = Memory(), None
        self.appear()

    def change(self, **fields: object) -> None:
        """Somebody else changes the claim, and the watch brings it."""
        assert self.claim is not None
        old = self.claim
        self.claim = replace(old, version=str(int(old.version) + 1), **fields)
        if find_trigger(old, self.claim) != "ignore":
            self.due_s = self.now_s

    def run_until(self, until_s: float) -> None:
        """Let time pass, looking whenever a look is due."""
        while self.due_s is not None and self.due_s <= until_s:
            self.now_s = max(self.now_s, self.due_s)
            try:
                settle = self.look()
            except KilledError:
                self.restart()
                continue
            delay_s = settle.requeue_after_s
            self.due_s = None if delay_s is None else self.now_s + delay_s
        self.now_s = max(self.now_s, until_s)

    def snapshot(self, users: Users | None = None) -> Snapshot:
        volume = self.volume if self.claim and self.volume and self.claim.volume_name == self.volume.name else None
        return Snapshot(self.claim, volume, self.driver, Instant(EPOCH_S + self.now_s, self.now_s, self.roll), users)

    def look(self) -> Settle:
        """Take the claim as far as it goes now, as the pipeline's claim loop does."""
        observation: Observation = Started()
        users = self.users if self.memory.blockers != Users() else None
        for _ in range(MOST_STEPS):
            step = advance(self.snapshot(users), self.memory, observation, self.policy)
            self.memory = step.memory
            for note in step.notes:
                self._tell(note)
            match step.effect:
                case Settle():
                    self.settled.append(step.effect)
                    return step.effect
                case ObserveUsers():
                    users = self.users
                    continue
                case RecordClaim(body, then):
                    self._write_claim(body)
                    observation = then
                case RecordVolume(body, then):
                    assert self.volume is not None
                    self.patches.append(body)
                    self.volume = apply_volume_patch(self.volume, body)
                    observation = then
                case CallDriver():
                    observation = self._call(step.effect)
                case AwaitNode():
                    observation = NodeAwaited(None)
                    continue
            self._survive()
        raise AssertionError(f"no end after {MOST_STEPS} steps, last {observation}")

    def _survive(self) -> None:
        self.steps += 1
        if self.steps == self.dies_after:
            raise KilledError

    def _write_claim(self, body: JsonObject) -> None:
        assert self.claim is not None
        assert body
        self.patches.append(body)
        self.claim = apply_claim_patch(self.claim, body)
        if self.drops_recovery_fields:
            self.claim = replace(self.claim, allocated="", state="")

    def _call(self, call: CallDriver) -> Expanded | Failed:
        assert self.claim is not None
        assert self.claim.allocated_bytes == call.target.size_bytes, "no call before its target is recorded"
        assert call.target.size_bytes >= self.claim.capacity_bytes, "no call asks for less than the claim has"
        answer = self.answer(call, len(self.calls))
        if isinstance(answer, Failure) and answer.outcome == "unchanged":
            return Failed(call.target, answer)
        self.calls.append(call)
        self.call_times.append(self.now_s)
        if isinstance(answer, Failure):
            return Failed(call.target, answer)
        return Expanded(call.target, answer, call.state)

    def _tell(self, note: Note) -> None:
        if isinstance(note, Say):
            self.events.append(note)
        elif isinstance(note, Finish):
            self.finished.append(note)
