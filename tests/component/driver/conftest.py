"""A driver served on a real socket below a short folder of its own, and the proof that it left nothing standing."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from resizer.driver import loop_device, mount
from resizer.driver.backend import loop_obstacle
from resizer.driver.cleanup import cleanup
from resizer.driver.command import find_program
from resizer.driver.service import DriverConfig, serve
from resizer.driver.state import volume_folder
from resizer.rpc.channel import open_channel
from resizer.rpc.pb import csi_v0_pb2_grpc, csi_v1_pb2_grpc
from resizer.rpc.pb import csi_v1_pb2 as pb

Mode = pb.VolumeCapability.AccessMode
MIB = 1024**2
GIB = 1024**3
NODE = "node-a"


class Driver:
    """A driver under test: its stubs, its folder, and requests as a kubelet would send them."""

    def __init__(self, place: Path, channel: grpc.aio.Channel) -> None:
        self.place = place
        self.identity = csi_v1_pb2_grpc.IdentityStub(channel)
        self.controller = csi_v1_pb2_grpc.ControllerStub(channel)
        self.node = csi_v1_pb2_grpc.NodeStub(channel)
        self.identity_v0 = csi_v0_pb2_grpc.IdentityStub(channel)
        self.controller_v0 = csi_v0_pb2_grpc.ControllerStub(channel)
        self.node_v0 = csi_v0_pb2_grpc.NodeStub(channel)
        self.staging = str(place / "staging")
        self.target = str(place / "pods/a/mount")
        (place / "staging").mkdir(exist_ok=True)
        (place / "pods/a").mkdir(parents=True, exist_ok=True)

    def file(self, volume_id: str) -> Path:
        return volume_folder(self.place / "state") / f"{volume_id}.img"

    async def create(
        self, name: str = "v", *, size: int = GIB, capability: pb.VolumeCapability, **more: Any
    ) -> pb.Volume:
        answer = await self.controller.CreateVolume(
            pb.CreateVolumeRequest(
                name=name,
                capacity_range=pb.CapacityRange(required_bytes=size),
                volume_capabilities=[capability],
                **more,
            ),
            timeout=20,
        )
        return answer.volume

    async def stage(self, volume_id: str, capability: pb.VolumeCapability) -> None:
        await self.node.NodeStageVolume(
            pb.NodeStageVolumeRequest(
                volume_id=volume_id, staging_target_path=self.staging, volume_capability=capability
            ),
            timeout=20,
        )

    async def publish(
        self, volume_id: str, capability: pb.VolumeCapability, *, target: str = "", readonly: bool = False
    ) -> None:
        await self.node.NodePublishVolume(
            pb.NodePublishVolumeRequest(
                volume_id=volume_id,
                staging_target_path=self.staging,
                target_path=target or self.target,
                volume_capability=capability,
                readonly=readonly,
            ),
            timeout=20,
        )

    async def unpublish(self, volume_id: str, *, target: str = "") -> None:
        await self.node.NodeUnpublishVolume(
            pb.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=target or self.target), timeout=20
        )

    async def unstage(self, volume_id: str) -> None:
        await self.node.NodeUnstageVolume(
            pb.NodeUnstageVolumeRequest(volume_id=volume_id, staging_target_path=self.staging), timeout=20
        )

    async def expand(self, volume_id: str, size: int, **more: Any) -> pb.ControllerExpandVolumeResponse:
        return await self.controller.ControllerExpandVolume(
            pb.ControllerExpandVolumeRequest(
                volume_id=volume_id, capacity_range=pb.CapacityRange(required_bytes=size), **more
            ),
            timeout=20,
        )

    async def node_expand(self, volume_id: str, *, path: str = "") -> pb.NodeExpandVolumeResponse:
        return await self.node.NodeExpandVolume(
            pb.NodeExpandVolumeRequest(volume_id=volume_id, volume_path=path or self.target), timeout=20
        )

    async def delete(self, volume_id: str) -> None:
        await self.controller.DeleteVolume(pb.DeleteVolumeRequest(volume_id=volume_id), timeout=20)


def standing(place: Path) -> list[str]:
    """Return every mount and loop device that belongs to `place`."""
    mounts = [entry.mount_point for entry in mount.read_mounts() if entry.mount_point.startswith(f"{place}/")]
    return mounts + [device.path for device in loop_device.list_attached(volume_folder(place / "state"))]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a path short enough for sockets; the test fails if anything of it stands at its end."""
    path = Path(tempfile.mkdtemp(prefix="qcfs-"))
    yield path
    left = standing(path)
    assert not left, f"left standing: {left}"
    shutil.rmtree(path)


@pytest.fixture
def config(place: Path) -> DriverConfig:
    return DriverConfig(endpoint=f"unix://{place}/csi.sock", state_dir=place / "state", node_id=NODE, backend="image")


@pytest.fixture
def settings() -> dict[str, Any]:
    """Changes to the configuration; a test overrides them by parametrization."""
    return {}


@pytest.fixture
async def driver(place: Path, config: DriverConfig, settings: dict[str, Any]) -> AsyncIterator[Driver]:
    """A running driver, cleaned up behind so that one failing test does not leave devices to the next."""
    try:
        async with serve(msgspec.structs.replace(config, **settings)), open_channel(config.endpoint) as channel:
            yield Driver(place, channel)
    finally:
        report = await cleanup(place / "state")
        assert not report.failures


def mount_capability(fs_type: str = "", *, mode: int = Mode.SINGLE_NODE_WRITER) -> pb.VolumeCapability:
    return pb.VolumeCapability(
        mount=pb.VolumeCapability.MountVolume(fs_type=fs_type), access_mode=Mode(mode=Mode.Mode.ValueType(mode))
    )


def block_capability(*, mode: int = Mode.SINGLE_NODE_WRITER) -> pb.VolumeCapability:
    return pb.VolumeCapability(
        block=pb.VolumeCapability.BlockVolume(), access_mode=Mode(mode=Mode.Mode.ValueType(mode))
    )


def case(backend: str, fs_type: str, *more: pytest.MarkDecorator) -> Any:
    """A parameter (backend, filesystem), skipped with its reason where this machine cannot run it."""
    marks: list[pytest.MarkDecorator] = [*more]
    obstacle = loop_obstacle() if backend == "loop" else None
    if backend == "loop":
        marks.append(pytest.mark.root)
    if obstacle:
        marks.append(pytest.mark.skip(reason=f"backend loop: {obstacle}"))
    elif fs_type and find_program(f"mkfs.{fs_type}") is None:
        marks.append(pytest.mark.skip(reason=f"mkfs.{fs_type} is not installed"))
    return pytest.param(backend, fs_type, marks=marks, id=f"{backend}-{fs_type or 'block'}")
