import asyncio
import base64
import time

import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.client import EVENTS
from resizer.kube.events import KubeEvents
from resizer.model import errors
from resizer.model.objects import Claim
from tests.component.kube.rig import (
    Telemetry,
    add_claims,
    fake_time,
    grant,
    opened,
    person,
    plain_server,
    running,
    until,
)

CLAIM = Claim("default", "a", "u1", "7")


@pytest.fixture
async def server():
    async with plain_server() as server:
        yield server


def emit(client, *, message="asked", reason="Resizing", claim=CLAIM):
    client.events.emit(claim, type_="Normal", reason=reason, message=message, driver="d.csi")


async def events(server):
    async with person(server) as someone:
        return (await someone.list(EVENTS, namespace="default")).items


async def test_repetitions_are_one_event_whose_count_goes_up(server, tmp_path):
    """Three times the same is one object with count 3; another message is another."""
    async with opened(server, tmp_path) as client, running(client.run_events()):
        for message in ("same", "same", "other", "same"):
            emit(client, message=message)
        assert await client.events.drain(timeout_s=5) == 0
    found = {event["message"]: event for event in await events(server)}
    assert {message: event["count"] for message, event in found.items()} == {"same": 3, "other": 1}
    assert found["same"]["source"]["component"] == "external-resizer d.csi"
    assert found["same"]["involvedObject"]["name"] == "a"


async def test_without_the_right_to_patch_repetitions_become_events(server, tmp_path):
    """The right is optional: what it would have counted up is created."""
    grant(server, "resizer", [{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}])
    token = server.add_token("resizer")
    async with opened(server, tmp_path, token=token) as client, running(client.run_events()):
        for _ in range(3):
            emit(client)
        await client.events.drain(timeout_s=5)
        assert client.rights.missing(required_only=True) == []
    assert [event["count"] for event in await events(server)] == [1, 1, 1]


async def test_without_the_right_to_create_the_feature_is_off_and_said(server, tmp_path):
    """403: counted as dropped, asked once a minute and not once an event, readiness untouched."""
    telemetry = Telemetry()
    token = server.add_token("resizer")
    async with opened(server, tmp_path, token=token, telemetry=telemetry) as client, running(client.run_events()):
        for number in range(10):
            emit(client, message=str(number))
        await client.events.drain(timeout_s=5)
        assert telemetry.dropped == ["forbidden"] * 10
        assert client.rights.is_missing("create", "events")
    assert server.audit.count(verb="create", resource="events") == 1


async def test_an_event_that_is_gone_is_made_anew(server, tmp_path):
    """The API server forgets events; counting up one that is gone makes a new one."""
    async with opened(server, tmp_path) as client, running(client.run_events()):
        emit(client)
        await until(lambda: client.events.sent == 1)
        [first] = await events(server)
        async with person(server) as someone:
            await someone.delete(EVENTS, first["metadata"]["name"], namespace="default")
        emit(client)
        await until(lambda: client.events.sent == 2)
    assert [event["count"] for event in await events(server)] == [1]


async def test_a_lost_answer_makes_no_second_event(server, tmp_path):
    """Created, and the answer lost: the second try finds it there."""
    server.faults.add(Fault(kind="reset-after", verb="create", resource="events", count=1))
    async with opened(server, tmp_path) as client, running(client.run_events()):
        emit(client)
        await until(lambda: client.events.sent == 1)
    assert len(await events(server)) == 1


@fake_time
async def test_an_api_server_that_is_away_is_waited_for_and_the_queue_is_bounded(tmp_path):
    """Events of an outage are sent after it as far as they fit; what does not fit is counted; emit never waits."""
    telemetry = Telemetry()
    async with plain_server() as server, opened(server, tmp_path) as client:
        client.events = KubeEvents(client.transport, telemetry=telemetry, queue_length=5)
        away = server.faults.add(Fault(kind="reset", resource="events"))
        async with running(client.run_events()):
            emit(client, message="first")
            await until(lambda: away.hits == 1)
            for number in range(8):
                emit(client, message=str(number))
            assert telemetry.dropped == ["queue-full"] * 3
            server.faults.clear()
            assert await client.events.drain(timeout_s=60) == 0
        assert client.events.sent == 6


