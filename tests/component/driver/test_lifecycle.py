# ruff: noqa: ASYNC240 -- the test's own look at the disk may hold its loop up
import os
from pathlib import Path
from typing import Any

import grpc
import pytest

from resizer.driver.backend_image import IMAGE_LINK
from resizer.driver.superblock import superblock_size_bytes
from resizer.rpc.pb import csi_v1_pb2 as pb

from .conftest import GIB, MIB, NODE, Driver, Mode, block_capability, case, mount_capability, standing

ALL = [case("image", "ext4"), case("image", ""), *(case("loop", fs) for fs in ("xfs", "btrfs", ""))]


def capability_for(fs_type: str) -> pb.VolumeCapability:
    return mount_capability(fs_type) if fs_type else block_capability()


def size_seen(driver: Driver, fs_type: str) -> int:
    """The size that a pod sees at the target path, measured without the driver."""
    target = Path(driver.target)
    if (target / IMAGE_LINK).is_symlink():
        return superblock_size_bytes(target / IMAGE_LINK)
    if fs_type:
        figures = os.statvfs(target)
        return figures.f_blocks * figures.f_frsize
    with target.open("rb") as device:
        return device.seek(0, os.SEEK_END)


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"backend": request.getfixturevalue("backend")} if "backend" in request.fixturenames else {}


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", fs) for fs in ("xfs", "btrfs")])
async def test_the_smallest_volume_can_be_used(driver: Driver, backend: str, fs_type: str) -> None:  # noqa: ARG001 -- settings takes it
    """However little is asked for, what is given can be staged, which grows the filesystem to the size it has."""
    capability = mount_capability(fs_type)
    volume = await driver.create(size=MIB, capability=capability)
    await driver.stage(volume.volume_id, capability)
    await driver.unstage(volume.volume_id)


@pytest.mark.parametrize(("backend", "fs_type"), ALL)
async def test_a_volume_lives_and_grows_while_published(driver: Driver, backend: str, fs_type: str) -> None:
    """Every call works, works again when repeated, growth reaches the pod's path, and nothing is left at the end."""
    capability = capability_for(fs_type)
    volume = await driver.create(capability=capability)
    assert await driver.create(capability=capability) == volume
    publish = pb.ControllerPublishVolumeRequest(volume_id=volume.volume_id, node_id=NODE, volume_capability=capability)
    for _ in range(2):
        await driver.controller.ControllerPublishVolume(publish)
        await driver.stage(volume.volume_id, capability)
        await driver.publish(volume.volume_id, capability)
    assert size_seen(driver, fs_type) == pytest.approx(GIB, rel=0.1)
    for _ in range(2):
        answer = await driver.expand(volume.volume_id, 3 * GIB)
        assert (answer.capacity_bytes, answer.node_expansion_required) == (3 * GIB, bool(fs_type))
        assert (await driver.node_expand(volume.volume_id)).capacity_bytes == 3 * GIB
    assert size_seen(driver, fs_type) == pytest.approx(3 * GIB, rel=0.1)
    if backend == "loop" and not fs_type:
        assert Path(driver.target).is_block_device()
    smaller = await driver.expand(volume.volume_id, 2 * GIB)
    assert smaller.capacity_bytes == 3 * GIB
    for _ in range(2):
        await driver.unpublish(volume.volume_id)
        assert not os.path.lexists(driver.target)
        await driver.unstage(volume.volume_id)
        await driver.controller.ControllerUnpublishVolume(
            pb.ControllerUnpublishVolumeRequest(volume_id=volume.volume_id, node_id=NODE)
        )
    assert not standing(driver.place)
    for _ in range(2):
        await driver.delete(volume.volume_id)
    assert not driver.file(volume.volume_id).exists()


