# ruff: noqa: ASYNC240 -- the test's own look at the disk may hold its loop up
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from resizer.driver.superblock import superblock_size_bytes
from resizer.rpc.pb import csi_v0_pb2 as v0
from resizer.rpc.pb import csi_v1_pb2 as v1

from .conftest import GIB, NODE, Driver, case

Mode = v0.VolumeCapability.AccessMode
SECRET = {"key": "s3cr3t-of-the-test"}


def capability(fs_type: str) -> v0.VolumeCapability:
    mode = Mode(mode=Mode.SINGLE_NODE_WRITER)
    if fs_type:
        return v0.VolumeCapability(mount=v0.VolumeCapability.MountVolume(fs_type=fs_type), access_mode=mode)
    return v0.VolumeCapability(block=v0.VolumeCapability.BlockVolume(), access_mode=mode)


@pytest.fixture
def settings(backend: str) -> dict[str, Any]:
    return {"backend": backend, "protocol": "v0", "require_secrets": True}


@pytest.mark.parametrize(("backend", "fs_type"), [case("image", "ext4"), case("loop", "xfs"), case("loop", "")])
async def test_the_articles_calls_grow_a_volume(driver: Driver, backend: str, fs_type: str) -> None:
    """A driver that speaks csi.v0 alone serves a whole life, growth by the three RPCs of the extension included."""
    del backend
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await driver.identity.GetPluginInfo(v1.GetPluginInfoRequest())
    assert refused.value.code() == StatusCode.UNIMPLEMENTED
    assert (await driver.identity_v0.GetPluginInfo(v0.GetPluginInfoRequest())).name == "csi-qcfsplugin"
    assert (await driver.identity_v0.GetPluginCapabilities(v0.GetPluginCapabilitiesRequest())).capabilities
    assert (
        len((await driver.controller_v0.ControllerGetCapabilities(v0.ControllerGetCapabilitiesRequest())).capabilities)
        == 4
    )
    assert (await driver.node_v0.NodeGetId(v0.NodeGetIdRequest())).node_id == NODE
    wanted = capability(fs_type)
    created = await driver.controller_v0.CreateVolume(
        v0.CreateVolumeRequest(
            name="v",
            capacity_range=v0.CapacityRange(required_bytes=GIB),
            volume_capabilities=[wanted],
            controller_create_secrets=SECRET,
        )
    )
    volume_id = created.volume.id
    validated = await driver.controller_v0.ValidateVolumeCapabilities(
        v0.ValidateVolumeCapabilitiesRequest(volume_id=volume_id, volume_capabilities=[wanted])
    )
    assert validated.supported
    await driver.controller_v0.ControllerPublishVolume(
        v0.ControllerPublishVolumeRequest(volume_id=volume_id, node_id=NODE, volume_capability=wanted)
    )
    await driver.node_v0.NodeStageVolume(
        v0.NodeStageVolumeRequest(volume_id=volume_id, staging_target_path=driver.staging, volume_capability=wanted)
    )
    await driver.node_v0.NodePublishVolume(
        v0.NodePublishVolumeRequest(
            volume_id=volume_id,
            staging_target_path=driver.staging,
            target_path=driver.target,
            volume_capability=wanted,
        )
    )
    required = v0.CapacityRange(required_bytes=2 * GIB)
    assert (await driver.controller_v0.RequiresFSResize(v0.RequiresFSResizeRequest())).requires_fs_resize
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await driver.controller_v0.ControllerResizeVolume(
            v0.ControllerResizeVolumeRequest(volume_id=volume_id, capacity_range=required)
        )
    assert refused.value.code() == StatusCode.UNAUTHENTICATED
    for _ in range(2):
        grown = await driver.controller_v0.ControllerResizeVolume(
            v0.ControllerResizeVolumeRequest(
                volume_id=volume_id, capacity_range=required, controller_resize_secrets=SECRET
            )
        )
        assert grown.capacity_bytes == 2 * GIB
        on_node = await driver.node_v0.NodeResizeVolume(
            v0.NodeResizeVolumeRequest(volume_id=volume_id, volume_path=driver.target, capacity_range=required)
        )
        assert on_node.capacity_bytes == 2 * GIB
    await driver.node_v0.NodeUnpublishVolume(
        v0.NodeUnpublishVolumeRequest(volume_id=volume_id, target_path=driver.target)
    )
    await driver.node_v0.NodeUnstageVolume(
        v0.NodeUnstageVolumeRequest(volume_id=volume_id, staging_target_path=driver.staging)
    )
    if fs_type:
        assert superblock_size_bytes(driver.file(volume_id)) == 2 * GIB
    await driver.controller_v0.ControllerUnpublishVolume(
        v0.ControllerUnpublishVolumeRequest(volume_id=volume_id, node_id=NODE)
    )
    listed = await driver.controller_v0.ListVolumes(v0.ListVolumesRequest())
    assert [(entry.volume.id, entry.volume.capacity_bytes) for entry in listed.entries] == [(volume_id, 2 * GIB)]
    await driver.controller_v0.DeleteVolume(v0.DeleteVolumeRequest(volume_id=volume_id))
    assert not Path(driver.file(volume_id)).exists()
