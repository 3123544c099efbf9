"""What the world does to two replicas in the soak test: faults of the API server, a moody driver, a user, a node.

Everything is drawn from one seeded generator per part, so that a seed can be run again (what the machine's timing
makes of it differs from run to run). Faults strike only the resizer's requests; user and node are served well.
"""

import asyncio
import json
import random
from collections.abc import Iterable

from resizer.devcluster.apiserver.faults import AFTER, BEFORE, ON_DELIVERY, ON_WATCH, ActiveFault, Fault
from resizer.devcluster.client import ApiClientError
from resizer.devcluster.endpoint import CLAIMS, PODS, VOLUMES
from resizer.model.quantity import parse_quantity
from tests.e2e.rig import Rig
from tests.scripted_driver import Answer

GIB = 1 << 30
AGENT = "resizer/"
RESOURCES = ("", "persistentvolumeclaims", "persistentvolumes", "leases", "events", "pods")
KINDS = sorted(BEFORE | AFTER | ON_WATCH | ON_DELIVERY)
FAILURES = ("ABORTED", "UNAVAILABLE", "INTERNAL", "INVALID_ARGUMENT", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED")
NODES_TURN = ("NodeResizePending", "NodeResizeInProgress")
ENDED_BY_THE_NODE = ("Resizing", "FileSystemResizePending", "NodeResizeError")
NUDGED_AT = "csi-resizer.dev/nudged-at"


class FaultStorm:
    """Adds faults of every kind at random and takes each out of force after a moment; `run` until cancelled."""

    def __init__(self, rig: Rig, seed: int, *, longest_s: float) -> None:
        self.struck: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._faults = rig.server.faults
        self._server = rig.server
        self._random = random.Random(seed)
        self._longest_s = longest_s

    async def run(self) -> None:
        """Rage until cancelled; afterwards all is calm."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    group.create_task(self._rage(self._draw()))
                    if self._random.random() < 0.05:
                        self._server.compact()
                    await asyncio.sleep(self._random.uniform(0.05, 0.4))
        finally:
            self._faults.clear()

    def _draw(self) -> Fault:
        roll = self._random
        kind = roll.choice(KINDS)
        is_clock = kind == "lease-clock"
        resource = "leases" if is_clock else roll.choice(RESOURCES)
        delay_s = roll.uniform(-7200, 7200) if is_clock else roll.uniform(0.01, 1.5)
        return Fault(
            kind=kind,
            resource=resource,
            user_agent=AGENT,
            probability=roll.choice((0.1, 0.3, 1.0)),
            delay_s=delay_s,
            seed=roll.randrange(1 << 30),
        )

    async def _rage(self, fault: Fault) -> None:
        # Silence has to last to be silence; what stops everything at once must not be all there ever is.
        longest_s = self._longest_s if fault.kind in ON_WATCH | {"lease-clock"} else self._longest_s / 3
        active: ActiveFault = self._faults.add(fault)
        try:
            await asyncio.sleep(self._random.uniform(0.05, longest_s))
        finally:
            self._faults.remove(active.id)
            self.struck[fault.kind] += active.hits


class MoodyDriver:
    """How the drivers answer while the storm lasts: mostly well, some slowly, some not at all, some with an error."""

    def __init__(self, seed: int) -> None:
        self.calm = False
        self._random = random.Random(seed)

    def choose(self, _volume: str) -> Answer:
        """Answer one call."""
        roll = self._random
        mood = roll.random()
        if self.calm or mood < 0.6:
            return Answer(delay_s=0.0 if self.calm else roll.uniform(0, 0.05))
        if mood < 0.7:
            return Answer(delay_s=roll.uniform(0.1, 1.0))
        if mood < 0.75:
            return Answer(hang=True)
        return Answer(code=roll.choice(FAILURES), message="as it pleases", delay_s=roll.uniform(0, 0.1))


class User:
    """Edits claims at random: mostly upwards, now and then back down to what can still be taken back."""

    def __init__(self, rig: Rig, names: Iterable[str], seed: int) -> None:
        self.edits = 0
        self.edited_s: dict[str, float] = {}
        self._rig = rig
        self._names = list(names)
        self._random = random.Random(seed)

    async def run(self, *, pause_s: float) -> None:
        """Edit until cancelled."""
        while True:
            await self.edit(self._random.choice(self._names))
            await asyncio.sleep(self._random.uniform(0, 2 * pause_s))

    async def edit(self, name: str) -> None:
        """Change the wish of one claim; what the API server refuses is the user's loss."""
        claim = stored(self._rig, name)
        asked, has = gib(claim["spec"]["resources"]["requests"]["storage"]), gib(claim["status"]["capacity"]["storage"])
        back = asked > has + 1 and self._random.random() < 0.2
        size = has + 1 if back else asked + self._random.randint(1, 3)
        try:
            await self._rig.edit(name, f"{size}Gi")
        except ApiClientError:
            return
        self.edits += 1
        self.edited_s[name] = asyncio.get_running_loop().time()


class Node:
    """A kubelet's part, for pods that mount some claims each: it looks at a pod when nudged, and every few seconds.

    Until it is calm it gives up one growth in ten, as a kubelet does whose driver says that it cannot be done.
    """

    def __init__(self, rig: Rig, pods: dict[str, list[str]], seed: int) -> None:
        self.calm = False
        self.nudges = 0
        self.grown = 0
        self.given_up = 0
        self._rig = rig
        self._pods = pods
        self._random = random.Random(seed)
        self._seen: dict[str, str] = dict.fromkeys(pods, "")
        self._synced_s: dict[str, float] = dict.fromkeys(pods, 0.0)

    async def place(self) -> None:
        """Create the pods."""
        for name, claims in self._pods.items():
            volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
            containers = [{"name": "db", "image": "db"}]
            body = {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": "node-1", "containers": containers, "volumes": volumes},
            }
            await self._rig.client.create(PODS, body)
            await self._rig.client.patch_status(PODS, name, {"phase": "Running"}, namespace="default")

    async def run(self, *, sync_every_s: float) -> None:
        """Look after the pods until cancelled."""
        pods = self._rig.server.store.named("pods", group="")
        clock = asyncio.get_running_loop().time
        while True:
            for name, claims in self._pods.items():
                meta = json.loads(pods.objects["default", name].raw)["metadata"]
                nudge = meta.get("annotations", {}).get(NUDGED_AT, "")
                if nudge != self._seen[name] or clock() - self._synced_s[name] > sync_every_s:
                    self.nudges += nudge != self._seen[name]
                    self._seen[name], self._synced_s[name] = nudge, clock()
                    for claim in claims:
                        await self._grow(claim)
            await asyncio.sleep(0.02)

    async def _grow(self, name: str) -> None:
        claim = stored(self._rig, name)
        if claim["status"].get("allocatedResourceStatuses", {}).get("storage") not in NODES_TURN:
            return
        try:
            begun = await self._patch(claim, {"allocatedResourceStatuses": {"storage": "NodeResizeInProgress"}})
            await asyncio.sleep(self._random.uniform(0, 0.02))
            conditions = {c["type"]: c for c in begun["status"].get("conditions", [])}
            if not self.calm and self._random.random() < 0.1:
                error = {"type": "NodeResizeError", "status": "True", "message": "as it pleases"}
                told = list((conditions | {"NodeResizeError": error}).values())
                given_up = {"allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"}, "conditions": told}
                await self._patch(begun, given_up)
                self.given_up += 1
                return
            volume = await self._rig.client.get(VOLUMES, f"pv-{name}")
            kept = [c for type_, c in conditions.items() if type_ not in ENDED_BY_THE_NODE]
            size = volume["spec"]["capacity"]["storage"]
            done = {"capacity": {"storage": size}, "allocatedResourceStatuses": None, "conditions": kept}
            await self._patch(begun, done)
            self.grown += 1
        except ApiClientError:
            return  # somebody else wrote: at the next look

    async def _patch(self, claim: dict, status: dict) -> dict:
        meta = claim["metadata"]
        return await self._rig.client.patch_status(
            CLAIMS, meta["name"], status, namespace="default", resource_version=meta["resourceVersion"]
        )


def stored(rig: Rig, name: str) -> dict:
    """Read a claim behind the socket: what stands, without a request."""
    return json.loads(rig.server.store.named("persistentvolumeclaims", group="").objects["default", name].raw)


def gib(text: str) -> int:
    """Whole GiB of a quantity."""
    return parse_quantity(text).bytes // GIB


def is_settled(claim: dict) -> bool:
    """Whether nothing of a growth is left to do."""
    status = claim["status"]
    has, asks = (parse_quantity(t["storage"]) for t in (status["capacity"], claim["spec"]["resources"]["requests"]))
    return has >= asks and not status.get("allocatedResourceStatuses") and not status.get("conditions")
