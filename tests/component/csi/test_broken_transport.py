"""Answers that no gRPC server sends: HTTP/2 frames written by hand, so that every way a call can break is real.

Only what is needed of RFC 9113 and 7541: frames, and headers as literals without an index.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest

from resizer.core.verdict import classify
from resizer.csi.call import Caller
from resizer.csi.telemetry import NullCsiTelemetry
from resizer.model.errors import DriverError
from resizer.rpc.channel import open_channel, socket_path
from resizer.rpc.pb import csi_v1_pb2 as pb
from resizer.rpc.pb.csi_v1_pb2_grpc import ControllerStub

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4
PREFACE_BYTES = 24
SECRET = "p\u00e4ssword-of-orain"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(stream: int, *pairs: tuple[bytes, bytes], end: bool = False) -> bytes:
    block = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in pairs)
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


def opening(stream: int, status: bytes = b"200") -> bytes:
    return headers(stream, (b":status", status), (b"content-type", b"application/grpc"))


def granted(stream: int, *, flag: int = 0, flags: int = 0, cut: int = 0) -> bytes:
    body = pb.ControllerExpandVolumeResponse(capacity_bytes=1 << 30).SerializeToString()
    message = bytes([flag]) + struct.pack(">I", len(body)) + body
    return frame(DATA, flags, stream, message[: len(message) - cut])


def trailer(stream: int, code: bytes, message: bytes = b"") -> bytes:
    return headers(stream, (b"grpc-status", code), (b"grpc-message", message), end=True)


BROKEN = {
    "no trailers": lambda s: opening(s) + granted(s, flags=END_STREAM),
    "no status": lambda s: opening(s) + granted(s) + headers(s, (b"x", b"y"), end=True),
    "a status that is no number": lambda s: opening(s) + granted(s) + trailer(s, b"abc"),
    "success without an answer": lambda s: opening(s) + trailer(s, b"0"),
    "an answer cut short": lambda s: opening(s) + granted(s, cut=2) + trailer(s, b"0"),
    "compressed by nothing": lambda s: opening(s) + granted(s, flag=1) + trailer(s, b"0"),
    "closed at once": lambda _: b"",
    "closed after the answer": lambda s: opening(s) + granted(s),
    "reset": lambda s: frame(RST_STREAM, 0, s, struct.pack(">I", 2)),
    "reset after the answer": lambda s: opening(s) + granted(s) + frame(RST_STREAM, 0, s, struct.pack(">I", 8)),
    "going away": lambda _: frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11) + b"too_many_pings"),
    "no HTTP/2": lambda _: b"HTTP/1.1 500 Oops\r\n\r\n",
    "a proxy's 503": lambda s: headers(s, (b":status", b"503"), end=True),
}


@contextlib.asynccontextmanager
async def answering(endpoint: str, answer: bytes) -> AsyncIterator[None]:
    """Answer the first call on the socket with these bytes, then close the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            await reader.readexactly(PREFACE_BYTES)
            writer.write(frame(SETTINGS, 0, 0))
            is_asked = False
            while not is_asked:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] == SETTINGS and not head[4]:
                    writer.write(frame(SETTINGS, 1, 0))
                is_asked = head[3] == DATA and bool(head[4] & END_STREAM)
            writer.write(answer)
            await writer.drain()

    async with await asyncio.start_unix_server(serve, socket_path(endpoint)):
        yield


async def fail(endpoint: str, answer: bytes) -> DriverError:
    async with answering(endpoint, answer), open_channel(endpoint) as channel:
        with pytest.raises(DriverError) as caught:
            await Caller(telemetry=NullCsiTelemetry()).call(
                ControllerStub(channel).ControllerExpandVolume,
                pb.ControllerExpandVolumeRequest(volume_id="v"),
                method="/csi.v1.Controller/ControllerExpandVolume",
                timeout_s=5,
                secrets=[SECRET],
            )
    return caught.value


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_call_that_breaks_is_uncertain(endpoint, name):
    """However the way to the driver breaks, nobody knows what it did: the recorded target must stand."""
    error = await fail(endpoint, BROKEN[name](1))
    assert classify(error.code, error.message).outcome == "uncertain", error


async def test_a_secret_beside_bytes_that_are_no_text_is_taken_out(endpoint, caplog):
    """One wrong byte makes gRPC read the whole message as Latin-1, and log it: no credential gets out either way."""
    error = await fail(endpoint, opening(1) + trailer(1, b"7", SECRET.encode() + b" refused\xff"))
    assert (error.code, error.message) == ("PERMISSION_DENIED", "[redacted] refused\u00ff")
    assert "ssword-of-orain" not in caplog.text
