"""Each fault on demand, as a client on a real socket meets it."""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.client import (
    CLAIMS,
    LEASES,
    Client,
    NotFoundError,
    ServerError,
    TooManyRequestsError,
    UnauthorizedError,
    UnreachableError,
)

Build = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]


async def open_watch(server: ApiServer, version: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a watch by hand, so that nothing is retried behind the test's back."""
    import ssl

    host, _, port = server.url.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cadata=server.ca_pem.decode())
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    path = f"/api/v1/persistentvolumeclaims?watch=1&allowWatchBookmarks=true&resourceVersion={version}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def next_events(reader: asyncio.StreamReader) -> list[dict[str, Any]]:
    """Read one chunk of a watch: its events."""
    async with asyncio.timeout(5):
        size = int(await reader.readline(), 16)
        data = await reader.readexactly(size + 2)
    return [json.loads(line) for line in data.splitlines() if line]


def named(events: list[dict[str, Any]]) -> list[str]:
    return [event["object"]["metadata"]["name"] for event in events]


async def test_latency_delays_the_request(server: ApiServer, client: Client) -> None:
    """A request under `latency` is answered, but not before the delay has passed."""
    server.faults.add(Fault(kind="latency", verb="list", resource="pods", delay_s=0.2, count=1))
    started = time.monotonic()
    await client.call("GET", "/api/v1/pods")
    assert time.monotonic() - started >= 0.2
    assert server.audit.select(resource="pods")[0].fault == "latency"


@pytest.mark.parametrize(
    ("kind", "expected", "status"),
    [("error", ServerError, 500), ("unavailable", ServerError, 503), ("unauthorized", UnauthorizedError, 401)],
)
async def test_refusals(server: ApiServer, client: Client, kind: Any, expected: Any, status: int) -> None:
    """500, 503 and 401 come as Status documents, as often as asked and no oftener."""
    server.faults.add(Fault(kind=kind, resource="persistentvolumeclaims", count=2))
    for _ in range(2):
        with pytest.raises(expected) as refused:
            await client.list(CLAIMS)
        assert refused.value.status == status
    assert (await client.list(CLAIMS)).items == []


async def test_throttle_says_when_to_come_back(server: ApiServer, client: Client) -> None:
    """429 carries Retry-After."""
    server.faults.add(Fault(kind="throttle", count=1, delay_s=7))
    with pytest.raises(TooManyRequestsError) as refused:
        await client.list(CLAIMS)
    assert refused.value.retry_after_s == 7


async def test_reset_before_anything_is_done(server: ApiServer, client: Client, claim: Build) -> None:
    """A reset loses the connection, and the write has not happened."""
    server.faults.add(Fault(kind="reset", verb="create", count=1))
    with pytest.raises(UnreachableError):
        await client.create(CLAIMS, claim())
    with pytest.raises(NotFoundError):
        await client.get(CLAIMS, "data", namespace="default")


@pytest.mark.parametrize("kind", ["cut", "reset-after"])
async def test_answer_lost_after_the_write(server: ApiServer, client: Client, claim: Build, kind: Any) -> None:
    """Cut in the middle or reset at the end: the client knows nothing, but the write has happened."""
    server.faults.add(Fault(kind=kind, verb="create", count=1))
    with pytest.raises(UnreachableError):
        await client.create(CLAIMS, claim())
    assert (await client.get(CLAIMS, "data", namespace="default"))["metadata"]["name"] == "data"


async def test_hold_before_and_after_the_write(server: ApiServer, client: Client, claim: Build) -> None:
    """Held before, nothing has been written; held after, everything has; released, the answer comes."""
    before = server.faults.add(Fault(kind="hold-before", verb="create", count=1))
    writing = asyncio.create_task(client.create(CLAIMS, claim()))
    await before.wait_held()
    assert (await client.list(CLAIMS)).items == []
    server.faults.release(before.id)
    await writing

    after = server.faults.add(Fault(kind="hold-after", verb="patch", subresource="status", count=1))
    writing = asyncio.create_task(client.patch_status(CLAIMS, "data", {"phase": "Bound"}, namespace="default"))
    await after.wait_held()
    assert (await client.get(CLAIMS, "data", namespace="default"))["status"]["phase"] == "Bound"
    assert not writing.done()
    server.faults.remove(after.id)
    assert (await writing)["status"]["phase"] == "Bound"


