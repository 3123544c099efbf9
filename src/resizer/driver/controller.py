"""Controller: volumes are made, deleted, published, listed and grown (CSI 1.12, "Controller Service RPC").

Each method takes a request and returns the response or raises CallError with the code that the specification
sets for the case. Nothing here touches a device: growing a volume grows its file and, when something is attached
to it on this machine, makes the new size known there.
"""

import asyncio
import contextlib
import secrets
from typing import Final

import msgspec
from grpc import StatusCode

from resizer.driver import image_file
from resizer.driver.backend import Backend, usable_filesystems
from resizer.driver.capability import MULTI_NODE_MODES, common_access, common_filesystem, parse_use, parse_uses
from resizer.driver.command import missing_program
from resizer.driver.failure import CallError, already_exists, invalid, not_found, precondition
from resizer.driver.filesystem import FILESYSTEMS, filesystem, missing_programs
from resizer.driver.guard import Guard
from resizer.driver.listing import condition, page, parse_token
from resizer.driver.secret import mark_secret, secret_matches
from resizer.driver.size import BLOCK_BYTES, Pool, parse_range
from resizer.driver.volumes import Publication, Use, Volume, VolumeBook
from resizer.rpc.pb import csi_v1_pb2 as pb

RPC = pb.ControllerServiceCapability.RPC

_CAPABILITIES: Final = (
    RPC.CREATE_DELETE_VOLUME,
    RPC.PUBLISH_UNPUBLISH_VOLUME,
    RPC.LIST_VOLUMES,
    RPC.GET_CAPACITY,
    RPC.EXPAND_VOLUME,
    RPC.LIST_VOLUMES_PUBLISHED_NODES,
    RPC.VOLUME_CONDITION,
    RPC.GET_VOLUME,
    RPC.SINGLE_NODE_MULTI_WRITER,
)
_MAX_NAME_BYTES: Final = 128


