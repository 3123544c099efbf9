# ruff: noqa: ASYNC240 -- the test's own look at the disk may hold its loop up
import asyncio
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from resizer.rpc.channel import MalformedAddressError, open_channel, socket_path
from resizer.rpc.pb import csi_v1_pb2 as pb
from resizer.rpc.pb import csi_v1_pb2_grpc
from resizer.rpc.server import SocketUnavailableError, serve_unix


class Named(csi_v1_pb2_grpc.IdentityServicer):
    """Answers with its name and remembers the authority it was called by."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def GetPluginInfo(  # noqa: N802 -- gRPC's name
        self, request: pb.GetPluginInfoRequest, context: Any
    ) -> pb.GetPluginInfoResponse:
        del request
        return pb.GetPluginInfoResponse(name=self.name, manifest={"peer": context.peer()})


def register(name: str) -> Any:
    return lambda server: csi_v1_pb2_grpc.add_IdentityServicer_to_server(Named(name), server)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rpc-"))
    yield path
    shutil.rmtree(path)


async def ask(channel: grpc.aio.Channel, *, wait: bool = False) -> str:
    stub = csi_v1_pb2_grpc.IdentityStub(channel)
    answer = await stub.GetPluginInfo(pb.GetPluginInfoRequest(), timeout=10, wait_for_ready=wait)
    return answer.name


@pytest.mark.parametrize("scheme", ["unix://", "unix:", ""])
async def test_every_way_to_write_an_address(folder: Path, scheme: str) -> None:
    """unix:///path, unix:/path and the bare path reach the same socket."""
    async with (
        serve_unix(f"{folder}/a.sock", register=register("a")),
        open_channel(f"{scheme}{folder}/a.sock") as channel,
    ):
        assert await ask(channel) == "a"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://host:1", "only unix sockets"),
        ("unix://", "no socket's path"),
        ("", "no socket's path"),
        ("unix://relative/csi.sock", "must be absolute"),
        ("/" + "x" * 107, "use a shorter folder"),
    ],
)
def test_addresses_that_never_work(address: str, words: str) -> None:
    """An address that can never work is refused at once, with what to write instead."""
    with pytest.raises(MalformedAddressError, match=words):
        socket_path(address)


def test_longest_path_that_works() -> None:
    """107 bytes are the most the kernel takes, counted in bytes, not in letters."""
    longest = "/" + "é" * 53
    assert len(socket_path(longest).encode()) == 107
    with pytest.raises(MalformedAddressError):
        socket_path(longest + "x")


@pytest.mark.parametrize("mode", [0o600, 0o660])
async def test_mode_and_removal(folder: Path, mode: int) -> None:
    """The socket has the mode asked for, from its first moment, and goes with the server."""
    async with serve_unix(f"{folder}/deep/er/a.sock", register=register("a"), mode=mode) as path:
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert not path.exists()


async def test_socket_in_use_is_left_alone(folder: Path) -> None:
    """A live server keeps its socket, and the refusal says what to do; it answers as before."""
    address = f"{folder}/a.sock"
    async with serve_unix(address, register=register("first")), open_channel(address) as channel:
        with pytest.raises(SocketUnavailableError, match="in use by a running process"):
            async with serve_unix(address, register=register("second")):
                pytest.fail("two servers on one socket")
        assert await ask(channel) == "first"


async def test_stale_socket_is_replaced(folder: Path) -> None:
    """The file a killed server left is replaced; a file that is no socket is not."""
    address = f"{folder}/a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address)
    async with serve_unix(address, register=register("new")), open_channel(address) as channel:
        assert await ask(channel) == "new"
    Path(address).write_text("a letter")
    with pytest.raises(SocketUnavailableError, match="no socket"):
        async with serve_unix(address, register=register("new")):
            pytest.fail("a file was replaced")
    assert Path(address).read_text() == "a letter"


async def test_socket_of_a_successor_is_not_removed(folder: Path) -> None:
    """A server that ends late does not take away the socket that another one has bound meanwhile."""
    address = f"{folder}/a.sock"
    async with serve_unix(address, register=register("old")) as path:
        path.unlink()
        path.touch()
    assert path.exists()


@pytest.mark.parametrize("steps", range(6))
async def test_a_server_cancelled_as_it_starts_ends_as_any_other(folder: Path, steps: int) -> None:
    """Ctrl-C at each step of the loop from before the start to after it: no error of gRPC's, and no socket left."""
    begun = asyncio.Event()

    async def serve() -> None:
        begun.set()
        async with serve_unix(f"{folder}/a.sock", register=register("a"), grace_s=0):
            await asyncio.sleep(60)

    task = asyncio.create_task(serve())
    await begun.wait()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list(folder.iterdir())


async def test_reconnects_soon_after_a_restart(folder: Path) -> None:
    """A channel that was refused for a while is through within some 2 s of the driver's return, not in minutes."""
    address = f"{folder}/a.sock"
    loop = asyncio.get_running_loop()
    async with open_channel(address) as channel:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(channel)
        async with serve_unix(address, register=register("late"), grace_s=0):
            asked_s = loop.time()
            assert await ask(channel, wait=True) == "late"
            assert loop.time() - asked_s < 3


async def test_authority_is_localhost(folder: Path) -> None:
    """Strict servers refuse a socket's path as :authority, so the request names localhost: read from the wire."""
    seen = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0\0\4\0\0\0\0\0")  # an empty SETTINGS frame
        received = b""
        while b"GetPluginInfo" not in received and (chunk := await reader.read(4096)):
            received += chunk
        if not seen.done():
            seen.set_result(received)
        writer.close()

    address = f"{folder}/a.sock"
    async with await asyncio.start_unix_server(listen, address), open_channel(address) as channel:
        call = asyncio.ensure_future(ask(channel))
        request = await asyncio.wait_for(seen, 10)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    assert b"localhost" in request
    assert str(folder).encode() not in request
