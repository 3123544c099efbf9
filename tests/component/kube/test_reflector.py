import asyncio
import contextlib
import json

import pytest
from structlog.testing import capture_logs

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.client import CLAIMS
from resizer.kube.client import STUCK_S, WATCH_STALE_S
from resizer.model.objects import RETRY
from tests.component.kube.rig import (
    Telemetry,
    add_claims,
    claim_body,
    fake_time,
    grant,
    note,
    opened,
    person,
    plain_server,
    remove,
    running,
    until,
)

PLURAL = "persistentvolumeclaims"


@pytest.fixture
async def server():
    async with plain_server() as server:
        yield server


@contextlib.asynccontextmanager
async def watching(server, tmp_path, **options):
    """A client whose first lists have been processed."""
    async with opened(server, tmp_path, **options) as client, running(client.run_sources()):
        await client.wait_synced()
        yield client


def names(client):
    return sorted(claim.name for claim in client.store.claims())


def retry_of(client, name):
    claim = client.store.claim(f"default/{name}")
    return claim.retry if claim is not None else None


async def test_the_cache_follows_the_server(server, tmp_path):
    """What was there is listed, what is created, changed and deleted later arrives; ready after the first list."""
    add_claims(server, "a", "b")
    async with opened(server, tmp_path) as client, person(server) as someone:
        assert client.readiness_problems() != []
        async with running(client.run_sources()):
            await client.wait_synced()
            assert (names(client), client.readiness_problems()) == (["a", "b"], [])
            add_claims(server, "c")
            await note(someone, "a", "later", key=RETRY)
            await remove(someone, "b")
            await until(lambda: names(client) == ["a", "c"] and retry_of(client, "a") == "later")
    assert server.audit.count(verb="list", resource=PLURAL) == 0, "one WatchList, no list"


async def test_a_closed_watch_goes_on_where_it_stopped(server, tmp_path):
    """The server closes watches now and then: nothing is listed again and nothing is lost."""
    telemetry = Telemetry()
    async with watching(server, tmp_path, telemetry=telemetry) as client:
        server.end_watches()
        add_claims(server, "a")
        await until(lambda: names(client) == ["a"])
        server.audit.clear()
        assert (PLURAL, "closed") in telemetry.restarts
        assert client.readiness_problems() == []
    assert server.audit.count(verb="list") == 0


async def test_after_410_everything_is_listed_afresh_and_deletions_are_noticed(server, tmp_path):
    """The version we know is no longer in the server's history; what went meanwhile is reported as deleted."""
    add_claims(server, "a", "b")
    telemetry, gone = Telemetry(), []
    async with watching(server, tmp_path, telemetry=telemetry) as client, person(server) as someone:
        client.store.subscribe_claims(lambda old, new: gone.append(old.name) if new is None else None)
        away = server.faults.add(Fault(kind="unavailable", verb="watch"))
        server.end_watches()
        await until(lambda: away.hits > 0)
        await remove(someone, "b")
        add_claims(server, "c")
        server.compact()
        server.faults.clear()
        await until(lambda: names(client) == ["a", "c"])
        assert gone == ["b"]
    assert (PLURAL, "expired") in telemetry.restarts


@pytest.mark.parametrize("kind", ["gone", "end"])
async def test_a_watch_that_ends_under_it_is_opened_again(server, tmp_path, kind):
    """410 in the middle of a watch, and an end without a word: the next change still arrives."""
    async with watching(server, tmp_path) as client:
        fault = server.faults.add(Fault(kind=kind, verb="watch", resource=PLURAL, count=1))
        add_claims(server, "a")
        await until(lambda: names(client) == ["a"])
        assert fault.hits == 1


@pytest.mark.parametrize("kind", ["duplicate", "reorder"])
async def test_events_twice_or_out_of_order_do_no_harm(server, tmp_path, kind):
    """However events are delivered, the cache ends where the server is, and never steps back."""
    versions = []
    async with watching(server, tmp_path) as client, person(server) as someone:
        client.store.subscribe_claims(lambda _old, new: versions.append(int(new.version)))
        add_claims(server, "a")
        await until(lambda: names(client) == ["a"])
        server.faults.add(Fault(kind=kind, verb="watch", resource=PLURAL))
        for number in range(20):
            await note(someone, "a", str(number), key=RETRY)
        await until(lambda: retry_of(client, "a") == "19")
    assert versions == sorted(set(versions))


