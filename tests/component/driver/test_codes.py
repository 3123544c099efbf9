import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from resizer.driver.failure import CallError
from resizer.driver.volumes import Volume, VolumeBook
from resizer.rpc.pb import csi_v1_pb2 as pb

from .conftest import GIB, MIB, NODE, Driver, Mode, block_capability, case, mount_capability

EXT4 = mount_capability("ext4")
SECRET = {"key": "s3cr3t-of-the-test"}

pytestmark = pytest.mark.parametrize(("backend", "fs_type"), [case("image", "ext4")])


@pytest.fixture(autouse=True)
def _machine(backend: str, fs_type: str) -> None:
    """Every test here needs mkfs.ext4 and no rights."""


async def code_of(call: Awaitable[Any]) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), refused.value.details() or ""


Call = Callable[[Driver, str], Awaitable[Any]]

REFUSALS: list[tuple[str, StatusCode, str, Call]] = [
    ("unknown filesystem", StatusCode.INVALID_ARGUMENT, "xfs, ext4, btrfs",
     lambda d, _: d.create("w", capability=mount_capability("zfs"))),
    ("filesystem the backend cannot grow", StatusCode.INVALID_ARGUMENT, "backend loop",
     lambda d, _: d.create("w", capability=mount_capability("xfs"))),
    ("name too long", StatusCode.INVALID_ARGUMENT, "128", lambda d, _: d.create("w" * 129, capability=EXT4)),
    ("negative size", StatusCode.INVALID_ARGUMENT, "negative", lambda d, _: d.create("w", size=-1, capability=EXT4)),
    ("same name, other size", StatusCode.ALREADY_EXISTS, "exists with",
     lambda d, _: d.create("v", size=2 * GIB, capability=EXT4)),
    ("same name, other access", StatusCode.ALREADY_EXISTS, "exists with",
     lambda d, _: d.create("v", capability=block_capability())),
    ("same name, other parameters", StatusCode.ALREADY_EXISTS, "exists with",
     lambda d, _: d.create("v", capability=EXT4, parameters={"a": "b"})),
    ("clone", StatusCode.INVALID_ARGUMENT, "snapshots and clones",
     lambda d, v: d.create("w", capability=EXT4, volume_content_source=pb.VolumeContentSource(
         volume=pb.VolumeContentSource.VolumeSource(volume_id=v)))),
    ("more than the capacity", StatusCode.OUT_OF_RANGE, "--capacity",
     lambda d, _: d.create("w", size=10 * GIB, capability=EXT4)),
    ("grown beyond the capacity", StatusCode.OUT_OF_RANGE, "--capacity", lambda d, v: d.expand(v, 10 * GIB)),
    ("grown without a range", StatusCode.INVALID_ARGUMENT, "capacity range", lambda d, v: d.expand(v, 0)),
    ("growth of a missing volume", StatusCode.NOT_FOUND, "does not exist", lambda d, _: d.expand("none", 2 * GIB)),
    ("grown as block", StatusCode.INVALID_ARGUMENT, "mount volume",
     lambda d, v: d.expand(v, 2 * GIB, volume_capability=block_capability())),
    ("limit below the present size", StatusCode.OUT_OF_RANGE, "never shrink",
     lambda d, v: d.controller.ControllerExpandVolume(pb.ControllerExpandVolumeRequest(
         volume_id=v, capacity_range=pb.CapacityRange(required_bytes=MIB, limit_bytes=2 * MIB)))),
    ("unknown node", StatusCode.NOT_FOUND, NODE,
     lambda d, v: d.controller.ControllerPublishVolume(pb.ControllerPublishVolumeRequest(
         volume_id=v, node_id="elsewhere", volume_capability=EXT4))),
    ("staged as block", StatusCode.FAILED_PRECONDITION, "mount volume", lambda d, v: d.stage(v, block_capability())),
    ("staged as another filesystem", StatusCode.FAILED_PRECONDITION, "holds ext4",
     lambda d, v: d.stage(v, mount_capability("xfs"))),
    ("published unstaged", StatusCode.FAILED_PRECONDITION, "NodeStageVolume", lambda d, v: d.publish(v, EXT4)),
    ("node growth elsewhere", StatusCode.NOT_FOUND, "neither staged nor published", lambda d, v: d.node_expand(v)),
    ("relative path", StatusCode.INVALID_ARGUMENT, "absolute", lambda d, v: d.unpublish(v, target="a/b")),
    ("path with ..", StatusCode.INVALID_ARGUMENT, "absolute", lambda d, v: d.unpublish(v, target="/a/../b")),
    ("path with a NUL", StatusCode.INVALID_ARGUMENT, "NUL", lambda d, v: d.unpublish(v, target="/a\0b")),
    ("mount flag with a NUL", StatusCode.INVALID_ARGUMENT, "NUL",
     lambda d, v: d.stage(v, pb.VolumeCapability(
         mount=pb.VolumeCapability.MountVolume(fs_type="ext4", mount_flags=["a\0b"]),
         access_mode=EXT4.access_mode))),
    ("staging path with a NUL", StatusCode.INVALID_ARGUMENT, "NUL",
     lambda d, v: d.node.NodeStageVolume(pb.NodeStageVolumeRequest(
         volume_id=v, staging_target_path="/a\0b", volume_capability=EXT4))),
    ("negative page", StatusCode.INVALID_ARGUMENT, "max_entries",
     lambda d, _: d.controller.ListVolumes(pb.ListVolumesRequest(max_entries=-1))),
    ("token of somebody else", StatusCode.ABORTED, "starting_token",
     lambda d, _: d.controller.ListVolumes(pb.ListVolumesRequest(starting_token="x"))),
    ("RPC that is not served", StatusCode.UNIMPLEMENTED, "",
     lambda d, _: d.controller.CreateSnapshot(pb.CreateSnapshotRequest(name="s"))),
]  # fmt: skip


