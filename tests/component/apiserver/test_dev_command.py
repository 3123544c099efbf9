"""`resizer dev` as a process: ready, reachable, and gone without a trace."""

import asyncio
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from resizer.devcluster.client import NAMESPACES, Client, UnreachableError

PROGRAM = "import typer; from resizer.cli.dev import dev; typer.run(dev)"


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, *arguments, stdout=pipe, stderr=pipe, env={**os.environ, "NO_COLOR": "1"}
    )


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
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


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
