"""What the drivers of several replicas saw, beside what stood in the API server at that very moment.

Each replica has a socket of its own to a driver of the same name, so every call is known by its caller. When a call
arrives, the claim and the lease are read from the API server's store in the same step: nothing can move in between,
since the API server and the drivers run on one event loop. `problems` says which of the invariants did not hold.
"""

import bisect
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec

from resizer.devcluster.apiserver import ApiServer
from resizer.kube.lease import LeaseTiming, lease_name
from resizer.model.quantity import parse_quantity
from tests.scripted_driver import Answer, Plan, ScriptedDriver

ACTING = frozenset({"ControllerExpandVolume", "ControllerResizeVolume"})
RECORDED = ("ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInfeasible")
"""States of a claim whose target is being asked for. A repeated target keeps the second one, as with the peer; where
the node has given up, the controller verifies the target before the node is asked again."""
LATE_S = 0.5
"""How late a busy machine may let us see a call that was started in time."""


class Act(msgspec.Struct):
    """One driver call that grows. Times are monotonic seconds; `ended_s` is None while it is in flight."""

    replica: str
    driver: str
    volume: str
    size_bytes: int
    began_s: float
    ended_s: float | None = None


class LeaseWrite(msgspec.Struct, frozen=True):
    """One change of a lease, when the API server stored it. `holder` is empty when it was released or deleted."""

    at_s: float
    holder: str


class Witness:
    """The record of all replicas' drivers."""

    def __init__(self, server: ApiServer, *, timing: LeaseTiming) -> None:
        self.acts: list[Act] = []
        self.leases: dict[str, list[LeaseWrite]] = {}
        self.found: list[str] = []
        self._open: list[Act] = []
        self._timing = timing
        self._claims = server.store.named("persistentvolumeclaims", group="")
        self._collection = server.store.named("leases", group="coordination.k8s.io")
        self._position = self._collection.end
        self._collection.listeners.add(self._note_leases)

    def driver(self, replica: str, plan: Plan, *, choose: Callable[[str], Answer] | None = None) -> "WitnessedDriver":
        """Make a driver for this replica's socket. `choose` decides on answers instead of the plan."""
        return WitnessedDriver(self, replica, plan, choose=choose)

    def holder(self, driver: str) -> str:
        """Who holds the driver's lease by what is stored; empty for nobody."""
        writes = self.leases.get(lease_name(driver))
        return writes[-1].holder if writes else ""

    def problems(self) -> list[str]:
        """Every invariant that did not hold so far."""
        return [*self.found, *(text for act in self.acts if (text := self._misses_lease(act)))]

    def begin(self, replica: str, driver: str, request: Any) -> Act:
        """Note a call that has just arrived, and check what must hold at this moment."""
        act = Act(replica, driver, request.volume_id, request.capacity_range.required_bytes, time.monotonic())
        self._open = [other for other in self._open if other.ended_s is None]
        for other in self._open:
            if other.driver == driver and other.volume == act.volume:
                self.found.append(f"{act.volume}: two calls at once, of {other.replica} and {replica}")
            if other.driver == driver and other.replica != replica:
                self.found.append(f"{driver}: {other.replica} and {replica} act at once")
        self._open.append(act)
        self.acts.append(act)
        self.found.extend(self._misses_intent(act))
        return act

    def _misses_intent(self, act: Act) -> list[str]:
        """Intent before effect, and never smaller (DESIGN 5, statements 1 and 2)."""
        stored = self._claims.objects.get(("default", act.volume.removeprefix("pv-")))
        if stored is None:
            return [f"{act.volume}: called without a claim"]
        status = json.loads(stored.raw)["status"]
        target = status.get("allocatedResources", {}).get("storage", "0")
        state = status.get("allocatedResourceStatuses", {}).get("storage", "")
        found = []
        if parse_quantity(target).bytes != act.size_bytes or state not in RECORDED:
            found.append(f"{act.volume}: {act.replica} called for {act.size_bytes} while this was recorded: {status}")
        if act.size_bytes < parse_quantity(status["capacity"]["storage"]).bytes:
            found.append(f"{act.volume}: called for {act.size_bytes}, below {status['capacity']['storage']}")
        return found

    def _misses_lease(self, act: Act) -> str:
        """The lease was the caller's when the call began, and renewed less than the renew deadline ago."""
        writes = self.leases.get(lease_name(act.driver), [])
        index = bisect.bisect_right(writes, act.began_s, key=lambda write: write.at_s) - 1
        if index < 0 or writes[index].holder != act.replica:
            holder = writes[index].holder if index >= 0 else ""
            return f"{act.volume}: {act.replica} called while the lease was {holder!r}'s"
        age_s = act.began_s - writes[index].at_s
        if age_s > self._timing.renew_deadline_s + LATE_S:
            return f"{act.volume}: {act.replica} called {age_s:.2f}s after it had last renewed the lease"
        return ""

    def _note_leases(self) -> None:
        at_s = time.monotonic()
        for change in self._collection.changes_from(self._position):
            self._position += 1
            spec = json.loads(change.current.raw).get("spec") or {}
            holder = "" if change.type == "DELETED" else spec.get("holderIdentity") or ""
            self.leases.setdefault(change.current.key[1], []).append(LeaseWrite(at_s, holder))


class WitnessedDriver(ScriptedDriver):
    """A scripted driver behind one replica's socket."""

    def __init__(
        self, witness: Witness, replica: str, plan: Plan, *, choose: Callable[[str], Answer] | None = None
    ) -> None:
        super().__init__(plan)
        self._witness = witness
        self._replica = replica
        self._choose = choose

    def _next(self, name: str, request: Any) -> Answer:
        if self._choose is not None and name in ACTING:
            return self._choose(request.volume_id)
        return super()._next(name, request)

    async def _answer(self, name: str, request: Any, response: Any, context: Any) -> bytes:
        if name not in ACTING:
            return await super()._answer(name, request, response, context)
        act = self._witness.begin(self._replica, self.plan.name, request)
        try:
            return await super()._answer(name, request, response, context)
        finally:
            act.ended_s = time.monotonic()