@pytest.mark.parametrize("settings", [{"capacity_bytes": 4 * GIB}])
async def test_refusals(driver: Driver) -> None:
    """Each bad request gets the specification's code and a line that says what to do, and changes nothing."""
    volume = await driver.create(capability=EXT4)
    before = await driver.controller.ListVolumes(pb.ListVolumesRequest())
    for title, code, words, call in REFUSALS:
        found, text = await code_of(call(driver, volume.volume_id))
        assert (found, words in text) == (code, True), f"{title}: {found} {text}"
    assert await driver.controller.ListVolumes(pb.ListVolumesRequest()) == before


async def test_in_use(driver: Driver) -> None:
    """A volume in use is not deleted, nor unstaged below a pod, nor published or staged again as something else."""
    volume_id = (await driver.create(capability=EXT4)).volume_id
    await driver.stage(volume_id, EXT4)
    await driver.publish(volume_id, EXT4)
    reader = mount_capability("ext4", mode=Mode.SINGLE_NODE_READER_ONLY)
    assert (await code_of(driver.delete(volume_id)))[0] == StatusCode.FAILED_PRECONDITION
    assert (await code_of(driver.unstage(volume_id)))[0] == StatusCode.FAILED_PRECONDITION
    assert (await code_of(driver.stage(volume_id, reader)))[0] == StatusCode.ALREADY_EXISTS
    assert (await code_of(driver.publish(volume_id, reader)))[0] == StatusCode.ALREADY_EXISTS
    assert (await code_of(driver.publish(volume_id, EXT4, readonly=True)))[0] == StatusCode.ALREADY_EXISTS
    other = str(driver.place / "pods/b")
    assert (await code_of(driver.publish(volume_id, EXT4, target=other)))[0] == StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("settings", [{"peer_nodes": ("node-b",)}])
async def test_publication_to_nodes(driver: Driver) -> None:
    """A single-node volume goes to one node, named in the refusal; a multi-node one to all, and the lists say so."""
    many = mount_capability("ext4", mode=Mode.MULTI_NODE_MULTI_WRITER)
    single = (await driver.create("single", capability=EXT4)).volume_id
    shared = (await driver.create("shared", capability=many)).volume_id

    def publish(
        volume_id: str, node: str, capability: pb.VolumeCapability, *, readonly: bool = False
    ) -> Awaitable[Any]:
        request = pb.ControllerPublishVolumeRequest(
            volume_id=volume_id, node_id=node, volume_capability=capability, readonly=readonly
        )
        return driver.controller.ControllerPublishVolume(request)

    await publish(single, NODE, EXT4)
    code, text = await code_of(publish(single, "node-b", EXT4))
    assert (code, NODE in text) == (StatusCode.FAILED_PRECONDITION, True)
    assert (await code_of(publish(single, NODE, EXT4, readonly=True)))[0] == StatusCode.ALREADY_EXISTS
    await publish(shared, NODE, many)
    await publish(shared, "node-b", many)
    found = await driver.controller.ControllerGetVolume(pb.ControllerGetVolumeRequest(volume_id=shared))
    assert list(found.status.published_node_ids) == [NODE, "node-b"]
    assert not found.status.volume_condition.abnormal
    await driver.controller.ControllerUnpublishVolume(pb.ControllerUnpublishVolumeRequest(volume_id=shared))
    found = await driver.controller.ControllerGetVolume(pb.ControllerGetVolumeRequest(volume_id=shared))
    assert not found.status.published_node_ids


async def test_pages(driver: Driver) -> None:
    """Pages cover every volume once, though volumes are deleted and made between them, the last one's included."""
    ids = [(await driver.create(f"v{number}", size=4 * MIB, capability=EXT4)).volume_id for number in range(5)]
    first = await driver.controller.ListVolumes(pb.ListVolumesRequest(max_entries=2))
    assert [entry.volume.volume_id for entry in first.entries] == ids[:2]
    await driver.delete(ids[1])
    late = (await driver.create("late", size=4 * MIB, capability=EXT4)).volume_id
    seen, token = [], first.next_token
    while token:
        answer = await driver.controller.ListVolumes(pb.ListVolumesRequest(max_entries=2, starting_token=token))
        assert len(answer.entries) <= 2
        seen += [entry.volume.volume_id for entry in answer.entries]
        token = answer.next_token
    assert seen == [*ids[2:], late]