async def test_what_a_killed_client_asked_for_never_happens(
    server: ApiServer, client: Client, claim: Build, eventually: Eventually
) -> None:
    """A request held before its write is dropped when its client dies; held after it, the write stands."""
    before = server.faults.add(Fault(kind="hold-before", verb="create", name="", user_agent="victim"))
    async with Client(server.url, token=server.token, ca_pem=server.ca_pem, user_agent="victim") as victim:
        writing = asyncio.create_task(victim.create(CLAIMS, claim("never")))
        await before.wait_held()
        writing.cancel()
    for _ in range(5):
        await client.list(CLAIMS)
    server.faults.remove(before.id)
    await eventually(lambda: server.audit.count(verb="create", user_agent="victim") == 1)
    after = server.faults.add(Fault(kind="hold-after", verb="create", user_agent="victim"))
    async with Client(server.url, token=server.token, ca_pem=server.ca_pem, user_agent="victim") as victim:
        writing = asyncio.create_task(victim.create(CLAIMS, claim("done")))
        await after.wait_held()
        writing.cancel()
    server.faults.clear()
    assert [item["metadata"]["name"] for item in (await client.list(CLAIMS)).items] == ["done"]


async def test_server_that_is_away(server: ApiServer, client: Client, claim: Build) -> None:
    """While the server is away nothing connects and open watches break; back again, it has kept everything."""
    reader, writer = await open_watch(server, str(server.store.revision))
    await client.create(CLAIMS, claim())
    assert named(await next_events(reader)) == ["data"]
    async with server.away():
        with pytest.raises(UnreachableError):
            await client.list(CLAIMS)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert len((await client.list(CLAIMS)).items) == 1


async def test_faults_concern_discovery_too(client: Client) -> None:
    """A fault without a resource strikes discovery and health as well, but never the admin endpoints."""
    fault = await client.call("POST", "/admin/faults", body={"kind": "unavailable"})
    with pytest.raises(ServerError):
        await client.call("GET", "/apis")
    await client.call("DELETE", f"/admin/faults/{fault['id']}")
    assert (await client.call("GET", "/apis"))["kind"] == "APIGroupList"


async def test_open_watch_is_in_the_audit_log(server: ApiServer) -> None:
    """A watch is recorded when it opens, not when it ends."""
    _, writer = await open_watch(server, str(server.store.revision))
    (record,) = server.audit.select(verb="watch")
    assert (record.status, record.resource) == (200, "persistentvolumeclaims")
    writer.close()


async def test_faults_choose_their_requests(server: ApiServer, client: Client) -> None:
    """Verb, resource, namespace, user and user agent narrow a fault down; others pass."""
    other = server.add_token("bob", ["system:masters"])
    server.faults.add(Fault(kind="error", verb="list", resource="persistentvolumeclaims", user="bob"))
    await client.list(CLAIMS)
    async with Client(server.url, token=other, ca_pem=server.ca_pem) as bob:
        await bob.call("GET", "/api/v1/pods")
        with pytest.raises(ServerError):
            await bob.list(CLAIMS)


async def test_silent_watch(server: ApiServer, client: Client, claim: Build) -> None:
    """A silenced watch stays open and says nothing; when the fault goes, it catches up."""
    reader, writer = await open_watch(server, str(server.store.revision))
    fault = server.faults.add(Fault(kind="silent", resource="persistentvolumeclaims"))
    await client.create(CLAIMS, claim("a"))
    await client.create(CLAIMS, claim("b"))
    waiting = asyncio.create_task(next_events(reader))
    await client.list(CLAIMS)
    assert not waiting.done()
    server.faults.remove(fault.id)
    assert named(await waiting) == ["a", "b"]
    writer.close()


async def test_watch_told_that_history_is_gone(server: ApiServer) -> None:
    """`gone` ends an open watch with an ERROR event of code 410."""
    reader, writer = await open_watch(server, str(server.store.revision))
    server.faults.add(Fault(kind="gone", count=1))
    (event,) = await next_events(reader)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert await reader.readexactly(5) == b"0\r\n\r\n"
    writer.close()


async def test_duplicate_and_reordered_events(server: ApiServer, client: Client, claim: Build) -> None:
    """`duplicate` sends each event twice; `reorder` sends the events of a batch backwards."""
    reader, writer = await open_watch(server, str(server.store.revision))
    server.faults.add(Fault(kind="duplicate", count=1))
    await client.create(CLAIMS, claim("a"))
    assert named(await next_events(reader)) == ["a", "a"]
    hold = server.faults.add(Fault(kind="silent", count=1))
    await client.create(CLAIMS, claim("b"))
    await client.create(CLAIMS, claim("c"))
    server.faults.add(Fault(kind="reorder", count=1))
    server.faults.remove(hold.id)
    assert named(await next_events(reader)) == ["c", "b"]
    writer.close()


