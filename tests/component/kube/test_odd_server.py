"""Answers that the development API server does not give: an odd server, scripted one request at a time."""

import asyncio
import contextlib
import json

import pytest
from aiohttp import web

from resizer.kube.auth import load_credentials
from resizer.kube.client import KubeClient, KubeOptions
from resizer.kube.limiter import Limiter
from resizer.kube.projection import CLAIM
from resizer.kube.reflector import Timing
from resizer.kube.request import Request
from resizer.kube.resource import CLAIMS
from resizer.kube.rights import Rights
from resizer.kube.telemetry import NullKubeTelemetry
from resizer.kube.transport import Transport
from resizer.model import errors
from tests.component.kube.rig import running, until


def claim(name, version=1):
    return {"metadata": {"name": name, "namespace": "n", "uid": f"u-{name}", "resourceVersion": str(version)}}


class OldServer:
    """No WatchList, lists in pages, as servers before it; records what it was asked."""

    def __init__(self, claims):
        self.claims = claims
        self.lists = []
        self.watches = []
        self.expire_token = False
        self.too_long = 0
        self.version = 100

    async def handle(self, request):
        query = dict(request.query)
        if request.path == "/version":
            return web.json_response({"major": "1"})
        if not request.path.endswith("/persistentvolumeclaims"):
            query = {**query, "other": "1"}
        if "watch" in query:
            return await self.watch(request, query)
        return self.list(query)

    async def watch(self, request, query):
        self.watches.append(query)
        if "sendInitialEvents" in query:
            body = {"kind": "Status", "reason": "Invalid", "code": 422, "message": "sendInitialEvents is forbidden"}
            return web.json_response(body, status=422)
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(3600)
        return response

    def list(self, query):
        claims = [] if "other" in query else self.claims
        if "other" not in query:
            self.lists.append(query)
        limit, start = int(query["limit"]), int(query.get("continue", "0"))
        if start and self.expire_token:
            self.expire_token = False
            return web.json_response({"reason": "Expired", "code": 410, "message": "too old"}, status=410)
        if limit > self.too_long > 0:
            return web.Response(body=b"x" * 1000)
        more = str(start + limit) if start + limit < len(claims) else ""
        meta = {"resourceVersion": str(self.version), "continue": more}
        return web.json_response({"metadata": meta, "items": claims[start : start + limit]})


@contextlib.asynccontextmanager
async def serving(handle):
    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def client_of(handle, **options):
    async with serving(handle) as url:
        client = await KubeClient.open(KubeOptions(master=url, **options))
        try:
            yield client
        finally:
            await client.close()


async def test_without_watchlist_it_lists_in_pages_and_watches_from_there():
    """The refusal is understood once; pages of the size asked for; the watch begins at the list's version."""
    server = OldServer([claim(f"c{number}") for number in range(7)])
    async with client_of(server.handle, page_size=3) as client, running(client.run_sources()):
        await client.wait_synced()
        assert len(list(client.store.claims())) == 7
        assert [query.get("continue") for query in server.lists] == [None, "3", "6"]
        await until(lambda: any("resourceVersion" in query for query in server.watches))
        assert any(query.get("resourceVersion") == "100" for query in server.watches)


async def test_a_token_that_expires_between_pages_starts_the_list_again():
    """410 in the middle of a list: nothing is reported as deleted, the list begins anew."""
    server = OldServer([claim(f"c{number}") for number in range(7)])
    server.expire_token = True
    async with client_of(server.handle, page_size=3) as client, running(client.run_sources()):
        await client.wait_synced()
        assert len(list(client.store.claims())) == 7


async def test_a_page_that_is_no_list_is_asked_for_in_smaller_pages():
    """An answer that was cut or mangled for its length: the next try asks for less."""
    server = OldServer([claim(f"c{number}") for number in range(7)])
    server.too_long = 100
    async with client_of(server.handle, page_size=200) as client, running(client.run_sources()):
        await client.wait_synced()
        assert [query["limit"] for query in server.lists] == ["200", "50"]


def bookmark(version, **annotations):
    meta = {"resourceVersion": str(version), "annotations": annotations}
    return {"type": "BOOKMARK", "object": {"metadata": meta}}


TOO_LARGE = {"code": 504, "reason": "Timeout", "message": "Too large resource version: 9, current: 8"}
UNFINISHED = {
    "an error event": [{"type": "ERROR", "object": TOO_LARGE}],
    "an end": [{"type": "ADDED", "object": claim("c0")}],
    "an answer": 504,
}
"""What a WatchList may come to instead of its end; the first as where storage tells the cache of no progress."""


@pytest.mark.parametrize("unfinished", UNFINISHED.values(), ids=UNFINISHED)
async def test_a_watchlist_that_does_not_come_to_its_end_is_followed_by_a_list(unfinished):
    """Whatever is wrong with WatchList, a list in pages gets there, at once if it was refused.

    The next fresh list is a WatchList again.
    """

    class Server(OldServer):
        async def watch(self, request, query):
            self.watches.append(query)
            is_fresh = "sendInitialEvents" in query
            if is_fresh and isinstance(unfinished, int):
                return web.json_response({"code": unfinished}, status=unfinished)
            response = web.StreamResponse()
            await response.prepare(request)
            for event in unfinished if is_fresh else ():
                await response.write(json.dumps(event).encode() + b"\n")
            if not is_fresh:
                await asyncio.sleep(3600)
            return response

    server = Server([claim(f"c{number}") for number in range(3)])
    async with client_of(server.handle) as client, running(client.run_sources()):
        await client.wait_synced()
        assert len(list(client.store.claims())) == 3
        assert client.claim_reflector._watch_list
        assert client.claim_reflector.restarts == (unfinished is UNFINISHED["an end"])