async def test_lost_file_is_told(driver: Driver) -> None:
    """A volume whose file is gone is listed as abnormal, and staging it says so instead of making an empty one."""
    volume_id = (await driver.create(capability=EXT4)).volume_id
    driver.file(volume_id).unlink()
    found = await driver.controller.ControllerGetVolume(pb.ControllerGetVolumeRequest(volume_id=volume_id))
    assert found.status.volume_condition.abnormal
    code, text = await code_of(driver.stage(volume_id, EXT4))
    assert (code, "file is gone" in text) == (StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize("settings", [{"require_secrets": True}])
async def test_secrets(driver: Driver, capfd: pytest.CaptureFixture[str]) -> None:
    """With --require-secrets only the creating secret grows a volume, and it stands in no file, log or error."""
    assert (await code_of(driver.create(capability=EXT4)))[0] == StatusCode.UNAUTHENTICATED
    volume_id = (await driver.create(capability=EXT4, secrets=SECRET)).volume_id
    texts = []
    for wrong in ({}, {"key": "other"}, {**SECRET, "more": "x"}):
        code, text = await code_of(driver.expand(volume_id, 2 * GIB, secrets=wrong))
        assert code == StatusCode.UNAUTHENTICATED
        texts.append(text)
    assert (await driver.expand(volume_id, 2 * GIB, secrets=SECRET)).capacity_bytes == 2 * GIB
    written = b"".join(path.read_bytes() for path in (driver.place / "state").iterdir() if path.is_file())
    output = capfd.readouterr()
    for place in ("".join(texts), output.out, output.err, written.decode(errors="replace")):
        assert SECRET["key"] not in place


async def test_one_operation_at_a_time(driver: Driver) -> None:
    """Of calls on one volume that overlap, one works and the others are ABORTED or find it done; none is doubled."""
    volume_id = (await driver.create(capability=EXT4)).volume_id
    outcomes = await asyncio.gather(*(driver.stage(volume_id, EXT4) for _ in range(8)), return_exceptions=True)
    codes = [error.code() for error in outcomes if isinstance(error, grpc.aio.AioRpcError)]
    assert len(codes) < len(outcomes)
    assert set(codes) <= {StatusCode.ABORTED}
    await driver.stage(volume_id, EXT4)


async def test_caller_that_leaves(driver: Driver) -> None:
    """A call whose deadline passed runs on to its end under its lock: the next one finds the volume whole."""
    volume_id = (await driver.create(capability=EXT4)).volume_id
    request = pb.NodeStageVolumeRequest(volume_id=volume_id, staging_target_path=driver.staging, volume_capability=EXT4)
    code, _ = await code_of(driver.node.NodeStageVolume(request, timeout=0.005))
    assert code == StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(10):
        while True:
            try:
                await driver.stage(volume_id, EXT4)
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() == StatusCode.ABORTED, error
    assert (Path(driver.staging) / "volume.img").is_symlink()


async def test_missing_mkfs(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without mkfs the refusal names the Debian package to install."""
    monkeypatch.setattr("resizer.driver.command.search_path", lambda: "/nowhere")
    code, text = await code_of(driver.create(capability=EXT4))
    assert (code, "e2fsprogs" in text) == (StatusCode.FAILED_PRECONDITION, True)


@pytest.mark.parametrize("settings", [{"capacity_bytes": 4 * GIB}])
async def test_capacity(driver: Driver) -> None:
    """GetCapacity answers what is left of --capacity, and many at once are never promised more than there is."""
    outcomes = await asyncio.gather(
        *(driver.create(f"v{number}", capability=EXT4) for number in range(8)), return_exceptions=True
    )
    assert sum(isinstance(outcome, pb.Volume) for outcome in outcomes) == 4
    assert (await driver.controller.GetCapacity(pb.GetCapacityRequest())).available_capacity == 0


@pytest.mark.parametrize("settings", [{"capacity_bytes": 4 * GIB}])
async def test_a_creation_taken_up_again_is_counted_once(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A creation that ended half done (the disk was full) holds its share of --capacity, and needs no second one."""
    put = VolumeBook.put

    async def refuse_ready(book: VolumeBook, volume: Volume) -> Volume:
        if volume.state == "ready":
            raise CallError(StatusCode.RESOURCE_EXHAUSTED, "no room for the bookkeeping")
        return await put(book, volume)

    with monkeypatch.context() as patch:
        patch.setattr(VolumeBook, "put", refuse_ready)
        assert (await code_of(driver.create(size=3 * GIB, capability=EXT4)))[0] == StatusCode.RESOURCE_EXHAUSTED
    assert (await driver.create(size=3 * GIB, capability=EXT4)).capacity_bytes == 3 * GIB