async def test_watch_whose_beginning_does_not_end(server: ApiServer, client: Client, claim: Build) -> None:
    """`hold-end` sends everything that is there, and the bookmark after it only once it is released."""
    await client.create(CLAIMS, claim("a"))
    hold = server.faults.add(Fault(kind="hold-end", count=1))
    initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    reader, writer = await open_watch(server, f"&{initial}")
    assert named(await next_events(reader)) == ["a"]
    await hold.wait_held()
    waiting = asyncio.ensure_future(next_events(reader))
    await client.create(CLAIMS, claim("b"))
    assert not waiting.done()
    server.faults.release(hold.id)
    (bookmark,) = await waiting
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert named(await next_events(reader)) == ["b"]
    writer.close()


async def test_watch_ended_by_the_server(server: ApiServer) -> None:
    """`end` closes a watch in good order, and so does `end_watches`."""
    for end in (lambda: server.faults.add(Fault(kind="end", count=1)), server.end_watches):
        reader, writer = await open_watch(server, str(server.store.revision))
        end()
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()


async def test_lease_clock_jump(server: ApiServer, client: Client) -> None:
    """`lease-clock` shifts the times that a holder writes, and nothing else of the lease."""
    server.faults.add(Fault(kind="lease-clock", resource="leases", delay_s=-60))
    spec = {"holderIdentity": "a", "renewTime": "2026-01-01T00:01:00.000000Z", "leaseDurationSeconds": 8}
    lease = await client.create(LEASES, {"metadata": {"name": "l", "namespace": "default"}, "spec": spec})
    assert lease["spec"] == {**spec, "renewTime": "2026-01-01T00:00:00.000000Z"}


async def test_admin_endpoint(server: ApiServer, client: Client) -> None:
    """Faults can be set, waited for, released and cleared over HTTP, by cluster admins only."""
    made = await client.call("POST", "/admin/faults", body={"kind": "hold-before", "verb": "list", "resource": "pods"})
    held = asyncio.create_task(client.call("GET", "/api/v1/pods"))
    state = await client.call("GET", f"/admin/faults/{made['id']}", query={"held": "1", "timeoutSeconds": "5"})
    assert (state["held"], state["hits"]) == (1, 1)
    await client.call("POST", f"/admin/faults/{made['id']}/release")
    await held
    await client.call("DELETE", "/admin/faults")
    assert await client.call("GET", "/admin/faults") == {"faults": []}
    counted = await client.call("GET", "/admin/audit", query={"verb": "list", "resource": "pods", "count": "1"})
    assert counted["count"] == 1
    async with Client(server.url, token=server.add_token("bob"), ca_pem=server.ca_pem) as bob:
        with pytest.raises(Exception, match='User "bob" cannot get path "/admin/faults"'):
            await bob.call("GET", "/admin/faults")


async def test_bad_fault_is_refused(client: Client) -> None:
    """A fault of no known kind, or with a mistyped field, is refused with the reason."""
    with pytest.raises(Exception, match="no such fault: Invalid enum value 'laten'"):
        await client.call("POST", "/admin/faults", body={"kind": "laten"})
    with pytest.raises(Exception, match="unknown field `verbs`"):
        await client.call("POST", "/admin/faults", body={"kind": "latency", "verbs": "get"})


async def test_guests_watch_survives_faults(
    server: ApiServer, client: Client, claim: Build, eventually: Eventually
) -> None:
    """The guests' client goes on through ends, 410 and refused lists; deletions it missed come as events."""
    seen: list[tuple[str, str]] = []

    async def follow() -> None:
        async with contextlib.aclosing(client.watch(CLAIMS)) as events:
            async for event in events:
                seen.append((event.type, event.object["metadata"]["name"]))  # noqa: PERF401 - read while it grows

    following = asyncio.create_task(follow())
    await client.create(CLAIMS, claim("a"))
    await eventually(lambda: ("ADDED", "a") in seen)
    silence = server.faults.add(Fault(kind="silent"))
    await client.patch(CLAIMS, "a", {"metadata": {"finalizers": None}}, namespace="default")
    await client.delete(CLAIMS, "a", namespace="default")
    await client.create(CLAIMS, claim("b"))
    server.compact()
    server.faults.add(Fault(kind="unavailable", verb="list", count=1))
    server.faults.add(Fault(kind="gone", count=1))
    server.faults.remove(silence.id)
    await eventually(lambda: ("DELETED", "a") in seen and ("ADDED", "b") in seen)
    following.cancel()