class Controller:
    """The Controller service."""

    def __init__(
        self,
        *,
        book: VolumeBook,
        backend: Backend,
        pool: Pool,
        guard: Guard,
        nodes: frozenset[str],
        require_secrets: bool,
    ) -> None:
        """Serve the volumes of `book` for the nodes of those ids."""
        self._book = book
        self._backend = backend
        self._pool = pool
        self._guard = guard
        self._nodes = nodes
        self._require_secrets = require_secrets

    async def controller_get_capabilities(
        self, request: pb.ControllerGetCapabilitiesRequest
    ) -> pb.ControllerGetCapabilitiesResponse:
        """What the methods below do."""
        del request
        return pb.ControllerGetCapabilitiesResponse(
            capabilities=[pb.ControllerServiceCapability(rpc=RPC(type=kind)) for kind in _CAPABILITIES]
        )

    # ---- creation and deletion ----

    async def create_volume(self, request: pb.CreateVolumeRequest) -> pb.CreateVolumeResponse:
        """Make a volume, or find the one of that name if it is what is asked for."""
        if not request.name:
            raise invalid("the request has no volume name")
        if len(request.name.encode()) > _MAX_NAME_BYTES:
            raise invalid(f"a volume's name has at most {_MAX_NAME_BYTES} bytes")
        if request.HasField("volume_content_source"):
            raise invalid("volumes are made empty here: snapshots and clones are not supported")
        if request.mutable_parameters:
            raise invalid("mutable parameters are not supported: leave the VolumeAttributesClass out")
        uses = parse_uses(request.volume_capabilities)
        if self._require_secrets and not request.secrets:
            raise CallError(StatusCode.UNAUTHENTICATED, f"volume {request.name} needs a secret: name one in the class")
        return await self._guard.run(f"volume name {request.name}", lambda: self._create(request, uses))

    async def _create(self, request: pb.CreateVolumeRequest, uses: list[Use]) -> pb.CreateVolumeResponse:
        wanted = parse_range(request.capacity_range)
        present = self._book.named(request.name)
        if present is not None and present.state == "deleting":
            raise CallError(StatusCode.ABORTED, f"volume {request.name} is being deleted: try again later")
        fs_type = self._filesystem_for(uses, present)
        if present is not None and present.state == "ready":
            same = present.access == common_access(uses) and present.fs_type == fs_type
            if not same or not wanted.holds(present.capacity_bytes) or present.parameters != dict(request.parameters):
                raise already_exists(
                    f"volume {request.name} exists with {present.capacity_bytes} bytes, {present.access} "
                    f"{present.fs_type}: ask for the same, or choose another name"
                )
            return pb.CreateVolumeResponse(volume=self._message(present))
        volume = Volume(
            volume_id=present.volume_id if present else f"qcfs-{secrets.token_hex(16)}",
            name=request.name,
            sequence=self._book.next_sequence(),
            state="creating",
            capacity_bytes=wanted.size_for(FILESYSTEMS[fs_type].minimum_bytes if fs_type else BLOCK_BYTES),
            access=common_access(uses),
            fs_type=fs_type,
            parameters=dict(request.parameters),
            secret=await asyncio.to_thread(mark_secret, request.secrets),
        )
        held = present.capacity_bytes if present else 0  # by an attempt that ended half done: counted already
        with self._pool.reserve(max(0, volume.capacity_bytes - held), purpose=f"volume {request.name}"):
            await self._book.put(volume)
        try:
            await asyncio.to_thread(image_file.make, self._backend.file(volume), volume.capacity_bytes)
        except CallError:
            await self._book.remove(volume.volume_id)
            raise
        ready = await self._book.put(msgspec.structs.replace(volume, state="ready"))
        return pb.CreateVolumeResponse(volume=self._message(ready))

    def _filesystem_for(self, uses: list[Use], present: Volume | None) -> str:
        """Return the filesystem to make, "" for a block volume; refuse one that cannot be made here."""
        if common_access(uses) == "block":
            return ""
        name = common_filesystem(uses)
        usable = usable_filesystems(self._backend.filesystems)
        if not name:
            if present is not None and present.fs_type:
                return present.fs_type
            if not usable:
                raise missing_program(FILESYSTEMS[self._backend.filesystems[0]].mkfs)
            return usable[0]
        fs = filesystem(name)
        if name not in self._backend.filesystems:
            raise invalid(
                f"{name} cannot be grown by backend {self._backend.name}, which mounts nothing: "
                f"use {', '.join(self._backend.filesystems)}, or backend loop"
            )
        if name not in usable:
            raise missing_program(missing_programs(fs)[0])
        return name

    async def delete_volume(self, request: pb.DeleteVolumeRequest) -> pb.DeleteVolumeResponse:
        """Delete the volume; nothing to do is done already."""
        if not request.volume_id:
            raise invalid("the request has no volume id")
        return await self._guard.run(request.volume_id, lambda: self._delete(request.volume_id))

    async def _delete(self, volume_id: str) -> pb.DeleteVolumeResponse:
        volume = self._book.get(volume_id)
        if volume is None:
            return pb.DeleteVolumeResponse()
        if volume.publications or volume.stagings or volume.targets:
            where = [p.node_id for p in volume.publications]
            where += [target.path for target in volume.targets] + [staging.path for staging in volume.stagings]
            raise precondition(f"volume {volume_id} is in use at {', '.join(where)}: unpublish it first")
        with contextlib.suppress(CallError):  # a disk too full to note it is freed by the deletion itself
            await self._book.put(msgspec.structs.replace(volume, state="deleting"))
        await asyncio.to_thread(image_file.remove, self._backend.file(volume))
        await self._book.remove(volume_id)
        return pb.DeleteVolumeResponse()

    # ---- publication ----

    async def controller_publish_volume(
        self, request: pb.ControllerPublishVolumeRequest
    ) -> pb.ControllerPublishVolumeResponse:
        """Note that the node uses the volume."""
        if not request.volume_id or not request.node_id:
            raise invalid("the request has no volume id or no node id")
        if not request.HasField("volume_capability"):
            raise invalid("the request has no volume capability")
        use = parse_use(request.volume_capability)
        volume = self._ready(request.volume_id)
        if request.node_id not in self._nodes:
            raise not_found(f"node {request.node_id} is not known: this driver serves {', '.join(sorted(self._nodes))}")
        if use.access != volume.access:
            raise invalid(f"volume {volume.volume_id} is a {volume.access} volume, not {use.access}")
        wanted = Publication(request.node_id, use, request.readonly)
        return await self._guard.run(volume.volume_id, lambda: self._publish(volume.volume_id, wanted))

    async def _publish(self, volume_id: str, wanted: Publication) -> pb.ControllerPublishVolumeResponse:
        volume = self._ready(volume_id)
        for present in volume.publications:
            if present == wanted:
                return pb.ControllerPublishVolumeResponse()
            if present.node_id == wanted.node_id:
                raise already_exists(
                    f"volume {volume_id} is published to node {wanted.node_id} with another capability or readonly flag"
                )
            if present.use.mode not in MULTI_NODE_MODES or wanted.use.mode not in MULTI_NODE_MODES:
                raise precondition(f"volume {volume_id} is published to node {present.node_id}: unpublish it there")
        await self._book.put(msgspec.structs.replace(volume, publications=(*volume.publications, wanted)))
        return pb.ControllerPublishVolumeResponse()

    async def controller_unpublish_volume(
        self, request: pb.ControllerUnpublishVolumeRequest
    ) -> pb.ControllerUnpublishVolumeResponse:
        """Forget that the node (every node, if none is named) uses the volume."""
        if not request.volume_id:
            raise invalid("the request has no volume id")
        return await self._guard.run(request.volume_id, lambda: self._unpublish(request.volume_id, request.node_id))

    async def _unpublish(self, volume_id: str, node_id: str) -> pb.ControllerUnpublishVolumeResponse:
        volume = self._book.get(volume_id)
        kept = tuple(p for p in volume.publications if node_id and p.node_id != node_id) if volume else ()
        if volume is not None and kept != volume.publications:
            await self._book.put(msgspec.structs.replace(volume, publications=kept))
        return pb.ControllerUnpublishVolumeResponse()

    # ---- questions ----

    async def validate_volume_capabilities(
        self, request: pb.ValidateVolumeCapabilitiesRequest
    ) -> pb.ValidateVolumeCapabilitiesResponse:
        """Confirm what the volume can be used as, or say what not."""
        if not request.volume_id:
            raise invalid("the request has no volume id")
        uses = parse_uses(request.volume_capabilities)
        volume = self._ready(request.volume_id)
        for use in uses:
            if use.access != volume.access:
                return pb.ValidateVolumeCapabilitiesResponse(message=f"it is a {volume.access} volume")
            if use.fs_type not in {"", volume.fs_type}:
                return pb.ValidateVolumeCapabilitiesResponse(message=f"its filesystem is {volume.fs_type}")
        if request.mutable_parameters:
            return pb.ValidateVolumeCapabilitiesResponse(message="mutable parameters are not supported")
        confirmed = pb.ValidateVolumeCapabilitiesResponse.Confirmed(
            volume_context=request.volume_context,
            volume_capabilities=request.volume_capabilities,
            parameters=request.parameters,
        )
        return pb.ValidateVolumeCapabilitiesResponse(confirmed=confirmed)

    async def list_volumes(self, request: pb.ListVolumesRequest) -> pb.ListVolumesResponse:
        """One page, oldest first; a token stays good while volumes come and go."""
        if request.max_entries < 0:
            raise invalid(f"max_entries is {request.max_entries}, it is not negative")
        volumes, token = page(
            [volume for volume in self._book.in_order() if volume.state == "ready"],
            after=parse_token(request.starting_token),
            limit=request.max_entries,
        )
        conditions = await asyncio.to_thread(lambda: [condition(v, self._backend.file(v)) for v in volumes])
        status = pb.ListVolumesResponse.VolumeStatus
        entries = [
            pb.ListVolumesResponse.Entry(
                volume=self._message(volume),
                status=status(published_node_ids=[p.node_id for p in volume.publications], volume_condition=found),
            )
            for volume, found in zip(volumes, conditions, strict=True)
        ]
        return pb.ListVolumesResponse(entries=entries, next_token=token)

    async def controller_get_volume(self, request: pb.ControllerGetVolumeRequest) -> pb.ControllerGetVolumeResponse:
        """One volume, where it is published, and whether its file is sound."""
        volume = self._required(request.volume_id)
        found = await asyncio.to_thread(condition, volume, self._backend.file(volume))
        return pb.ControllerGetVolumeResponse(
            volume=self._message(volume),
            status=pb.ControllerGetVolumeResponse.VolumeStatus(
                published_node_ids=[p.node_id for p in volume.publications], volume_condition=found
            ),
        )

    async def get_capacity(self, request: pb.GetCapacityRequest) -> pb.GetCapacityResponse:
        """What is left; nothing for capabilities that no volume here can have."""
        try:
            if request.volume_capabilities:
                self._filesystem_for(parse_uses(request.volume_capabilities), None)
        except CallError:
            return pb.GetCapacityResponse(available_capacity=0)
        return pb.GetCapacityResponse(available_capacity=await asyncio.to_thread(self._pool.available_bytes))

    # ---- growth ----

    async def controller_expand_volume(
        self, request: pb.ControllerExpandVolumeRequest
    ) -> pb.ControllerExpandVolumeResponse:
        """Grow the volume's file; a volume that is large enough already is left as it is."""
        volume = self._required(request.volume_id)
        if request.HasField("volume_capability") and parse_use(request.volume_capability).access != volume.access:
            raise invalid(f"volume {volume.volume_id} is a {volume.access} volume")
        if not request.capacity_range.required_bytes and not request.capacity_range.limit_bytes:
            raise invalid("the request has no capacity range")
        if self._require_secrets and not await asyncio.to_thread(secret_matches, request.secrets, volume.secret):
            raise CallError(
                StatusCode.UNAUTHENTICATED,
                f"volume {volume.volume_id}: the secret is missing or not the one it was created with: "
                "check the StorageClass's controller-expand secret",
            )
        return await self._guard.run(volume.volume_id, lambda: self._expand(request))

    async def _expand(self, request: pb.ControllerExpandVolumeRequest) -> pb.ControllerExpandVolumeResponse:
        volume = self._ready(request.volume_id)
        wanted = parse_range(request.capacity_range)
        if wanted.limit and volume.capacity_bytes > wanted.limit:
            raise CallError(
                StatusCode.OUT_OF_RANGE,
                f"volume {volume.volume_id} has {volume.capacity_bytes} bytes, more than the limit of "
                f"{wanted.limit}: volumes never shrink",
            )
        target = max(wanted.size_for(BLOCK_BYTES) if wanted.required else 0, volume.capacity_bytes)
        with self._pool.reserve(target - volume.capacity_bytes, purpose=f"growing volume {volume.volume_id}"):
            # The file first: what it has is what the book takes over after a crash (recovery.py).
            granted = await asyncio.to_thread(image_file.grow, self._backend.file(volume), target)
            if granted != volume.capacity_bytes:
                volume = await self._book.put(msgspec.structs.replace(volume, capacity_bytes=granted))
        await self._backend.refresh_size(volume)
        return pb.ControllerExpandVolumeResponse(
            capacity_bytes=volume.capacity_bytes, node_expansion_required=volume.access == "mount"
        )

    # ---- shared ----

    def _required(self, volume_id: str) -> Volume:
        if not volume_id:
            raise invalid("the request has no volume id")
        return self._ready(volume_id)

    def _ready(self, volume_id: str) -> Volume:
        volume = self._book.get(volume_id)
        if volume is None or volume.state != "ready":
            raise not_found(f"volume {volume_id} does not exist")
        return volume

    def _message(self, volume: Volume) -> pb.Volume:
        return pb.Volume(
            volume_id=volume.volume_id,
            capacity_bytes=volume.capacity_bytes,
            volume_context={"backend": self._backend.name},
        )
