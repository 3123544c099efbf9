"""`resizer demo` on mounted filesystems: needs root and loop devices."""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from resizer.devcluster.client import SECRETS, Client

GIB = 1024**3

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.access("/dev/loop-control", os.R_OK | os.W_OK),
        reason="needs root and loop devices",
    ),
]


def needs(program):
    found = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    return pytest.mark.skipif(found is None, reason=f"{program} is not here")


FILESYSTEMS = [
    pytest.param("xfs", marks=needs("mkfs.xfs")),
    pytest.param("btrfs", marks=[needs("mkfs.btrfs"), pytest.mark.soak]),
    pytest.param("ext4", marks=[needs("mkfs.ext4"), pytest.mark.soak]),
]


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_mounted_filesystem_is_grown_under_a_writer(demo, fs):
    """Device exactly, statvfs within what the filesystem keeps for itself; the writer sees no error."""
    outcome = demo.run("--backend", "loop", "--fs", fs, "--size", "300Gi", "--grow", "400Gi", "--json")
    assert outcome.exit_code == 0, outcome.err
    result = json.loads(outcome.out)
    (growth,) = result["growths"]
    assert growth["device_bytes"] == growth["granted_bytes"] == 400 * GIB
    assert growth["filesystem_after_bytes"] - growth["filesystem_before_bytes"] >= 97 * GIB
    assert result["writer"]["errors"] == 0
    assert result["writer"]["appends"] > 10
    if not growth["pod_restarts"]:
        assert growth["seconds"] < 10
    assert demo.leaks() == []


@needs("mkfs.xfs")
async def test_secret_is_seen_in_no_output(demo, until, stop):
    """What the secret holds stands in neither output nor log, though driver calls with it succeeded."""
    process = demo.start("--backend", "loop", "--fs", "xfs", "--size", "1Gi", "--grow", "2Gi", "--keep")
    out = until(process, "log:")
    log = Path(out.rpartition("log: ")[2].strip())
    kubeconfig = Path(out.partition("KUBECONFIG=")[2].splitlines()[0])
    async with Client.from_kubeconfig(kubeconfig) as client:
        secret = await client.get(SECRETS, "orain-test", namespace="default")
    written = await asyncio.to_thread(log.read_text)
    outcome = await stop(process, signal.SIGINT)
    everything = out + outcome.out + outcome.err + written
    assert "ControllerExpandVolume" in written
    encoded = secret["data"]["key"]
    assert encoded not in everything
    assert base64.b64decode(encoded).decode() not in everything


@needs("mkfs.ext4")
@pytest.mark.parametrize(("backend", "size"), [("loop", "4m"), ("image", "8m")])
def test_full_disk_is_one_line_and_leaves_nothing(demo, backend, size):
    """With no room for the filesystem the demo says that the disk is full, exits 1, and takes everything down."""
    place = demo.folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        small = type(demo)(place)
        outcome = small.run("--backend", backend, "--fs", "ext4")
        left = list(place.iterdir())
    finally:
        subprocess.run(["umount", str(place)], check=True)
    place.rmdir()
    assert outcome.exit_code == 1
    assert "is full: free some" in outcome.err or "No space left on device" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert left == []
    assert demo.leaks() == []
