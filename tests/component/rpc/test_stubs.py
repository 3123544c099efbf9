import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor

from resizer.rpc.pb import csi_v0_pb2, csi_v1_pb2

ROOT = Path(__file__).parents[3]


def test_committed_stubs_are_current(tmp_path: Path) -> None:
    """What `make protos` writes is what is committed, file for file."""
    subprocess.run([sys.executable, ROOT / "tools/generate_stubs.py", tmp_path], check=True, capture_output=True)
    made = {path.name: path.read_bytes() for path in (tmp_path / "resizer/rpc/pb").iterdir()}
    assert made
    committed = ROOT / "src/resizer/rpc/pb"
    assert {name: (committed / name).read_bytes() for name in made} == made
    assert {path.name for path in committed.glob("*_pb2*")} == set(made)


def test_generator_can_be_imported_without_running() -> None:
    """The generator does nothing until it is asked to."""
    spec = importlib.util.spec_from_file_location("generate_stubs", ROOT / "tools/generate_stubs.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_numbers_of_the_extension() -> None:
    """The three RPCs of csi.v0 have the field numbers that drivers of that protocol were built with."""
    numbers = {
        message: {field.name: field.number for field in csi_v0_pb2.DESCRIPTOR.message_types_by_name[message].fields}
        for message in (
            "RequiresFSResizeResponse",
            "ControllerResizeVolumeRequest",
            "ControllerResizeVolumeResponse",
            "NodeResizeVolumeRequest",
            "NodeResizeVolumeResponse",
        )
    }
    assert numbers == {
        "RequiresFSResizeResponse": {"requires_fs_resize": 1},
        "ControllerResizeVolumeRequest": {"volume_id": 1, "capacity_range": 2, "controller_resize_secrets": 3},
        "ControllerResizeVolumeResponse": {"capacity_bytes": 1},
        "NodeResizeVolumeRequest": {"volume_id": 1, "volume_path": 2, "capacity_range": 3},
        "NodeResizeVolumeResponse": {"capacity_bytes": 1},
    }


def test_bytes_of_an_expansion() -> None:
    """ControllerExpandVolume's request has the bytes that CSI 1.x prescribes, secrets and capability included."""
    request = csi_v1_pb2.ControllerExpandVolumeRequest(
        volume_id="v",
        capacity_range=csi_v1_pb2.CapacityRange(required_bytes=300),
        secrets={"k": "s"},
        volume_capability=csi_v1_pb2.VolumeCapability(
            block=csi_v1_pb2.VolumeCapability.BlockVolume(),
            access_mode=csi_v1_pb2.VolumeCapability.AccessMode(mode="SINGLE_NODE_MULTI_WRITER"),
        ),
    )
    assert (
        request.SerializeToString(deterministic=True).hex() == "0a0176120308ac021a060a016b1201732206" + "0a001a020807"
    )


def test_every_secret_is_marked() -> None:
    """Each field of csi.v1 that carries secrets has the mark by which it is kept out of output."""
    marked = [
        f"{message.name}.{field.name}"
        for message in csi_v1_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.GetOptions().Extensions[csi_v1_pb2.csi_secret]
    ]
    named = [
        f"{message.name}.{field.name}"
        for message in csi_v1_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if "secret" in field.name and field.type == FieldDescriptor.TYPE_MESSAGE
    ]
    assert marked == named
    assert len(marked) == 14


@pytest.mark.parametrize("module", ["resizer.rpc.channel", "resizer.driver.service"])
def test_fork_support_is_off_before_grpc_is_there(module: str) -> None:
    """Whoever starts with this module gets gRPC without its fork handlers: the setting stands when grpc is imported."""
    code = f"""
import os, sys
class Watch:
    def find_spec(self, name, path, target=None):
        assert name != "grpc" or os.environ.get("GRPC_ENABLE_FORK_SUPPORT") == "0"
sys.meta_path.insert(0, Watch())
import {module}
assert "grpc" in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
