"""Requests with a body on their short way: what is sent byte for byte, and whatever an answer may look like."""

import asyncio
import contextlib
import ssl

import aiohttp
import pytest

from resizer.kube import pool
from resizer.kube.credentials import Access, ReloadedCredentials
from resizer.kube.limiter import Limiter
from resizer.kube.request import MERGE_PATCH, Request
from resizer.kube.resource import CLAIMS
from resizer.kube.rights import Rights
from resizer.kube.telemetry import NullKubeTelemetry
from resizer.kube.transport import Transport
from resizer.model.errors import UnavailableError
from tests.component.kube.rig import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSE = object()
"""In a script: the server closes the connection."""
WAIT = object()
"""In a script: the server says no more."""


class ScriptedServer:
    """Answers each request with the next script: pieces of bytes, CLOSE, WAIT. Remembers what it was sent."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.requests = []
        self.connections = []
        self.closed = []
        """Numbers of the connections that the client has closed."""

    async def serve(self, reader, writer):
        self.connections.append(writer)
        number = len(self.connections)
        with contextlib.suppress(ConnectionError):
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError:
                    self.closed.append(number)
                    return
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.requests.append((number, head + await reader.readexactly(length)))
                for piece in self.scripts.pop(0) if self.scripts else (OK,):
                    if piece is CLOSE:
                        writer.close()
                        return
                    if piece is WAIT:
                        await asyncio.sleep(3600)
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def asking(*scripts, path="", renewed=None, **access):
    """A server with these scripts, a transport to it, and what makes one request; `renewed` follows a 401."""
    scripted = ScriptedServer(*scripts)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    first = Access(server=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}", **access)

    async def read_again():
        return Access(server=first.server, authorization="Bearer new", **(renewed or {}))

    transport = Transport(
        ReloadedCredentials(first, read_again), limiter=Limiter(), rights=Rights(), telemetry=NullKubeTelemetry()
    )

    async def ask(**options):
        body = {"metadata": {"annotations": {"a": "ü"}}}
        request = Request(
            verb="patch",
            resource=CLAIMS,
            namespace="shop",
            name="data",
            subresource="status",
            body=body,
            content_type=MERGE_PATCH,
            **options,
        )
        return await transport.request(request)

    try:
        yield scripted, ask
    finally:
        await transport.close()
        server.close()
        for writer in scripted.connections:
            writer.transport.abort()


async def test_what_is_sent():
    """One request line, each header once, the body as it is; a server below a path keeps it."""
    who = (("Impersonate-User", "jane"), ("Impersonate-Group", "dev"), ("Impersonate-Group", "ops"))
    async with asking(path="/k8s/clusters/c-1", authorization="Bearer t", impersonation=who) as (server, ask):
        assert await ask() == b"ok"
    head, _, body = server.requests[0][1].decode().partition("\r\n\r\n")
    line, *headers = head.split("\r\n")
    assert line == "PATCH /k8s/clusters/c-1/api/v1/namespaces/shop/persistentvolumeclaims/data/status HTTP/1.1"
    assert body == '{"metadata":{"annotations":{"a":"ü"}}}'
    names = [header.partition(": ")[0] for header in headers]
    ours = ("Host", "User-Agent", "Accept", "Accept-Encoding", "Authorization", "Content-Type", "Content-Length")
    assert sorted(names) == sorted((*ours, *(name for name, _ in who)))
    values = {name: value for name, _, value in (header.partition(": ") for header in headers)}
    assert values["Host"].startswith("127.0.0.1:")
    assert (values["Content-Type"], values["Content-Length"]) == (MERGE_PATCH, str(len(body.encode())))
    assert (values["Authorization"], values["Accept-Encoding"]) == ("Bearer t", "identity")


@pytest.mark.parametrize(
    ("script", "body"),
    [
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", b"cd"], b"abcd", id="in pieces"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n"],
            b"abcd",
            id="chunked",
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nab", b"cd", CLOSE], b"abcd", id="to the end of the connection"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", OK], b"ok", id="after 100"),
        pytest.param([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK], b"ok", id="with 103"),
        pytest.param([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", id="without a body"),
        pytest.param([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], b"ok", id="HTTP/1.0"),
    ],
)
async def test_any_shape_of_an_answer_is_read(script, body):
    """However a server, or what stands before it, sends the body; and the next request has its own answer."""
    async with asking(script) as (_, ask):
        assert await ask() == body
        assert await ask() == b"ok"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param([CLOSE], "closed it without an answer", id="no answer"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", CLOSE], "in the middle", id="half a body"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Le", CLOSE], "in the middle", id="half a head"),
        pytest.param([b"\x16\x03\x01 not HTTP at all\r\n\r\n"], "is not HTTP: Expected HTTP", id="not HTTP"),
        pytest.param([b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n"], "longer than 100", id="a long header"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], "Content-Length", id="a wrong length"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", b"x" * 200], "longer than 100", id="too long"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n" + b"x" * 200 + b"\r\n0\r\n\r\n"],
            "longer than 100",
            id="too long, chunked",
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", WAIT], "no answer within 0s", id="no end"),
        pytest.param([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], "answered 101", id="another protocol"),
    ],
)
async def test_whatever_is_no_answer_is_an_unknown_outcome_and_the_next_request_has_its_own(script, said):
    """The connection is given up, with all that may come on it yet."""
    async with asking(script) as (server, ask):
        with pytest.raises(UnavailableError, match=said):
            await ask(max_bytes=100, timeout_s=0.3)
        assert await ask() == b"ok"
        assert [number for number, _ in server.requests] == [1, 2]


async def test_a_server_that_does_not_take_the_connection_is_said_to(monkeypatch):
    """Not that it did not answer: nothing was sent."""

    async def connect(*_):
        raise TimeoutError

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect)
    async with asking() as (server, ask):
        with pytest.raises(UnavailableError, match="the connection failed: no connection within 10s"):
            await ask()
        assert server.requests == []


async def test_one_connection_serves_one_request_after_the_other():
    """Unless the server says that it closes it."""
    closing = [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"]
    async with asking([OK], [OK], closing, [OK]) as (server, ask):
        for _ in range(4):
            assert await ask() == b"ok"
        assert [number for number, _ in server.requests] == [1, 1, 1, 2]


async def test_an_answer_that_comes_late_is_not_taken_for_the_next_ones():
    """Whoever asked has given up: the answer to that must not become that of another claim."""
    async with asking([WAIT]) as (server, ask):
        with pytest.raises(UnavailableError, match="no answer"):
            await ask(timeout_s=0.1)
        server.connections[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
        assert await ask() == b"ok"


@pytest.mark.parametrize(
    "words", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", b"HTTP/1", b"\r\n", b"\x16\x03"]
)
async def test_what_a_server_says_unasked_is_nobodys_answer(words):
    """The connection on which it did is used no more."""
    async with asking() as (server, ask):
        assert await ask() == b"ok"
        server.connections[0].write(words)
        await asyncio.sleep(0.05)
        assert await ask() == b"ok"
        assert [number for number, _ in server.requests] == [1, 2]


async def test_a_second_answer_behind_the_first_is_nobodys():
    """In one piece with the first, before anybody could ask again."""
    async with asking([OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"]) as (server, ask):
        assert [await ask(), await ask()] == [b"ok", b"ok"]
        assert [number for number, _ in server.requests] == [1, 2]


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again():
    """Servers close what has been idle for long; a request on it would be lost, its outcome unknown."""
    async with asking() as (server, ask):
        assert await ask() == b"ok"
        server.connections[0].close()
        await asyncio.sleep(0.05)
        assert await ask() == b"ok"
        assert [number for number, _ in server.requests] == [1, 2]


async def test_a_connection_that_is_closed_this_very_moment_is_an_unknown_outcome_at_worst():
    """Closed right behind an answer, or as soon as it is open: nothing but an answer or an error of the family."""
    async with asking(*([OK, CLOSE] for _ in range(30))) as (_, ask):
        outcomes = await asyncio.gather(*(ask() for _ in range(10)), return_exceptions=True)
        for _ in range(30):
            outcomes += await asyncio.gather(ask(), ask(), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {bytes, UnavailableError}
        assert outcomes.count(b"ok") >= 30


async def test_one_lost_connection_is_reason_enough_to_distrust_those_that_waited_beside_it():
    """A server that vanished behind its address took them all: the next request does not wait for each in turn."""
    async with asking([OK], [OK], [OK], [WAIT]) as (server, ask):
        await asyncio.gather(ask(), ask(), ask())
        with pytest.raises(UnavailableError, match="no answer"):
            await ask(timeout_s=0.1)
        assert await ask() == b"ok"
        assert server.requests[-1][0] == 4
        await until(lambda: len(server.closed) == 2)  # the third one's server does not listen


async def test_a_connection_that_has_answered_since_is_trusted():
    """One request that is lost on a server that answers others costs nobody else a connection."""
    async with asking([OK], [OK], [WAIT], [OK]) as (server, ask):
        await asyncio.gather(ask(), ask())
        lost = asyncio.create_task(ask(timeout_s=0.2))
        await until(lambda: len(server.requests) == 3)
        assert await ask() == b"ok"
        with pytest.raises(UnavailableError):
            await lost
        assert await ask() == b"ok"
        assert len(server.connections) == 2


async def test_connections_that_nobody_needs_any_more_are_closed(monkeypatch):
    """Three are needed at once. What is asked one by one afterwards needs one, so that the others grow old."""
    monkeypatch.setattr(pool, "MAX_IDLE_S", 0.2)
    async with asking() as (server, ask):
        await asyncio.gather(ask(), ask(), ask())
        for _ in range(3):
            await ask()
        assert len({number for number, _ in server.requests[3:]}) == 1
        await until(lambda: sorted(server.closed) == [1, 2, 3])
        assert await ask() == b"ok"
        assert server.requests[-1][0] == 4


@pytest.mark.parametrize(("renewed", "connections"), [({}, [1, 1, 1, 1]), ({"tls_digest": "another"}, [1, 1, 2, 2])])
async def test_connections_outlive_a_token_but_not_a_certificate(renewed, connections):
    """A certificate was shown when the connection was opened; what is idle with the old one is closed."""
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    context = ssl.create_default_context()
    async with asking([OK], [refusal], renewed={"ssl_context": context, **renewed}) as (server, ask):
        assert [await ask(), await ask(), await ask()] == [b"ok"] * 3
        assert [number for number, _ in server.requests] == connections
        await until(lambda: server.closed == ([1] if renewed else []))


async def test_closing_the_transport_closes_all_connections():
    """Those that wait for the next request, and those in the middle of one."""
    async with asking([OK], [OK], [WAIT]) as (server, ask):
        await asyncio.gather(ask(), ask())
        task = asyncio.create_task(ask())
        await until(lambda: len(server.requests) == 3)
    with pytest.raises(UnavailableError, match="closed"):
        await task
    await until(lambda: len(server.closed) == 1)  # the other one's server does not listen


async def test_cancelled_while_it_waits_the_connection_is_closed():
    """A lost lease, a shutdown: nothing is left open."""
    async with asking([WAIT]) as (server, ask):
        task = asyncio.create_task(ask())
        await until(lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ask() == b"ok"
        assert [number for number, _ in server.requests] == [1, 2]


async def test_a_token_that_is_refused_is_read_again_and_the_new_one_sent():
    """The head that was put together with the old one is not used again."""
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    async with asking([refusal], authorization="Bearer old") as (server, ask):
        assert await ask() == b"ok"
        assert await ask() == b"ok"
    tokens = [sent.partition(b"Authorization: ")[2].split(b"\r\n")[0] for _, sent in server.requests]
    assert tokens == [b"Bearer old", b"Bearer new", b"Bearer new"]


@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a\nb", "a\x00b"])
async def test_credentials_that_would_make_headers_of_their_own_are_not_sent(text):
    """The message says which header it is, and nothing of what stands in it."""
    async with asking(impersonation=(("Impersonate-User", text),)) as (server, ask):
        with pytest.raises(UnavailableError, match="line break or the like in Impersonate-User") as caught:
            await ask()
        assert text not in str(caught.value)
        assert server.requests == []