@fake_time
async def test_draining_has_a_deadline(tmp_path):
    """On exit events are given some seconds, and what is left then is counted as lost."""
    telemetry = Telemetry()
    async with plain_server() as server, opened(server, tmp_path, telemetry=telemetry) as client:
        server.faults.add(Fault(kind="hold-before", resource="events"))
        async with running(client.run_events()):
            for number in range(5):
                emit(client, message=str(number))
            started = asyncio.get_running_loop().time()
            assert await client.events.drain(timeout_s=3) == 4
            assert asyncio.get_running_loop().time() - started == pytest.approx(3, abs=0.2)
        assert telemetry.dropped == ["shutdown"] * 4


async def test_a_storm_of_events_does_not_hold_up_a_write(server, tmp_path):
    """The server refuses every event with a long Retry-After: a claim's patch goes through at once."""
    add_claims(server, "a")
    server.faults.add(Fault(kind="throttle", resource="events", delay_s=60))
    async with opened(server, tmp_path) as client, running(client.run_events()):
        for number in range(20):
            emit(client, message=str(number))
        await until(lambda: client.limiter.flow.throttled > 0)
        claim = await client.writer.read_claim("default/a")
        started = time.monotonic()
        await client.writer.patch_claim_status(claim, {"metadata": {"resourceVersion": claim.version}})
        assert time.monotonic() - started < 1


def add_secret(server, data):
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    server.create("", "secrets", {"metadata": {"name": "s", "namespace": "default"}, "data": encoded})


async def test_a_secret_is_read_and_never_shown(server, tmp_path):
    """The values come decoded; repr and str show keys only."""
    add_secret(server, {"password": b"hunter2", "user": b"db"})
    async with opened(server, tmp_path) as client:
        secret = await client.secrets.read_secret("default", "s")
        assert dict(secret) == {"password": "hunter2", "user": "db"}
        assert "hunter2" not in f"{secret!r} {secret}"
        with pytest.raises(errors.NotFoundError):
            await client.secrets.read_secret("default", "other")


@pytest.mark.parametrize(
    "raw", [b'{"data":{"a":"%%%hunter2"}}', b'{"data":{"a":5,"b":"hunter2"}}', b'{"data":"hunter2"}']
)
async def test_a_broken_secret_is_an_error_without_a_value(server, tmp_path, raw):
    """Neither the message nor the chain of causes quotes what stands in the secret."""
    server.inject("", "secrets", "s", raw, namespace="default")
    async with opened(server, tmp_path) as client:
        with pytest.raises(errors.InvalidError) as caught:
            await client.secrets.read_secret("default", "s")
    error = caught.value
    while error is not None:
        assert "hunter2" not in repr(error)
        error = error.__cause__ or error.__context__


async def test_binary_values_are_refused_by_name(server, tmp_path):
    """CSI secrets are text; the error names the secret and the reason."""
    add_secret(server, {"key": b"\xff\xfe"})
    async with opened(server, tmp_path) as client:
        with pytest.raises(errors.InvalidError, match="default/s"):
            await client.secrets.read_secret("default", "s")


async def test_a_secret_that_may_not_be_read_is_an_optional_right_of_its_namespace(server, tmp_path):
    """403 names the Role to extend in that namespace, and readiness stays as it is."""
    token = server.add_token("resizer")
    async with opened(server, tmp_path, token=token) as client:
        with pytest.raises(errors.ForbiddenError):
            await client.secrets.read_secret("default", "s")
        [right] = client.rights.missing()
        assert (right.required, right.namespace) == (False, "default")
        assert "Role in namespace default" in right.advice