@pytest.mark.parametrize(("backend", "fs_type"), [case("image", "ext4"), case("loop", "xfs"), case("loop", "ext4")])
async def test_grown_while_nobody_has_it(driver: Driver, backend: str, fs_type: str) -> None:
    """A filesystem smaller than its file (grown unattached, or restored) fills it when it is next staged."""
    del backend
    capability = capability_for(fs_type)
    volume = await driver.create(capability=capability)
    await driver.stage(volume.volume_id, capability)
    await driver.unstage(volume.volume_id)
    assert superblock_size_bytes(driver.file(volume.volume_id)) == GIB
    await driver.expand(volume.volume_id, 2 * GIB)
    await driver.stage(volume.volume_id, capability)
    await driver.unstage(volume.volume_id)
    assert superblock_size_bytes(driver.file(volume.volume_id)) == 2 * GIB


def may_grow_mounted_ext4() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) & 1 << 24)  # CAP_SYS_RESOURCE


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", "ext4")])
async def test_mounted_ext4(driver: Driver, backend: str, fs_type: str) -> None:
    """ext4 grows mounted where the kernel lets it; else it is refused with the next step, and grown without pods."""
    del backend
    capability = mount_capability(fs_type)
    volume = await driver.create(capability=capability)
    await driver.stage(volume.volume_id, capability)
    await driver.publish(volume.volume_id, capability)
    Path(driver.target, "marker").write_text("kept")
    await driver.expand(volume.volume_id, 2 * GIB)
    if not may_grow_mounted_ext4():
        with pytest.raises(grpc.aio.AioRpcError, match=r"CAP_SYS_RESOURCE.*Stop the pods") as refused:
            await driver.node_expand(volume.volume_id)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        await driver.unpublish(volume.volume_id)
        await driver.node_expand(volume.volume_id, path=driver.staging)  # between two mounts
        await driver.publish(volume.volume_id, capability)
    await driver.node_expand(volume.volume_id)
    assert size_seen(driver, fs_type) == pytest.approx(2 * GIB, rel=0.05)
    assert Path(driver.target, "marker").read_text() == "kept"


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", "xfs")])
async def test_read_only(driver: Driver, backend: str, fs_type: str) -> None:
    """A read-only target cannot be written, and growth goes through the writable staging mount all the same."""
    del backend
    capability = mount_capability(fs_type, mode=Mode.SINGLE_NODE_MULTI_WRITER)
    volume = await driver.create(capability=capability)
    await driver.stage(volume.volume_id, capability)
    await driver.publish(volume.volume_id, capability, readonly=True)
    with pytest.raises(OSError, match="Read-only"):
        Path(driver.target, "marker").write_text("no")
    await driver.expand(volume.volume_id, 2 * GIB)
    await driver.node_expand(volume.volume_id)
    assert size_seen(driver, fs_type) == pytest.approx(2 * GIB, rel=0.1)


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", "xfs")])
async def test_mounted_read_only_everywhere(driver: Driver, backend: str, fs_type: str) -> None:
    """A filesystem with no writable mount is refused with the reason, not half grown."""
    del backend
    writer = mount_capability(fs_type)
    volume = await driver.create(capability=writer)
    await driver.stage(volume.volume_id, writer)
    await driver.unstage(volume.volume_id)
    reader = mount_capability(fs_type, mode=Mode.SINGLE_NODE_READER_ONLY)
    await driver.stage(volume.volume_id, reader)
    await driver.expand(volume.volume_id, 2 * GIB)
    with pytest.raises(grpc.aio.AioRpcError, match="read-only everywhere") as refused:
        await driver.node_expand(volume.volume_id, path=driver.staging)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(("backend", "fs_type"), [case("image", "ext4"), case("loop", "xfs")])