async def test_a_server_that_knows_nothing_of_initial_events_is_listed():
    """It sends what is there and bookmarks, and never says that this was all: the deadline of a list counts."""

    class Server(OldServer):
        async def watch(self, request, query):
            self.watches.append(query)
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(json.dumps(bookmark(100)).encode() + b"\n")
                await asyncio.sleep(0.02)

    server = Server([claim("a")])
    timing = Timing(list_s=0.3)
    async with client_of(server.handle, timing=timing) as client, running(client.run_sources()):
        await client.wait_synced()
        assert [c.name for c in client.store.claims()] == ["a"]


async def test_a_list_without_a_usable_version_is_asked_for_again():
    """A version that is no number is no list; it ends nothing but this try."""
    server = OldServer([claim("a")])
    server.version = "abc"
    async with client_of(server.handle) as client, running(client.run_sources()):
        await until(lambda: client.claim_reflector.health.last_error is not None)
        server.version = 100
        await client.wait_synced()


async def test_a_late_answer_does_not_keep_what_a_fresh_list_lacks():
    """Deleted while no watch ran, and the answer of a write to it arrives during the list: it is gone."""
    server = OldServer([])
    async with client_of(server.handle) as client:
        shelf, reflector = client.store.claim_shelf, client.claim_reflector
        shelf.put(CLAIM.decode(json.dumps(claim("a", 90)).encode()))
        late = CLAIM.decode(json.dumps(claim("a", 95)).encode())
        handle = server.list

        def list_while_an_answer_comes(query):
            shelf.put_answer(late)
            return handle(query)

        server.list = list_while_an_answer_comes
        reflector._watch_list = False
        await reflector._list()
        assert list(client.store.claims()) == []


async def test_a_server_whose_history_went_back_is_believed():
    """After etcd was restored from a backup, lower versions than before are the truth now."""
    server = OldServer([claim("a", 90), claim("b", 95)])
    async with client_of(server.handle) as client:
        reflector = client.claim_reflector
        for version, name in ((100, "b"), (50, "c")):
            server.version, server.claims = version, [claim("a", version - 10), claim(name, version - 5)]
            reflector._version = ""
            reflector._watch_list = False
            await reflector._list()
        assert {c.name: c.version for c in client.store.claims()} == {"a": "40", "c": "45"}


async def get(url, **changes):
    credentials = await load_credentials(master=url)
    transport = Transport(credentials, limiter=Limiter(), rights=Rights(), telemetry=NullKubeTelemetry())
    try:
        return await transport.request(
            Request(**{"verb": "get", "resource": CLAIMS, "namespace": "n", "name": "a", **changes})
        )
    finally:
        await transport.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (web.Response(status=302, headers={"Location": "http://example.com"}), "answered 302"),
        (web.Response(status=502, text="<html>bad gateway\n</html>"), "answered 502"),
        (web.Response(status=500, body=b"\xff\xfe"), "answered 500"),
        (web.Response(body=b"x" * 2000), "longer than 1000 bytes"),
    ],
)
async def test_answers_of_proxies_and_worse_are_plain_errors(answer, says):
    """A redirect is not followed, HTML is no message, and an answer without end is not read to its end."""

    async def handle(_request):
        return answer

    async with serving(handle) as url:
        with pytest.raises(errors.UnavailableError, match=says) as caught:
            await get(url, max_bytes=1000)
    assert "\n" not in str(caught.value)


async def test_a_stream_of_bytes_without_end_is_left():
    """A body of unknown length is read up to the bound."""

    async def handle(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65536)
        return response

    async with serving(handle) as url:
        with pytest.raises(errors.UnavailableError, match="longer than"):
            await get(url, max_bytes=1_000_000)


async def test_bytes_that_are_no_http_are_an_unavailable_server():
    """Whatever listens there, the error is one of the family."""

    async def babble(_reader, writer):
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(errors.UnavailableError):
            await get(f"http://127.0.0.1:{port}")


async def test_names_cannot_leave_their_place_in_the_path():
    """A claim called `../secrets/x` is asked for by that name."""
    asked = []

    async def handle(request):
        asked.append(request.raw_path)
        return web.json_response({})

    async with serving(handle) as url:
        await get(url, name="../secrets/x?y=z#w")
    assert asked == ["/api/v1/namespaces/n/persistentvolumeclaims/..%2Fsecrets%2Fx%3Fy%3Dz%23w"]


@pytest.mark.parametrize("namespace", ["n", "m"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda writer: writer.read_claim("n/a"),
        lambda writer: writer.patch_claim_status(CLAIM.decode(json.dumps(claim("a")).encode()), {}),
    ],
    ids=["read", "patch"],
)
async def test_an_answer_about_another_object_is_none(ask, namespace):
    """As from a proxy that mixes up its connections: an error that names both, and the cache is left alone."""
    other = claim("b" if namespace == "n" else "a", version=7)
    other["metadata"]["namespace"] = namespace

    async def handle(_request):
        return web.json_response(other)

    async with client_of(handle) as client:
        with pytest.raises(errors.UnavailableError) as caught:
            await ask(client.writer)
        assert "n/a" in str(caught.value)
        assert f"the server's answer is about {namespace}/{other['metadata']['name']}" in str(caught.value)
        assert list(client.store.claims()) == []


async def test_requests_of_all_claims_share_few_connections():
    """Keep-alive: a hundred reads one after the other use one connection."""
    connections = set()

    async def handle(request):
        connections.add(request.transport)
        return web.json_response(json.loads("{}"))

    async with client_of(handle) as client:
        for _ in range(100):
            await client.transport.request(Request(verb="get", resource=CLAIMS, namespace="n", name="a"))
    assert len(connections) == 1