@pytest.mark.parametrize("kind", ["reset", "unavailable", "error", "throttle"])
async def test_a_server_in_trouble_is_asked_again_until_it_answers(server, tmp_path, kind):
    """Resets, 5xx and 429 on list and watch are waited out with a growing pause."""
    add_claims(server, "a")
    async with opened(server, tmp_path) as client:
        server.faults.add(Fault(kind=kind, verb="watch", resource=PLURAL, count=1, delay_s=0))
        async with running(client.run_sources()):
            await client.wait_synced()
            assert names(client) == ["a"]


@fake_time
async def test_a_missing_right_is_named_with_its_rule_and_noticed_when_granted(tmp_path):
    """403 on claims: not ready, with verb, resource and the rule to add; ready soon after it was added."""
    async with plain_server() as server:
        token = server.add_token("resizer")
        on_volumes = {"resources": ["persistentvolumes"], "verbs": ["get", "list", "watch", "patch"]}
        on_status = {"resources": ["persistentvolumeclaims/status"], "verbs": ["patch"]}
        grant(server, "resizer", [{"apiGroups": [""], **rule} for rule in (on_volumes, on_status)])
        async with opened(server, tmp_path, token=token) as client, running(client.run_sources()):
            await until(lambda: client.rights.is_missing("watch", PLURAL))
            rule = '- {apiGroups: [""], resources: ["persistentvolumeclaims"], verbs: ["watch"]}'
            assert any(rule in problem for problem in client.readiness_problems())
            assert client.statistics()["missing_rights"][0]["required"] is True
            grant(server, "resizer", [{"apiGroups": [""], "resources": [PLURAL], "verbs": ["get", "list", "watch"]}])
            await until(lambda: client.readiness_problems() == [], timeout_s=30)


async def test_an_expired_token_is_read_again_once(server, tmp_path):
    """401: the kubeconfig is read again, the new token is used, nobody notices."""
    async with watching(server, tmp_path) as client:
        old = server.token
        new = server.add_token("resizer-dev-admin", ["system:masters"])
        server.kubeconfig(tmp_path / "kubeconfig", token=new)
        server.tokens.revoke(old)
        server.end_watches()
        add_claims(server, "a")
        await until(lambda: names(client) == ["a"])
    refused = [r for r in server.audit.select(status=401) if r.resource == PLURAL]
    assert len(refused) <= 1


def hostile(name, *, uid='"u"', rest=""):
    """An object with a name, to spoil."""
    meta = f'"name":"{name}","namespace":"default","uid":{uid},"resourceVersion":"1"'
    return (f'{{"metadata":{{{meta}}}' + rest + "}").encode()


HOSTILE = {
    "no-metadata": b"{}",
    "no-uid": hostile("no-uid", uid='""'),
    "wrong-type": hostile("wrong-type", rest=',"spec":"text"'),
    "endless": hostile("endless", rest=',"spec":{"resources":{"requests":{"storage":"1' + "0" * 30 + '"}}}'),
    "huge": hostile("huge", rest=f',"annotations":{{"x":"{"y" * 5_000_000}"}}'),
}


@pytest.mark.parametrize("before", [True, False], ids=["in the list", "in the watch"])
async def test_objects_that_no_sane_server_sends_are_skipped_by_name(server, tmp_path, before):
    """Each is counted and logged once with its name; the others, and the watch, go on."""
    telemetry = Telemetry()

    def send():
        for name, raw in HOSTILE.items():
            server.inject("", PLURAL, name, raw, namespace="default")

    if before:
        send()
    with capture_logs() as logs:
        async with watching(server, tmp_path, telemetry=telemetry) as client:
            if not before:
                send()
            add_claims(server, "fine")
            await until(lambda: names(client) == ["fine"])
            assert client.readiness_problems() == []
    assert telemetry.malformed.count(PLURAL) >= len(HOSTILE)
    named = [entry["object"] for entry in logs if entry["event"] == "object.malformed"]
    assert {"default/no-uid", "default/wrong-type", "default/endless", "default/huge"} <= set(named)
    assert len(named) == len(set(named))


async def test_a_claim_that_becomes_unreadable_is_dropped_and_returns(server, tmp_path):
    """We do not act on the last readable state of something that has changed since."""
    add_claims(server, "a")
    async with watching(server, tmp_path) as client, person(server) as someone:
        whole = await someone.get(CLAIMS, "a", namespace="default")
        server.inject("", PLURAL, "a", b'{"metadata":{"name":"a","namespace":"default","uid":5}}', namespace="default")
        await until(lambda: names(client) == [])
        whole["metadata"]["resourceVersion"] = str(server.store.revision + 1)
        server.inject("", PLURAL, "a", json.dumps(whole).encode(), namespace="default")
        await until(lambda: names(client) == ["a"])


