"""The agent's work on one claim: from its label to the grown filesystem, one look at a time.

    label and state -> volume -> published places -> driver's socket
        -> claim: NodeResizeInProgress -> NodeExpandVolume for each place -> claim: done, label gone

In: keys of claims with this node's label. Out: when to look again. As in the controller, nothing is trusted but what
stands in the API server; what is remembered (failures, who used a volume that has to be free) may be lost without
harm, since NodeExpandVolume is idempotent. A kubelet may do the same at the same time: the driver takes one call after
the other, and of two last patches the second meets a version that has moved on, and finds nothing left to do.

What stands in the way is said in the claim (NodeResizeError), in an event and in the log, and tried again later.
"""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from resizer.core.eligibility import is_bound_to
from resizer.core.pacing import Limits, delay_exponential
from resizer.csi.telemetry import CsiTelemetry
from resizer.model.errors import ApiError, ConflictError, DriverError, NotCalledError
from resizer.model.objects import Claim, Volume
from resizer.model.timestamp import format_time
from resizer.node import status
from resizer.node.driver_socket import DriverNotFoundError, SocketFinder
from resizer.node.plugin import NodePlugin, open_node_plugin
from resizer.node.published import Published, find_published
from resizer.pipeline.ports import Clock, EventSink, EventType, JsonObject, Objects, SecretReader, Writer
from resizer.pipeline.result import Result

LOOK_AGAIN_S: Final = 5.0
"""How often it is looked whether a pod has come or gone: the kubelet's directory tells nobody of it."""
CONFLICT_S: Final = 0.05
_SAY_AGAIN_S: Final = 3600.0

log = structlog.get_logger()


class _ObstacleError(Exception):
    """The driver cannot be called; the text says why and what to do."""


class _Memory(Struct):
    """What is remembered of one claim, by uid."""

    uid: str
    size_bytes: int = 0
    failures: int = 0
    not_before_s: float = 0.0
    refused_at: frozenset[str] = frozenset()
    """Where the volume was published when the driver said that it must not be in use."""
    outcome: str = ""
    said: str = ""
    said_at_s: float = 0.0


class Surroundings(Struct, frozen=True):
    """What the agent works with."""

    objects: Objects
    writer: Writer
    events: EventSink
    secrets: SecretReader
    finder: SocketFinder
    telemetry: CsiTelemetry
    now: Clock
    label: str
    root: Path
    timeout_s: float = 120.0
    limits: Limits = Limits()


