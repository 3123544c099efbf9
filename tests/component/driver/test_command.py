# ruff: noqa: ASYNC230, ASYNC240 -- the test's own look at the disk may hold its loop up
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from resizer.driver import loop_device
from resizer.driver.cleanup import cleanup
from resizer.driver.command import find_program
from resizer.driver.state import StateInUseError, volume_folder
from resizer.driver.superblock import superblock_size_bytes
from resizer.rpc.channel import open_channel
from resizer.rpc.pb import csi_v1_pb2 as pb

from .conftest import Driver, case, mount_capability, standing

RUN = "import typer; from resizer.cli.driver import driver; typer.run(driver)"


async def start(place: Path, *arguments: str, env: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        RUN,
        *(f"--endpoint=unix://{place}/csi.sock", f"--state-dir={place}/state", "--node-id=n", "--backend=image"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
    )


@asynccontextmanager
async def running(
    place: Path, *arguments: str, env: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A driver process that has said it is ready; killed at the end if it still runs."""
    process = await start(place, *arguments, env=env)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            while b"ready on unix://" not in (line := await process.stderr.readline()):
                assert line, "ended before it was ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_ready_line_and_sigterm(place: Path) -> None:
    """The ready line comes when the socket answers; SIGTERM ends with 0 and takes the socket away; stdout is empty."""
    async with running(place) as process, open_channel(f"unix://{place}/csi.sock") as channel:
        assert (await Driver(place, channel).identity.Probe(pb.ProbeRequest(), timeout=5)).ready.value
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, output) == (0, b"")
    assert not (place / "csi.sock").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--capacity=12Qx",), b"12Qx"),
        (("--endpoint=tcp://h:1",), b"only unix sockets"),
        ((f"--endpoint=unix:///{'x' * 120}",), b"use a shorter folder"),
        (("--driver-name=a_b",), b"driver name"),
        (("--node-id=",), b"node id"),
    ],
)
async def test_bad_usage_is_one_line(place: Path, arguments: tuple[str, ...], words: bytes) -> None:
    """A bad argument ends with code 2 and one line that names it; nothing was made."""
    process = await start(place, *arguments)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert words in errors
    assert errors.count(b"\n") == 1
    assert not list(place.iterdir())


async def test_second_driver_is_refused(place: Path) -> None:
    """A state folder or a socket in use is refused with code 1 and one line; cleaning up below a driver is too."""
    async with running(place):
        for arguments, words in (
            ((f"--endpoint=unix://{place}/other.sock",), b"in use by a running driver"),
            ((f"--state-dir={place}/other",), b"in use by a running process"),
        ):
            second = await start(place, *arguments)
            _, errors = await asyncio.wait_for(second.communicate(), 20)
            assert second.returncode == 1
            assert words in errors.splitlines()[-1]
        with pytest.raises(StateInUseError, match="stop it first"):
            await cleanup(place / "state")


async def test_damaged_bookkeeping(place: Path) -> None:
    """Bookkeeping that cannot be read ends with code 1 and one line that names the file, and is left as it was."""
    (place / "state").mkdir()
    (place / "state/volumes.db").write_bytes(b"no database" * 100)
    process = await start(place)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert b"volumes.db cannot be read" in errors
    assert (place / "state/volumes.db").read_bytes() == b"no database" * 100


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", "xfs")])
async def test_killed_and_cleaned_up(place: Path, backend: str, fs_type: str) -> None:
    """After kill -9 the mounts stand; the next driver serves them, and cleanup takes all of them down and no other."""
    other = place / "other.img"
    other.write_bytes(b"\0" * 1024 * 1024)
    foreign = await asyncio.to_thread(loop_device.attach, other)
    try:
        capability = mount_capability(fs_type)
        async with (
            running(place, f"--backend={backend}") as process,
            open_channel(f"unix://{place}/csi.sock") as channel,
        ):
            driver = Driver(place, channel)
            volume_id = (await driver.create(capability=capability)).volume_id
            await driver.stage(volume_id, capability)
            await driver.publish(volume_id, capability)
            process.kill()
            await process.wait()
        assert len(standing(place)) == 3
        async with running(place, f"--backend={backend}"), open_channel(f"unix://{place}/csi.sock") as channel:
            driver = Driver(place, channel)
            await driver.publish(volume_id, capability)
            await driver.node_expand(volume_id)
        report = await cleanup(place / "state")
        assert (len(report.unmounted), len(report.detached), report.failures) == (2, 1, ())
        assert foreign in loop_device.list_attached(place)
    finally:
        await asyncio.to_thread(loop_device.detach, foreign)
    assert await cleanup(place / "state") == type(report)()
    assert not standing(place)


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", "xfs")])
async def test_mount_lost_under_a_killed_driver(place: Path, backend: str, fs_type: str) -> None:
    """A staging that stood and is gone (a restarted machine) is mounted again before the socket is served."""
    capability = mount_capability(fs_type)
    async with running(place, f"--backend={backend}") as process, open_channel(f"unix://{place}/csi.sock") as channel:
        driver = Driver(place, channel)
        volume_id = (await driver.create(capability=capability)).volume_id
        await driver.stage(volume_id, capability)
        process.kill()
        await process.wait()
    unmount = await asyncio.create_subprocess_exec("umount", driver.staging)
    assert await unmount.wait() == 0
    for device in loop_device.list_attached(volume_folder(place / "state")):
        await asyncio.to_thread(loop_device.detach, device)
    async with running(place, f"--backend={backend}"):
        assert os.path.ismount(driver.staging)
    await cleanup(place / "state")


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", "xfs")])
async def test_busy_mount_is_told(place: Path, backend: str, fs_type: str) -> None:
    """A mount somebody works in is reported with its path, and goes once he has left."""
    capability = mount_capability(fs_type)
    async with running(place, f"--backend={backend}"), open_channel(f"unix://{place}/csi.sock") as channel:
        driver = Driver(place, channel)
        volume_id = (await driver.create(capability=capability)).volume_id
        await driver.stage(volume_id, capability)
        with Path(driver.staging, "open").open("w"), pytest.raises(grpc.aio.AioRpcError, match="busy"):
            await driver.unstage(volume_id)
    with Path(driver.staging, "open").open("w"):
        report = await cleanup(place / "state")
        assert [driver.staging in failure for failure in report.failures] == [True]
    assert not (await cleanup(place / "state")).failures


@pytest.mark.parametrize(("backend", "fs_type"), [case("image", "ext4")])
async def test_waits_for_the_program_of_a_dead_driver(place: Path, backend: str, fs_type: str) -> None:
    """Killed while its mkfs runs, the driver leaves it running: the next one serves only when it has ended."""
    del backend
    programs = place / "bin"
    programs.mkdir()
    slow = programs / "mkfs.ext4"
    # Waits for a word in the pipe before it goes on as the real one.
    slow.write_text(
        f'#!/bin/sh\necho > {place}/started\nread word < {place}/gate\nexec {find_program("mkfs.ext4")} "$@"\n'
    )
    slow.chmod(0o755)
    os.mkfifo(place / "gate")
    os.mkfifo(place / "started")
    capability = mount_capability(fs_type)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    async with running(place, env=environment) as process, open_channel(f"unix://{place}/csi.sock") as channel:
        driver = Driver(place, channel)
        volume_id = (await driver.create(capability=capability)).volume_id
        staging = asyncio.ensure_future(driver.stage(volume_id, capability))
        await asyncio.to_thread((place / "started").read_text)
        process.kill()
        await process.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await staging
    second = await start(place)
    assert second.stderr is not None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.stderr.readline(), 1.0)
    await asyncio.to_thread((place / "gate").write_text, "go\n")
    async with asyncio.timeout(20):
        while b"ready on unix://" not in (line := await second.stderr.readline()):
            assert line
    async with open_channel(f"unix://{place}/csi.sock") as channel:
        await Driver(place, channel).stage(volume_id, capability)
    second.terminate()
    await second.communicate()
    assert second.returncode == 0
    assert superblock_size_bytes(driver.file(volume_id)) == 1024**3


@pytest.mark.parametrize(("backend", "fs_type"), [case("loop", "xfs")])
async def test_full_disk(place: Path, backend: str, fs_type: str) -> None:
    """On a full disk a call is RESOURCE_EXHAUSTED and names the next step; nothing half made is left behind."""
    (place / "state").mkdir()
    mount = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place / "state")
    assert await mount.wait() == 0
    try:
        capability = mount_capability(fs_type)
        async with running(place, f"--backend={backend}"), open_channel(f"unix://{place}/csi.sock") as channel:
            driver = Driver(place, channel)
            volume_id = (await driver.create(capability=capability)).volume_id
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await driver.stage(volume_id, capability)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value.details()
            await driver.delete(volume_id)
            assert not driver.file(volume_id).exists()
    finally:
        unmount = await asyncio.create_subprocess_exec("umount", place / "state")
        assert await unmount.wait() == 0
