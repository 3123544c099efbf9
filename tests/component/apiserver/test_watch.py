"""Watches and lists beyond the recordings: history, paging, bookmarks, slow readers."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.client import CLAIMS, Client, GoneError

Build = Callable[..., dict[str, Any]]
PATH = "/api/v1/namespaces/default/persistentvolumeclaims"


async def lines(client: Client, query: dict[str, str]) -> list[dict[str, Any]]:
    """Read a watch that the server ends after a second at most."""
    url = client._url + PATH
    params = {"watch": "1", "timeoutSeconds": "1", **query}
    async with client._session.get(url, params=params) as response:
        assert response.status == 200
        return [json.loads(line) for line in (await response.text()).splitlines()]


async def test_history_is_compacted(server: ApiServer, client: Client, claim: Build) -> None:
    """A watch from a forgotten version gets one ERROR event with 410; a page token of it gets 410."""
    old = str(server.store.revision)
    for name in "abc":
        await client.create(CLAIMS, claim(name))
    page = await client.call("GET", PATH, query={"limit": "1"})
    await client.create(CLAIMS, claim("d"))
    server.compact()
    (event,) = await lines(client, {"resourceVersion": old})
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    with pytest.raises(GoneError) as gone:
        await client.call("GET", PATH, query={"limit": "1", "continue": page["metadata"]["continue"]})
    assert gone.value.reason == "Expired"
    assert await lines(client, {"resourceVersion": str(server.store.revision)}) == []


async def test_history_is_bounded(claim: Build) -> None:
    """The ring forgets by itself: what lies further back than `history` changes may be gone, the newest never is."""
    async with (
        ApiServer.start(history=5) as server,
        Client(server.url, token=server.token, ca_pem=server.ca_pem) as client,
    ):
        old = str(server.store.revision)
        for number in range(12):
            await client.create(CLAIMS, claim(f"c{number}"))
        assert [event["type"] for event in await lines(client, {"resourceVersion": old})] == ["ERROR"]
        recent = str(server.store.revision - 5)
        names = [event["object"]["metadata"]["name"] for event in await lines(client, {"resourceVersion": recent})]
        assert names == [f"c{number}" for number in range(7, 12)]


async def test_pages_show_one_moment(client: Client, claim: Build) -> None:
    """Pages that are read while objects come, change and go show the state at the time of the first page."""
    for name in "abcdef":
        await client.create(CLAIMS, claim(name))
    first = await client.call("GET", PATH, query={"limit": "2"})
    await client.create(CLAIMS, claim("bb"))
    await client.patch(CLAIMS, "d", {"metadata": {"labels": {"late": "yes"}}}, namespace="default")
    for patch in ({"metadata": {"finalizers": None}},):
        await client.patch(CLAIMS, "e", patch, namespace="default")
    await client.delete(CLAIMS, "e", namespace="default")
    token = first["metadata"]["continue"]
    rest = await client.call("GET", PATH, query={"continue": token})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c", "d", "e", "f"]
    assert "labels" not in rest["items"][1]["metadata"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert [item["metadata"]["name"] for item in (await client.list(CLAIMS)).items] == ["a", "b", "bb", "c", "d", "f"]


async def test_bookmarks_when_asked_for(claim: Build) -> None:
    """Idle watches that allow bookmarks get one in each interval, with the present version; others get none."""
    async with (
        ApiServer.start(bookmark_every_s=0.3) as server,
        Client(server.url, token=server.token, ca_pem=server.ca_pem) as client,
    ):
        await client.create(CLAIMS, claim())
        now = str(server.store.revision)
        asked, plain = await asyncio.gather(
            lines(client, {"resourceVersion": now, "allowWatchBookmarks": "true"}),
            lines(client, {"resourceVersion": now}),
        )
    assert [event["type"] for event in asked] == ["BOOKMARK"] * 3
    assert {event["object"]["metadata"]["resourceVersion"] for event in asked} == {now}
    assert plain == []


async def test_slow_reader_is_cut_off(claim: Build) -> None:
    """A watch whose reader stands still costs the server nothing but its place: lagging too far, it is told 410."""
    async with ApiServer.start(history=50, tls=False) as server, Client(server.url, token=server.token) as client:
        host, _, port = server.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**12)
        head = f"GET {PATH}?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        body = claim()
        body["metadata"]["annotations"] = {"big": "x" * 200_000}
        await client.create(CLAIMS, body)
        for number in range(200):
            await client.patch(CLAIMS, "data", {"metadata": {"labels": {"n": str(number)}}}, namespace="default")
        everything = b""
        async with asyncio.timeout(20):
            while b'"type":"ERROR"' not in everything[-4096:]:
                everything += await reader.read(2**20)
        writer.close()
    assert b'"code":410' in everything[-4096:]
    assert everything.count(b'"type":"MODIFIED"') < 200


async def first_lines(client: Client, query: dict[str, str], count: int) -> list[dict[str, Any]]:
    """Read so many events of a watch, however long they take."""
    async with client._session.get(client._url + PATH, params={"watch": "1", **query}) as response:
        assert response.status == 200
        return [json.loads(await response.content.readline()) for _ in range(count)]


async def test_burst_reaches_every_watcher_in_order(client: Client, claim: Build) -> None:
    """A burst of changes is delivered to each watcher completely and in order of versions."""
    await client.create(CLAIMS, claim())
    start = (await client.list(CLAIMS)).resource_version

    async def burst() -> None:
        for number in range(100):
            await client.patch(CLAIMS, "data", {"metadata": {"labels": {"n": str(number)}}}, namespace="default")

    watches = (first_lines(client, {"resourceVersion": start}, 100) for _ in range(3))
    *seen, _ = await asyncio.gather(*watches, burst())
    for events in seen:
        assert [event["object"]["metadata"]["labels"]["n"] for event in events] == [str(n) for n in range(100)]


async def test_list_of_a_version_to_come(server: ApiServer, client: Client) -> None:
    """A list that demands a version the server has not reached is refused as too large, not answered with less."""
    with pytest.raises(Exception, match="Too large resource version"):
        await client.call("GET", PATH, query={"resourceVersion": str(server.store.revision + 1000)})


async def test_injected_nonsense_is_served_as_it_is(server: ApiServer, client: Client) -> None:
    """Tests of clients can have objects that no sane server sends, in lists and watches."""
    raw = b'{"kind":"PersistentVolumeClaim","apiVersion":"v1","metadata":7}'
    server.inject("", "persistentvolumeclaims", "odd", raw, namespace="default")
    listed = await client.call("GET", PATH)
    assert listed["items"] == [{"metadata": 7}]