class Agent:
    """Looks at the claims of one node. `look` is what the workers call."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._memories: dict[str, _Memory] = {}

    async def look(self, key: str) -> Result:
        """Take one claim as far as it goes now."""
        claim = self._around.objects.claim(key)
        if claim is None:
            self._memories.pop(key, None)
            return Result("gone")
        memory = self._memories.get(key)
        if memory is None or memory.uid != claim.uid:
            memory = self._memories[key] = _Memory(claim.uid)
        try:
            result = await self._advance(claim, memory)
        except ConflictError:
            result = await self._after_conflict(key)
        except ApiError as error:
            log.warning("agent.api_error", claim=key, error=str(error))
            result = Result("api-error", self._back_off(memory))
        if result.outcome in ("grown", "not-ours", "dropped"):
            self._memories.pop(key, None)
        if result.outcome not in ("waiting", memory.outcome):
            retry_in_s = result.requeue_after_s
            log.info("agent.looked_at", claim=key, uid=claim.uid, outcome=result.outcome, retry_in_s=retry_in_s)
        memory.outcome = result.outcome
        return result

    async def _advance(self, claim: Claim, memory: _Memory) -> Result:
        match status.find_turn(claim, label=self._around.label):
            case "not-ours":
                return Result("not-ours")
            case "finished":
                await self._write(claim, status.drop_label(claim))
                return Result("dropped")
            case "ours":
                pass
        volume = await self._around.writer.read_volume(claim.volume_name) if claim.volume_name else None
        if volume is None or not is_bound_to(volume, claim) or volume.capacity_bytes < claim.allocated_bytes:
            return Result("volume-not-ready", LOOK_AGAIN_S)
        if memory.size_bytes != volume.capacity_bytes:
            # A new target begins afresh.
            memory.size_bytes, memory.failures, memory.not_before_s = volume.capacity_bytes, 0, 0.0
        wait_s = memory.not_before_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            return Result("waiting", wait_s)
        try:
            return await self._grow(claim, volume, memory)
        except DriverError as error:
            return await self._after_refusal(claim, volume, memory, error)
        except (_ObstacleError, DriverNotFoundError, NotCalledError) as error:
            return await self._after_obstacle(claim, volume, memory, str(error))

    async def _grow(self, claim: Claim, volume: Volume, memory: _Memory) -> Result:
        places = await self._places(volume)
        if memory.refused_at & {place.path for place in places}:
            return Result("waiting", LOOK_AGAIN_S)
        memory.refused_at = frozenset()
        if not places:
            return Result("not-mounted", LOOK_AGAIN_S)
        secrets = await self._secrets(volume)
        socket = await self._around.finder.find(volume.driver)
        async with open_node_plugin(
            socket, telemetry=self._around.telemetry, timeout_s=self._around.timeout_s
        ) as plugin:
            if not plugin.abilities.expands:
                raise _ObstacleError(
                    f"the node plugin of driver {volume.driver} has no EXPAND_VOLUME among its capabilities: it cannot "
                    "grow a filesystem; update the driver, or grow it by hand on this node"
                )
            claim = await self._write(claim, status.begin(claim))
            try:
                await _expand_all(plugin, volume, places, secrets)
            except DriverError as error:
                memory.refused_at = frozenset(place.path for place in places)
                return await self._after_refusal(claim, volume, memory, error)
        await self._write(claim, status.finish(claim, volume.capacity))
        message = f"NodeExpandVolume succeeded for volume {volume.name} by the node agent"
        self._emit(claim, volume, type_="Normal", reason="FileSystemResizeSuccessful", message=message)
        return Result("grown")

    async def _places(self, volume: Volume) -> tuple[Published, ...]:
        """Where the volume is published here. Raises _ObstacleError when all that is there is unusable."""
        findings = await asyncio.to_thread(find_published, self._around.root, volume)
        if findings.problems and not findings.places:
            raise _ObstacleError(findings.problems[0])
        for problem in findings.problems:
            log.warning("agent.place_unusable", volume=volume.name, problem=problem)
        return findings.places

    async def _secrets(self, volume: Volume) -> Mapping[str, str]:
        if not volume.node_expand_secret_name:
            return {}
        try:
            return await self._around.secrets.read_secret(
                volume.node_expand_secret_namespace, volume.node_expand_secret_name
            )
        except ApiError as error:
            raise _ObstacleError(
                f"the volume's nodeExpandSecretRef cannot be read ({error}): give the agent's ServiceAccount the right "
                f"to get secrets in namespace {volume.node_expand_secret_namespace}"
            ) from error

    # ---- what did not work ----

    async def _after_refusal(self, claim: Claim, volume: Volume, memory: _Memory, error: DriverError) -> Result:
        """The driver was called and said no, or nobody knows what it said."""
        refusal = status.refusal_of(error)
        if refusal != "in-use":
            memory.refused_at = frozenset()
        if error.code == "UNAVAILABLE":
            self._around.finder.forget(volume.driver)
        message = status.message_of(error)
        now = format_time(self._around.now())
        body = status.refuse(claim, message, is_infeasible=refusal == "infeasible", now=now)
        await self._say(claim, volume, memory, cause=f"{refusal}/{error.code}", message=message, body=body)
        if refusal == "in-use":
            return Result("in-use", LOOK_AGAIN_S)
        delay_s = self._back_off(memory)
        return Result(refusal, None if refusal == "infeasible" else delay_s)

    async def _after_obstacle(self, claim: Claim, volume: Volume, memory: _Memory, text: str) -> Result:
        """The driver was not called."""
        body = status.refuse(claim, text, is_infeasible=False, now=format_time(self._around.now()))
        await self._say(claim, volume, memory, cause=text, message=text, body=body)
        return Result("obstacle", self._back_off(memory))

    async def _say(
        self, claim: Claim, volume: Volume, memory: _Memory, *, cause: str, message: str, body: JsonObject
    ) -> None:
        """Write the condition and emit the event, the same cause once an hour; a new state is written in any case."""
        now_s = asyncio.get_running_loop().time()
        is_news = memory.said != cause or now_s - memory.said_at_s > _SAY_AGAIN_S
        if is_news or "allocatedResourceStatuses" in body.get("status", {}):
            await self._write(claim, body)
        if is_news:
            memory.said, memory.said_at_s = cause, now_s
            log.warning("agent.refused", claim=claim.key, volume=volume.name, driver=volume.driver, reason=message)
            self._emit(claim, volume, type_="Warning", reason="VolumeResizeFailed", message=message)

    def _back_off(self, memory: _Memory) -> float:
        memory.failures += 1
        # Chance only spreads retries over time.
        delay_s = delay_exponential(memory.failures, limits=self._around.limits, roll=random.random())  # noqa: S311
        memory.not_before_s = asyncio.get_running_loop().time() + delay_s
        return delay_s

    async def _after_conflict(self, key: str) -> Result:
        """Somebody wrote first: read what stands, and look again."""
        try:
            await self._around.writer.read_claim(key)
        except ApiError as error:
            log.info("agent.read_failed", claim=key, error=str(error))
        return Result("conflict", CONFLICT_S)

    # ---- writing ----

    async def _write(self, claim: Claim, body: JsonObject) -> Claim:
        return await self._around.writer.patch_claim_status(claim, body) if body else claim

    def _emit(self, claim: Claim, volume: Volume, *, type_: EventType, reason: str, message: str) -> None:
        self._around.events.emit(claim, type_=type_, reason=reason, message=message, driver=volume.driver)


async def _expand_all(
    plugin: NodePlugin, volume: Volume, places: tuple[Published, ...], secrets: Mapping[str, str]
) -> None:
    """Grow every place, one after the other.

    A place where the driver finds nothing is no failure if another stands: a pod has left meanwhile, or the kubelet
    is only about to mount there. If all pods have left, nobody knows whether the volume could be grown.
    """
    missing: str | None = None  # its text: an error kept beyond its handler would keep the secrets in memory, too
    is_grown = False
    for place in places:
        try:
            await plugin.expand(volume, place, size_bytes=volume.capacity_bytes, secrets=secrets)
            is_grown = True
        except DriverError as error:
            if error.code != "NOT_FOUND":
                raise
            missing = error.message
    if missing is None or is_grown:
        return
    if not await asyncio.to_thread(lambda: any(Path(place.path).exists() for place in places)):
        raise DriverError("ABORTED", f"the pods that used the volume left before it was grown: {missing}")
    raise DriverError("NOT_FOUND", missing)
