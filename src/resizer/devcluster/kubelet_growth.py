"""Growing a volume on its node, as a kubelet 1.36 was recorded to do (tests/data/kubelet-decisions).

A growth is due when a pod's sync saw a volume object larger than what the node has. Then, until it is done:

1. The claim is read afresh. It is the node's turn when its state is NodeResizePending or NodeResizeInProgress (or
   there is none); with any other state nothing is done until the claim changes.
2. State NodeResizeInProgress is written, conditions untouched; NodeExpandVolume is called.
3. Success: capacity = the volume's, state and all resize conditions go, allocatedResources stays.
4. INVALID_ARGUMENT, OUT_OF_RANGE, NOT_FOUND: NodeResizeInfeasible and NodeResizeError. Tried again only when
   somebody has set the state back, and with the back-off of 6.
5. FAILED_PRECONDITION: NodeResizeError; never tried again while a pod has the volume on this node.
6. Any other error: NodeResizeError; tried again with a back-off that doubles.

A claim that another node has finished already is left as it is: this node grows its own mount and says nothing.
A volume that is mounted read-only by all pods here is never grown.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from resizer.devcluster.client import CLAIMS, Client, ConflictError, Document, NotFoundError
from resizer.devcluster.event import tell, timestamp
from resizer.devcluster.kubelet_volume import NodeVolume, VolumeMounter
from resizer.devcluster.mirror import split_key
from resizer.devcluster.secret import read_secret
from resizer.model.errors import DriverError
from resizer.model.objects import (
    NODE_EXPANSION_NOT_REQUIRED,
    NODE_RESIZE_ERROR,
    NODE_RESIZE_IN_PROGRESS,
    NODE_RESIZE_INFEASIBLE,
    NODE_RESIZE_PENDING,
    RESIZE_CONDITIONS,
)
from resizer.model.quantity import format_bytes, parse_bytes
from resizer.rpc.pb import csi_v1_pb2 as pb

_INFEASIBLE: Final = frozenset({"INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND"})
_NODES_TURN: Final = frozenset({"", NODE_RESIZE_PENDING, NODE_RESIZE_IN_PROGRESS})
_WRITE_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletTiming:
    """The real kubelet's times; tests run a faster clock."""

    sync_s: float = 60.0
    first_backoff_s: float = 0.5
    max_backoff_s: float = 122.0


