"""`resizer demo --protocol v0`: the article's own RPCs from the edit to the grown filesystem."""

import json
import os
import shutil

import pytest

GIB = 1024**3
CALLS = {"driver grown", "node pending", "node growing", "filesystem grown", "done"}


def needs(program):
    found = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    return pytest.mark.skipif(found is None, reason=f"{program} is not here")


@needs("mkfs.ext4")
def test_a_driver_that_speaks_v0_only_is_grown(demo):
    """Exit 0 and the superblock has the sizes asked for, though nobody answers on csi.v1."""
    outcome = demo.run(
        "--protocol", "v0", "--backend", "image", "--size", "1Gi", "--grow", "2Gi", "--grow", "3Gi", "--json"
    )
    assert outcome.exit_code == 0, outcome.err
    result = json.loads(outcome.out)
    assert [g["filesystem_after_bytes"] for g in result["growths"]] == [2 * GIB, 3 * GIB]
    assert all(set(growth["stages_s"]) >= CALLS for growth in result["growths"])
    assert any('method_name="/csi.v0.Controller/ControllerResizeVolume"' in line for line in result["metrics"])
    assert not any("/csi.v1.Controller/" in line for line in result["metrics"])
    assert demo.leaks() == []


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/loop-control", os.R_OK | os.W_OK), reason="needs root and loop devices"
)
@needs("mkfs.xfs")
def test_a_mounted_filesystem_is_grown_by_v0(demo):
    """Device and statvfs have the new size, under a writer that sees no error."""
    outcome = demo.run(
        "--protocol", "v0", "--backend", "loop", "--fs", "xfs", "--size", "300Gi", "--grow", "400Gi", "--json"
    )
    assert outcome.exit_code == 0, outcome.err
    result = json.loads(outcome.out)
    (growth,) = result["growths"]
    assert growth["device_bytes"] == 400 * GIB
    assert result["writer"]["errors"] == 0
    assert demo.leaks() == []
