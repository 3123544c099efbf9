"""Clients of the endpoint that take more than their share."""

import asyncio
import contextlib

import pytest
from prometheus_client import CollectorRegistry, Gauge

from resizer.obs.certificate import ServerCertificate
from resizer.obs.http import MAX_HEADER, MAX_HEADERS, MAX_LINE, serve_http
from resizer.obs.listener import ConnectionLimits
from tests.component.obs.obs_sample import endpoint
from tests.component.obs.pem import write_pair

REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.asynccontextmanager
async def connected(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(port: int, request: bytes = REQUEST) -> bytes:
    """Send this and return all that comes until the server ends the connection."""
    async with connected(port) as (reader, writer):
        writer.write(request)
        return await reader.read()


async def ends(reader: asyncio.StreamReader) -> bytes:
    """What came until the other side ended the connection, in whatever way."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_client_that_sends_its_headers_slowly_is_cut():
    """A byte now and then keeps a connection open no longer than its lifetime (slowloris)."""
    served = endpoint(limits=ConnectionLimits(lifetime_s=0.3))
    async with serve_http("127.0.0.1:0", served) as port, connected(port) as (reader, writer):
        loop = asyncio.get_running_loop()
        started, ended = loop.time(), asyncio.ensure_future(ends(reader))
        for byte in b"GET /readyz HTTP/1.1\r\nX: " + b"y" * 200:
            writer.write(bytes([byte]))
            done, _ = await asyncio.wait({ended}, timeout=0.02)
            if done:
                break
        assert b"200 OK" not in await ended
        assert 0.25 < loop.time() - started < 3
        assert b"200 OK" in await ask(port)


async def test_a_client_that_takes_its_answer_slowly_is_cut():
    """Who asks for megabytes and does not read them holds them no longer than the lifetime."""
    registry = CollectorRegistry()
    big = Gauge("big", "Many series.", ["name"], registry=registry)
    for number in range(3000):
        big.labels("x" * 5000 + str(number))
    served = endpoint(registry=registry, limits=ConnectionLimits(lifetime_s=2.0))
    async with serve_http("127.0.0.1:0", served) as port, connected(port) as (reader, writer):
        writer.write(REQUEST.replace(b"readyz", b"metrics"))
        assert b"200 OK" in await reader.readline()
        async with asyncio.timeout(10):
            # None, if a busy machine comes here after the lifetime.
            connections = [task for task in asyncio.all_tasks() if task.get_name() == "http-connection"]
            await asyncio.gather(*connections, return_exceptions=True)
        assert 0 < len(await ends(reader)) < 15_000_000


@pytest.mark.parametrize("tls", [False, True])
async def test_a_flood_of_idle_clients_does_not_keep_a_probe_out(tmp_path, tls):
    """With every place taken by clients that say nothing the newest is served, and no more places are held."""
    certificate = ServerCertificate(*write_pair(tmp_path)) if tls else None
    served = endpoint(certificate=certificate, limits=ConnectionLimits(connections=20))
    async with serve_http("127.0.0.1:0", served) as port, contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(port)) for _ in range(60)]
        if tls:  # they hang in the handshake, which is where a flood costs the least
            from tests.component.obs.test_tls import shown

            assert await shown(port) == "first"
        else:
            assert b"200 OK" in await ask(port)
        cut = [asyncio.ensure_future(ends(reader)) for reader, _ in idle]
        async with asyncio.timeout(5):
            await asyncio.gather(*cut[:40])
        open_ = [task for task in cut if not task.done()]
        assert len(open_) <= 20
        for task in open_:
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


async def test_one_request_a_connection():
    """Two requests in one go: the first is answered, then the connection ends; nobody queues work here."""
    async with serve_http("127.0.0.1:0", endpoint()) as port:
        answer = await ask(port, REQUEST * 50)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"x" * (MAX_LINE + 1) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (MAX_HEADER + 10) + b"\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (MAX_HEADERS + 2) + b"\r\n",
        b"\x16\x03\x01 this is no HTTP\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["line", "header", "headers", "noise", "smuggling"],
)
async def test_what_is_too_long_or_no_http_is_refused(request_):
    """Each bound on what is read holds: 400, the connection ends, and the next client is served."""
    async with serve_http("127.0.0.1:0", endpoint()) as port:
        assert (await ask(port, request_)).split(b"\r\n")[0].split()[1] == b"400"
        assert b"200 OK" in await ask(port)


async def test_a_body_is_not_read():
    """A gigabyte that somebody announces is neither waited for nor kept."""
    request = b"GET /readyz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" + b"z" * 10_000
    async with serve_http("127.0.0.1:0", endpoint()) as port, connected(port) as (reader, writer):
        writer.write(request)
        async with asyncio.timeout(5):
            assert b"200 OK" in await reader.readline()
            await ends(reader)


async def test_idle_clients_do_not_hold_up_the_end():
    """Closing the endpoint takes no longer with clients that say nothing."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        async with serve_http("127.0.0.1:0", endpoint()) as port:
            idle = [await stack.enter_async_context(connected(port)) for _ in range(10)]
            assert b"200 OK" in await ask(port)
            started = loop.time()
        assert loop.time() - started < 3
        for reader, _ in idle:
            assert await ends(reader) == b""


async def test_it_listens_where_it_was_told_and_nowhere_else():
    """An address of one interface is not reachable by another one's."""
    async with serve_http("127.0.0.2:0", endpoint()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.2", port)
        writer.write(REQUEST)
        assert b"200" in await reader.readline()
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
