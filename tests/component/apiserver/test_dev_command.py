"""`resizer dev` as a process: ready, reachable, and gone without a trace."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from resizer.devcluster.client import CLAIMS, NAMESPACES, PODS, STORAGE_CLASSES, Client, UnreachableError

MAIN = "import sys; from resizer.cli.main import main; sys.exit(main())"


async def start(*arguments: str, command: str = "dev") -> asyncio.subprocess.Process:
    pipe, environment = asyncio.subprocess.PIPE, {**os.environ, "NO_COLOR": "1"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN, command, *arguments, stdout=pipe, stderr=pipe, env=environment
    )


async def appeared(path: Path) -> None:
    async with asyncio.timeout(30):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.01)


async def refused(*arguments: str) -> tuple[int | None, str]:
    program = await start(*arguments)
    async with asyncio.timeout(30):
        _, err = await program.communicate()
    return program.returncode, err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ready_when_the_file_is_there_and_clean_at_the_end(tmp_path: Path, number: signal.Signals) -> None:
    """The kubeconfig works at the moment it appears, is private, and is removed on SIGTERM and Ctrl-C with exit 0."""
    path = tmp_path / "kubeconfig"
    program = await start("--kubeconfig-out", str(path))
    async with asyncio.timeout(30):
        while not path.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with Client.from_kubeconfig(path) as client:
        names = [item["metadata"]["name"] for item in (await client.list(NAMESPACES)).items]
        assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
        program.send_signal(number)
        async with asyncio.timeout(10):
            out, err = await program.communicate()
        assert (program.returncode, err) == (0, b"")
        assert b"API server at https://127.0.0.1:" in out
        with pytest.raises(UnreachableError):
            await client.list(NAMESPACES)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - a test's own folder


async def test_file_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    """What an earlier run left behind after kill -9 never passes for a server that is ready."""
    path = tmp_path / "kubeconfig"
    first = await start("--kubeconfig-out", str(path))
    await appeared(path)
    first.kill()
    await first.communicate()
    second = await start("--kubeconfig-out", str(path))
    async with asyncio.timeout(30):
        assert second.stdout is not None
        assert b"API server at" in await second.stdout.readline()
    async with Client.from_kubeconfig(path) as client:
        assert (await client.list(NAMESPACES)).items
    second.terminate()
    await second.communicate()
    assert not path.exists()


async def test_the_file_of_a_cluster_that_runs_is_left_to_it(tmp_path: Path) -> None:
    """A second run at the same path is refused in one line with exit 2; whoever uses the first notices nothing."""
    path = tmp_path / "kubeconfig"
    first = await start("--kubeconfig-out", str(path))
    await appeared(path)
    code, said = await refused("--kubeconfig-out", str(path))
    assert (code, said.count("\n"), "still runs" in said) == (2, 1, True)
    async with Client.from_kubeconfig(path) as client:
        assert (await client.list(NAMESPACES)).items
    first.terminate()
    await first.communicate()


async def test_cluster_moves_with_a_driver(tmp_path: Path) -> None:
    """With a driver's socket a claim is provisioned and a pod runs; at the end both processes go, mounts and all."""
    socket_path, path = tmp_path / "csi.sock", tmp_path / "kubeconfig"
    driver = await start(
        *("--endpoint", f"unix://{socket_path}", "--state-dir", str(tmp_path / "volumes")),
        *("--node-id", "node-1", "--backend", "image"),
        command="driver",
    )
    await appeared(socket_path)
    state = tmp_path / "state"
    cluster = await start("--kubeconfig-out", str(path), "--csi-address", str(socket_path), "--state-dir", str(state))
    await appeared(path)
    async with Client.from_kubeconfig(path) as client, asyncio.timeout(30):
        await client.create(STORAGE_CLASSES, {"metadata": {"name": "gold"}, "provisioner": "csi-qcfsplugin"})
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "gold"}
        spec["resources"] = {"requests": {"storage": "64Mi"}}
        await client.create(CLAIMS, {"metadata": {"name": "data", "namespace": "default"}, "spec": spec})
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        pod = {"containers": [{"name": "c", "image": "mysql:8"}], "volumes": [volume]}
        await client.create(PODS, {"metadata": {"name": "db", "namespace": "default"}, "spec": pod})
        async with contextlib.aclosing(client.watch(PODS)) as events:
            async for event in events:
                if event.object["status"]["phase"] == "Running":
                    break
    assert (state / "kubelet/node-1/pods").is_dir(), "where the help says"
    for process in (cluster, driver):
        process.terminate()
        async with asyncio.timeout(30):
            await process.communicate()
        assert process.returncode == 0
    assert str(tmp_path) not in Path("/proc/mounts").read_text()  # noqa: ASYNC240 - a test's own folder


async def test_the_help_says_where_the_kubelets_directory_lies() -> None:
    """A node agent is started with that path, and nobody looks for it in a cluster without a driver."""
    program = await start("--help")
    out, _ = await program.communicate()
    said = " ".join(out.decode().split())
    assert "kubelet/NODE becomes the kubelet's directory" in said
    assert "Without a driver nothing is put there" in said


async def test_socket_that_is_not_there(tmp_path: Path) -> None:
    """A driver that is not running is named in one line, and nothing is started."""
    code, said = await refused("--kubeconfig-out", str(tmp_path / "k"), "--csi-address", str(tmp_path / "csi.sock"))
    assert (code, said.count("\n")) == (1, 1)
    assert "csi.sock: no socket there; start the driver first" in said


async def test_port_in_use(tmp_path: Path) -> None:
    """A port that is taken is named in one line, with what to do, and exit 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = await refused("--kubeconfig-out", str(tmp_path / "k"), "--port", str(port))
    assert code == 1
    assert said == (
        f"resizer dev: port {port} on 127.0.0.1 is in use; name another with --port, or leave it out for a free one\n"
    )


async def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    """A missing folder, a folder, and somebody else's kubeconfig are refused in one line; the file is left alone."""
    code, said = await refused("--kubeconfig-out", str(tmp_path / "no" / "k"))
    assert (code, said.count("\n")) == (1, 1)
    assert f"{tmp_path / 'no'} is no folder; create it first" in said
    code, said = await refused("--kubeconfig-out", str(tmp_path))
    assert (code, said.count("\n")) == (2, 1)
    mine = tmp_path / "config"
    mine.write_text("apiVersion: v1\nkind: Config\n")
    code, said = await refused("--kubeconfig-out", str(mine))
    assert (code, said.count("\n")) == (2, 1)
    assert "was not written by `resizer dev`" in said
    assert mine.read_text() == "apiVersion: v1\nkind: Config\n"
