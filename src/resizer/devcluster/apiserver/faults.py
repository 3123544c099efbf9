"""Faults on demand: what to do to which requests, how often.

A fault names a kind and the requests it concerns; every field left empty matches anything. `count` bounds how often
it strikes, `probability` (with a seed, so that a run can be repeated) whether it does. Decisions are synchronous;
waiting, cutting and resetting are done by the HTTP edge, which asks `strike` once for each stage of a request.

Kinds, by the stage at which they strike:

before the request is looked at: `latency`, `throttle` (429 with Retry-After), `error` (500), `unavailable` (503),
`unauthorized` (401, a token that has expired), `reset` (connection reset), `hold-before` (nothing happens until
released), `lease-clock` (lease times in the request shifted by `delay_s`);
after it was applied: `cut` (half an answer, then the end), `reset-after` (applied, then reset), `hold-after`
(applied, not answered until released);
on a watch, also one that is open already: `silent` (open, but nothing comes), `gone` (410), `end` (closed by the
server); on one that begins with what is there: `hold-end` (all of that comes, and that it was all only when released);
and when events go out: `duplicate` (each event twice), `reorder` (what goes out together comes backwards).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Literal, get_args

import msgspec

from resizer.devcluster.apiserver.request import Attributes

BeforeKind = Literal[
    "latency", "throttle", "error", "unavailable", "unauthorized", "reset", "hold-before", "lease-clock"
]
AfterKind = Literal["cut", "reset-after", "hold-after"]
WatchKind = Literal["silent", "gone", "end"]
InitialKind = Literal["hold-end"]
DeliveryKind = Literal["duplicate", "reorder"]
FaultKind = BeforeKind | AfterKind | WatchKind | InitialKind | DeliveryKind

BEFORE = frozenset(get_args(BeforeKind))
AFTER = frozenset(get_args(AfterKind))
ON_WATCH = frozenset(get_args(WatchKind))
ON_INITIAL = frozenset(get_args(InitialKind))
ON_DELIVERY = frozenset(get_args(DeliveryKind))


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. `delay_s` is the latency, the Retry-After, or the shift of a lease's clock."""

    kind: FaultKind
    verb: str = ""
    resource: str = ""
    subresource: str | None = None
    namespace: str = ""
    name: str = ""
    user: str = ""
    user_agent: str = ""
    count: int | None = None
    probability: float = 1.0
    seed: int = 0
    delay_s: float = 1.0

    def concerns(self, asked: Attributes, user: str, agent: str) -> bool:
        """Tell whether a request is meant. `subresource` "" means the main resource only, None means any."""
        if self.subresource is not None and self.subresource != asked.subresource:
            return False
        if self.user_agent and not agent.startswith(self.user_agent):
            return False
        pairs = (
            (self.verb, asked.verb),
            (self.resource, asked.plural),
            (self.namespace, asked.namespace),
            (self.name, asked.name),
            (self.user, user),
        )
        return all(wanted in {"", have} for wanted, have in pairs)


class ActiveFault:
    """A fault in force: how often it struck, and who waits for it to be released."""

    def __init__(self, number: str, fault: Fault) -> None:
        self.id = number
        self.fault = fault
        self.hits = 0
        self.held = 0
        self.released = asyncio.Event()
        self._random = random.Random(fault.seed)  # noqa: S311 - repeatable, not secret
        self._changed = asyncio.Condition()

    @property
    def spent(self) -> bool:
        """Whether it has struck as often as it may."""
        return self.fault.count is not None and self.hits >= self.fault.count

    def decides_to_strike(self) -> bool:
        """Draw lots, and count the hit."""
        if self.spent or (self.fault.probability < 1 and self._random.random() >= self.fault.probability):
            return False
        self.hits += 1
        return True

    async def hold(self) -> None:
        """Wait to be released; whoever watches `wait_held` learns that a request stands here."""
        self.held += 1
        async with self._changed:
            self._changed.notify_all()
        try:
            await self.released.wait()
        finally:
            self.held -= 1

    async def wait_held(self, count: int = 1) -> None:
        """Wait until so many requests are held at once."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.held >= count)

    def state(self) -> dict[str, object]:
        """Describe it for the admin endpoint."""
        return {"id": self.id, "hits": self.hits, "held": self.held, "fault": msgspec.to_builtins(self.fault)}


class Faults:
    """The faults in force, oldest first. `listeners` are told when the set changes (open watches look again)."""

    def __init__(self) -> None:
        self._active: dict[str, ActiveFault] = {}
        self._numbers = itertools.count(1)
        self.listeners: set[Callable[[], None]] = set()

    def __iter__(self) -> Iterator[ActiveFault]:
        return iter(list(self._active.values()))

    def __bool__(self) -> bool:
        return bool(self._active)

    def add(self, fault: Fault) -> ActiveFault:
        """Put a fault in force."""
        active = ActiveFault(str(next(self._numbers)), fault)
        self._active[active.id] = active
        self._tell()
        return active

    def get(self, number: str) -> ActiveFault | None:
        """Find a fault by its id."""
        return self._active.get(number)

    def release(self, number: str) -> None:
        """Let the requests that a fault holds go on; it holds no more of them."""
        active = self._active.get(number)
        if active is not None:
            active.released.set()
            self._tell()

    def remove(self, number: str) -> None:
        """Take a fault out of force, letting go what it holds."""
        active = self._active.pop(number, None)
        if active is not None:
            active.released.set()
            self._tell()

    def clear(self) -> None:
        """Take all faults out of force."""
        for number in list(self._active):
            self.remove(number)

    def strike(self, stage: frozenset[str], asked: Attributes, user: str, agent: str) -> ActiveFault | None:
        """Find the first fault of a stage that strikes this request."""
        for active in self._active.values():
            fault = active.fault
            if fault.kind in stage and fault.concerns(asked, user, agent) and active.decides_to_strike():
                return active
        return None

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()


def shift_lease_times(data: bytes, by_s: float) -> bytes:
    """Shift the times in a lease that is being written, as if its holder's clock had jumped; a read has no body."""
    if not data:
        return data
    doc = msgspec.json.decode(data)
    spec = doc.get("spec") if isinstance(doc, dict) else None
    for name in ("acquireTime", "renewTime"):
        if isinstance(spec, dict) and isinstance(spec.get(name), str):
            moment = dt.datetime.fromisoformat(spec[name]) + dt.timedelta(seconds=by_s)
            spec[name] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return msgspec.json.encode(doc)