async def test_a_selection_sees_its_own_claims_only(server, tmp_path):
    """The node agent watches by label: what gets the label comes, what loses it goes, and may come again."""
    label = "csi-resizer.dev/node-x"
    add_claims(server, "a", "b")
    async with (
        watching(server, tmp_path, claim_selector=label, watch_volumes=False) as client,
        person(server) as someone,
    ):
        for value, seen in (("", ["a"]), (None, []), ("", ["a"])):
            await someone.patch(CLAIMS, "a", {"metadata": {"labels": {label: value}}}, namespace="default")
            await until(lambda seen=seen: names(client) == seen)


@fake_time
async def test_a_silent_watch_is_noticed_in_75_seconds(tmp_path):
    """A watch that stays open and says nothing: /readyz and the age tell of it, it is opened again, and recovers."""
    telemetry = Telemetry()
    async with plain_server() as server, watching(server, tmp_path, telemetry=telemetry) as client:
        await asyncio.sleep(600)
        assert client.readiness_problems() == []
        fault = server.faults.add(Fault(kind="silent", verb="watch", resource=PLURAL))
        await asyncio.sleep(75)
        assert any("no life" in problem for problem in client.readiness_problems())
        assert client.watch_ages_s()[PLURAL] > WATCH_STALE_S
        assert (PLURAL, "silent") in telemetry.restarts
        add_claims(server, "a")
        await asyncio.sleep(75)
        assert names(client) == ["a"], "read by other means while watches are silent"
        await asyncio.sleep(600)
        assert client.liveness_problems() == []
        assert client.readiness_problems() != []
        server.faults.remove(fault.id)
        await asyncio.sleep(150)
        assert client.readiness_problems() == []


@fake_time
async def test_an_hour_without_the_api_server_leaves_us_alive_with_warm_caches(tmp_path):
    """Not ready, but alive: attempts go on, caches stay, and after the hour the watch goes on by itself."""
    async with plain_server() as server:
        add_claims(server, "a")
        async with watching(server, tmp_path) as client:
            server.faults.add(Fault(kind="reset"))
            server.end_watches()
            for _ in range(60):
                await asyncio.sleep(60)
                assert client.liveness_problems() == []
            assert client.readiness_problems() != []
            assert names(client) == ["a"]
            server.faults.clear()
            add_claims(server, "b")
            await asyncio.sleep(60)
            assert (names(client), client.readiness_problems()) == (["a", "b"], [])


@fake_time
async def test_a_loop_that_no_longer_tries_is_reported(tmp_path):
    """Liveness is about attempts: with the event loop stuck for minutes it turns red."""
    async with plain_server() as server, watching(server, tmp_path) as client:
        for reflector in (client.claim_reflector, client.volume_reflector):
            reflector.health._attempt_at -= STUCK_S + 1
        assert len(client.liveness_problems()) == 2


@fake_time
async def test_a_list_that_hangs_has_a_deadline(tmp_path):
    """A server that accepts the watch's request and never answers is left after the deadline and asked again."""
    async with plain_server() as server, opened(server, tmp_path) as client:
        held = server.faults.add(Fault(kind="hold-before", verb="watch", resource=PLURAL, count=1))
        async with running(client.run_sources()):
            started = asyncio.get_running_loop().time()
            await client.wait_synced()
            assert 30 <= asyncio.get_running_loop().time() - started < 35
            assert held.hits == 1


async def test_many_claims_are_seen_through_restarts_and_faults(server, tmp_path):
    """Random faults on the watch while claims come and go: the cache ends as the server is."""
    async with watching(server, tmp_path) as client, person(server) as someone:
        for number, kind in enumerate(["end", "gone", "duplicate", "reorder", "reset"]):
            server.faults.add(Fault(kind=kind, verb="watch", probability=0.3, seed=number, count=3))
        for number in range(60):
            server.create("", PLURAL, claim_body(f"c{number:02}"))
            if number % 3 == 0:
                await remove(someone, f"c{number:02}")
            await asyncio.sleep(0.01)
        server.faults.clear()
        expected = [f"c{number:02}" for number in range(60) if number % 3]
        await until(lambda: names(client) == expected)