async def test_statistics(driver: Driver, backend: str, fs_type: str) -> None:
    """NodeGetVolumeStats answers bytes that add up, for staged and published paths."""
    del backend
    capability = mount_capability(fs_type)
    volume = await driver.create(capability=capability, size=512 * MIB)
    await driver.stage(volume.volume_id, capability)
    await driver.publish(volume.volume_id, capability)
    for path in (driver.target, driver.staging):
        answer = await driver.node.NodeGetVolumeStats(
            pb.NodeGetVolumeStatsRequest(volume_id=volume.volume_id, volume_path=path)
        )
        usage = answer.usage[0]
        assert usage.unit == pb.VolumeUsage.BYTES
        assert usage.total == pytest.approx(512 * MIB, rel=0.2)
        assert 0 < usage.available <= usage.total
        assert usage.used + usage.available <= usage.total


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", "xfs")])
async def test_two_pods_on_one_node(driver: Driver, backend: str, fs_type: str) -> None:
    """SINGLE_NODE_MULTI_WRITER gives one node's two pods the same data; SINGLE_NODE_WRITER is refused the second."""
    del backend
    shared = mount_capability(fs_type, mode=Mode.SINGLE_NODE_MULTI_WRITER)
    volume = await driver.create(capability=shared)
    other = str(driver.place / "pods/b")
    await driver.stage(volume.volume_id, shared)
    await driver.publish(volume.volume_id, shared)
    await driver.publish(volume.volume_id, shared, target=other)
    Path(driver.target, "marker").write_text("seen")
    assert Path(other, "marker").read_text() == "seen"
    third = str(driver.place / "pods/c")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await driver.publish(volume.volume_id, mount_capability(fs_type), target=third)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(("backend", "fs_type"), ALL)
async def test_a_volume_whose_file_was_lost_is_taken_down(driver: Driver, backend: str, fs_type: str) -> None:
    """Somebody removed the file below a pod: the pod can end all the same, and nothing of the volume is left."""
    del backend
    capability = capability_for(fs_type)
    volume_id = (await driver.create(capability=capability)).volume_id
    await driver.stage(volume_id, capability)
    await driver.publish(volume_id, capability)
    driver.file(volume_id).unlink()
    await driver.unpublish(volume_id)
    await driver.unstage(volume_id)
    assert not standing(driver.place)
    await driver.delete(volume_id)
    assert not (await driver.controller.ListVolumes(pb.ListVolumesRequest())).entries


@pytest.mark.parametrize(("backend", "fs_type"), [case("image", "ext4"), case("loop", "xfs")])
async def test_a_staging_that_fails_leaves_nothing(driver: Driver, backend: str, fs_type: str) -> None:
    """A staging path that cannot be made is named in the refusal, and neither a device nor a note of it stays."""
    del backend
    capability = mount_capability(fs_type)
    volume_id = (await driver.create(capability=capability)).volume_id
    (driver.place / "file").touch()
    driver.staging = str(driver.place / "file/staging")
    with pytest.raises(grpc.aio.AioRpcError, match="Not a directory") as refused:
        await driver.stage(volume_id, capability)
    assert driver.staging in (refused.value.details() or "")
    assert not standing(driver.place)
    await driver.delete(volume_id)


@pytest.mark.parametrize(("backend", "fs_type"), [case("image", "ext4"), case("loop", "xfs")])
async def test_others_files_at_the_target_stay(driver: Driver, backend: str, fs_type: str) -> None:
    """What lies in a target folder that is not mounted is not ours to remove: the refusal says to empty it."""
    del backend
    volume_id = (await driver.create(capability=mount_capability(fs_type))).volume_id
    kept = Path(driver.target) / "kept"
    kept.mkdir(parents=True)
    with pytest.raises(grpc.aio.AioRpcError, match="empty it first") as refused:
        await driver.unpublish(volume_id)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert kept.is_dir()


@pytest.mark.parametrize(("backend", "fs_type"), [case("image", "ext4"), case("loop", "xfs")])
async def test_a_slash_at_a_paths_end_changes_nothing(driver: Driver, backend: str, fs_type: str) -> None:
    """A path names the same place with and without a slash at its end, in every call."""
    del backend
    capability = mount_capability(fs_type)
    volume_id = (await driver.create(capability=capability)).volume_id
    path = f"{driver.target}/"
    await driver.stage(volume_id, capability)
    await driver.publish(volume_id, capability, target=path)
    await driver.expand(volume_id, 2 * GIB)
    assert (await driver.node_expand(volume_id, path=path)).capacity_bytes == 2 * GIB
    await driver.node.NodeGetVolumeStats(pb.NodeGetVolumeStatsRequest(volume_id=volume_id, volume_path=path))
    await driver.unpublish(volume_id)
    await driver.unstage(volume_id)