class VolumeGrowth:
    """Grows the volumes of one node. Callers hold the volume's lock."""

    def __init__(self, *, client: Client, mounter: VolumeMounter, timing: KubeletTiming) -> None:
        self._client = client
        self._mounter = mounter
        self._timing = timing

    async def grow_while_mounting(self, volume: NodeVolume) -> None:
        """Grow a volume that waited for a pod, between staging and publishing it for the first one.

        Raises DriverError when the mount has to be tried again; a refusal because of use does not hold it up.
        """
        if volume.is_block or not volume.plugin.stages:
            return
        try:
            await self._grow(volume, path=self._mounter.staging_path(volume))
        except DriverError as error:
            if error.code != "FAILED_PRECONDITION":
                raise

    async def grow_mounted(self, volume: NodeVolume) -> float | None:
        """Do what is due for a mounted volume; return when to look again, None when something has to change first."""
        writers = [uid for uid, read_only in volume.targets.items() if not read_only]
        if not volume.is_growth_due or not writers or volume.refused_in_use:
            return None
        wait_s = volume.not_before - asyncio.get_running_loop().time()
        if wait_s > 0:
            return wait_s
        try:
            await self._grow(volume, path=self._mounter.target_path(volume, writers[0]))
        except DriverError as error:
            if error.code == "FAILED_PRECONDITION":
                return None
            return volume.not_before - asyncio.get_running_loop().time()
        return None

    async def _grow(self, volume: NodeVolume, *, path: Path) -> None:
        claim = await self._read_claim(volume)
        if claim is None or not volume.plugin.expands_on_node:
            return
        if NODE_EXPANSION_NOT_REQUIRED in claim["metadata"].get("annotations", {}):
            volume.size_bytes = volume.wanted_bytes
            return
        state = _state(claim)
        if state not in _NODES_TURN:
            return
        is_finished = not state and _capacity_bytes(claim) >= volume.wanted_bytes
        if not is_finished and state != NODE_RESIZE_IN_PROGRESS:
            claim = await self._write(claim, {"allocatedResourceStatuses": {"storage": NODE_RESIZE_IN_PROGRESS}})
        size_bytes = volume.wanted_bytes
        try:
            await self._call(volume, path=path, size_bytes=size_bytes)
        except DriverError as error:
            self._back_off(volume, error)
            if not is_finished:
                await self._write_failure(claim, error)
            raise
        volume.failures, volume.size_bytes = 0, size_bytes
        if not is_finished:
            await self._write_success(claim, volume=volume.name, size_bytes=size_bytes)

    async def _call(self, volume: NodeVolume, *, path: Path, size_bytes: int) -> None:
        request = pb.NodeExpandVolumeRequest(
            volume_id=volume.handle,
            volume_path=str(path),
            capacity_range=pb.CapacityRange(required_bytes=size_bytes),
            staging_target_path=str(self._mounter.staging_path(volume)) if volume.plugin.stages else "",
            volume_capability=volume.capability,
            secrets=await read_secret(self._client, volume.spec["csi"].get("nodeExpandSecretRef")),
        )
        await volume.plugin.call(volume.plugin.node.NodeExpandVolume, request)

    def _back_off(self, volume: NodeVolume, error: DriverError) -> None:
        volume.refused_in_use = error.code == "FAILED_PRECONDITION"
        delay_s = min(self._timing.first_backoff_s * 2**volume.failures, self._timing.max_backoff_s)
        volume.failures += 1
        volume.not_before = asyncio.get_running_loop().time() + delay_s

    # ---- the claim ----

    async def _read_claim(self, volume: NodeVolume) -> Document | None:
        """Return the claim as it stands, None if it is no longer this volume's."""
        namespace, name = split_key(volume.claim_key)
        try:
            claim = await self._client.get(CLAIMS, name, namespace=namespace)
        except NotFoundError:
            return None
        return claim if claim["metadata"]["uid"] == volume.spec["claimRef"]["uid"] else None

    async def _write_success(self, claim: Document, *, volume: str, size_bytes: int) -> None:
        claim = await self._write(
            claim,
            {"capacity": {"storage": format_bytes(size_bytes)}, "allocatedResourceStatuses": None},
            without=RESIZE_CONDITIONS,
        )
        message = f'MountVolume.NodeExpandVolume succeeded for volume "{volume}"'
        await tell(
            self._client, claim, type_="Normal", reason="FileSystemResizeSuccessful", message=message, source="kubelet"
        )

    async def _write_failure(self, claim: Document, error: DriverError) -> None:
        is_final = error.code in _INFEASIBLE
        text = f"rpc error: code = {_go_name(error.code)} desc = {error.message}"
        # The kubelet wraps final errors with one colon less; what it says is compared with the recordings.
        joint = " " if is_final else " : "
        message = f"failed to expand pvc with Expander.NodeExpand failed to expand the volume{joint}{text}"
        change: Document = {"allocatedResourceStatuses": {"storage": NODE_RESIZE_INFEASIBLE}} if is_final else {}
        condition = {"type": NODE_RESIZE_ERROR, "status": "True", "message": message}
        claim = await self._write(claim, change, condition=condition)
        await tell(self._client, claim, type_="Warning", reason="VolumeResizeFailed", message=message, source="kubelet")

    async def _write(
        self,
        claim: Document,
        change: Document,
        *,
        without: frozenset[str] = frozenset(),
        condition: Document | None = None,
    ) -> Document:
        """Patch the claim's status at the version read; another writer's version is read and the patch made again."""
        namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
        for _ in range(_WRITE_ATTEMPTS):
            status = {**change, **_conditions(claim, without=without, condition=condition)}
            version = claim["metadata"]["resourceVersion"]
            try:
                return await self._client.patch_status(
                    CLAIMS, name, status, namespace=namespace, resource_version=version
                )
            except ConflictError:
                claim = await self._client.get(CLAIMS, name, namespace=namespace)
        raise DriverError("ABORTED", f"claim {namespace}/{name}: {_WRITE_ATTEMPTS} version conflicts in a row")


def _state(claim: Document) -> str:
    return str(claim.get("status", {}).get("allocatedResourceStatuses", {}).get("storage", ""))


def _capacity_bytes(claim: Document) -> int:
    return parse_bytes(claim.get("status", {}).get("capacity", {}).get("storage", "0"))


def _conditions(claim: Document, *, without: frozenset[str], condition: Document | None) -> dict[str, Any]:
    """Return the part of a merge patch that changes the conditions, empty when they stay as they are."""
    present = claim.get("status", {}).get("conditions", [])
    kept = [one for one in present if one["type"] not in without]
    if condition is not None:
        before = next((one for one in kept if one["type"] == condition["type"]), None)
        since = before["lastTransitionTime"] if before and before["status"] == condition["status"] else timestamp()
        kept = [one for one in kept if one["type"] != condition["type"]]
        kept.append({**condition, "lastProbeTime": None, "lastTransitionTime": since})
    return {"conditions": kept} if kept != present else {}


def _go_name(code: str) -> str:
    """Return the name that Go's gRPC prints for a code: INVALID_ARGUMENT is InvalidArgument."""
    return "Canceled" if code == "CANCELLED" else "".join(word.capitalize() for word in code.split("_"))
