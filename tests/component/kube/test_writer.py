import asyncio

import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.client import CLAIMS, PODS
from resizer.model import errors
from resizer.model.objects import NUDGED_AT, RETRY, Pod
from tests.component.kube.rig import (
    Telemetry,
    add_claims,
    fake_time,
    grant,
    note,
    opened,
    person,
    plain_server,
    remove,
    running,
    volume_body,
)

PLURAL = "persistentvolumeclaims"


@pytest.fixture
async def server():
    async with plain_server() as server:
        add_claims(server, "a")
        server.create("", "persistentvolumes", volume_body("pv"))
        yield server


@pytest.fixture
async def client(server, tmp_path):
    async with opened(server, tmp_path) as client:
        yield client


def body(claim, value="x"):
    return {"metadata": {"resourceVersion": claim.version, "annotations": {RETRY: value}}, "status": {"phase": "Bound"}}


async def test_the_answer_of_a_write_is_in_the_cache_at_once(client):
    """No watch is running here: what was written and read is visible all the same."""
    claim = await client.writer.read_claim("default/a")
    assert client.store.claim("default/a") == claim
    new = await client.writer.patch_claim_status(claim, body(claim))
    assert (new.phase, new.retry) == ("Bound", "x")
    assert client.store.claim("default/a") == new


async def test_a_version_that_has_moved_on_is_a_conflict(server, client):
    """Somebody wrote in between: nothing is changed, the cache is left alone, and a fresh read tells what to do."""
    claim = await client.writer.read_claim("default/a")
    async with person(server) as someone:
        await note(someone, "a", "theirs")
    with pytest.raises(errors.ConflictError):
        await client.writer.patch_claim_status(claim, body(claim))
    fresh = await client.writer.read_claim("default/a")
    assert int(fresh.version) > int(claim.version)
    assert (await client.writer.patch_claim_status(fresh, body(fresh))).retry == "x"


async def test_a_volume_and_a_pods_status_are_patched(server, client):
    """The volume itself; the pod by its status, through which an annotation passes."""
    volume = await client.writer.read_volume("pv")
    patch = {"metadata": {"resourceVersion": volume.version}, "spec": {"capacity": {"storage": "2Gi"}}}
    assert (await client.writer.patch_volume(volume, patch)).capacity == "2Gi"
    assert client.store.volume("pv").capacity == "2Gi"
    meta = {"name": "db", "namespace": "default"}
    async with person(server) as someone:
        await someone.create(PODS, {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    pod = Pod("default", "db", "", "")
    nudged = await client.writer.patch_pod_status(pod, {"metadata": {"annotations": {NUDGED_AT: "t"}}})
    assert nudged.nudged_at == "t"
    assert server.audit.count(verb="patch", resource="pods", subresource="status", status=200) == 1


async def test_what_is_gone_is_forgotten(server, client):
    """A read that finds nothing clears the cache; a write to it is NotFound."""
    claim = await client.writer.read_claim("default/a")
    async with person(server) as someone:
        await remove(someone, "a")
    with pytest.raises(errors.NotFoundError):
        await client.writer.patch_claim_status(claim, body(claim))
    assert await client.writer.read_claim("default/a") is None
    assert client.store.claim("default/a") is None
    assert await client.writer.read_volume("other") is None


@pytest.mark.parametrize("kind", ["reset-after", "cut"])
async def test_a_lost_answer_is_an_unknown_outcome(server, client, kind):
    """The write was applied and its answer lost: the error says unavailable, and reading tells the truth."""
    claim = await client.writer.read_claim("default/a")
    server.faults.add(Fault(kind=kind, verb="patch", resource=PLURAL, count=1))
    with pytest.raises(errors.UnavailableError):
        await client.writer.patch_claim_status(claim, body(claim))
    assert (await client.writer.read_claim("default/a")).retry == "x"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("reset", errors.UnavailableError),
        ("error", errors.UnavailableError),
        ("unavailable", errors.UnavailableError),
        ("throttle", errors.ThrottledError),
        ("unauthorized", errors.UnauthorizedError),
    ],
)
async def test_a_write_is_tried_once_and_fails_with_its_own_error(server, client, kind, error):
    """Retrying is the pipeline's; only a 401 is tried again, with credentials read afresh."""
    claim = await client.writer.read_claim("default/a")
    server.audit.clear()
    fault = server.faults.add(Fault(kind=kind, verb="patch", resource=PLURAL, delay_s=1))
    with pytest.raises(error) as caught:
        await client.writer.patch_claim_status(claim, body(claim))
    assert fault.hits == (2 if kind == "unauthorized" else 1)
    assert "default/a" in str(caught.value)
    assert (caught.value.verb, caught.value.resource) == ("patch", f"{PLURAL}/status")


async def test_a_refused_content_is_invalid_and_says_why(client):
    """422 carries the server's words."""
    claim = await client.writer.read_claim("default/a")
    patch = {"metadata": {"resourceVersion": claim.version}, "status": {"capacity": {"storage": "lots"}}}
    with pytest.raises(errors.InvalidError, match="quantities"):
        await client.writer.patch_claim_status(claim, patch)


async def test_a_missing_right_is_forbidden_and_stands_in_the_state(server, tmp_path):
    """403 on the status patch: required, named with its rule; cleared by the first success."""
    rules = [{"apiGroups": [""], "resources": [PLURAL], "verbs": ["get", "list", "watch"]}]
    grant(server, "resizer", rules)
    async with opened(server, tmp_path, token=server.add_token("resizer")) as client:
        claim = await client.writer.read_claim("default/a")
        with pytest.raises(errors.ForbiddenError):
            await client.writer.patch_claim_status(claim, body(claim))
        [missing] = client.rights.missing(required_only=True)
        assert (missing.verb, missing.resource) == ("patch", f"{PLURAL}/status")
        assert any(f'resources: ["{PLURAL}/status"]' in problem for problem in client.readiness_problems())
        grant(server, "resizer", [{"apiGroups": [""], "resources": [f"{PLURAL}/status"], "verbs": ["patch"]}])
        await client.writer.patch_claim_status(claim, body(claim))
        assert client.rights.missing() == []


@fake_time
async def test_a_write_that_hangs_ends_at_its_deadline(tmp_path):
    """No call waits for ever: 30 seconds, then the outcome is unknown."""
    async with plain_server() as server, opened(server, tmp_path) as client:
        add_claims(server, "a")
        claim = await client.writer.read_claim("default/a")
        server.faults.add(Fault(kind="hold-after", verb="patch", resource=PLURAL))
        started = asyncio.get_running_loop().time()
        with pytest.raises(errors.UnavailableError, match="no answer within 30s"):
            await client.writer.patch_claim_status(claim, body(claim))
        assert asyncio.get_running_loop().time() - started == pytest.approx(30, abs=0.5)


@fake_time
async def test_retry_after_holds_back_the_next_write(tmp_path):
    """After 429 with Retry-After 7 nothing is sent for seven seconds; then it goes."""
    async with plain_server() as server, opened(server, tmp_path) as client:
        add_claims(server, "a")
        claim = await client.writer.read_claim("default/a")
        server.faults.add(Fault(kind="throttle", verb="patch", resource=PLURAL, count=1, delay_s=7))
        with pytest.raises(errors.ThrottledError) as caught:
            await client.writer.patch_claim_status(claim, body(claim))
        assert caught.value.retry_after_s == 7
        started = asyncio.get_running_loop().time()
        await client.writer.patch_claim_status(claim, body(claim))
        assert 7 <= asyncio.get_running_loop().time() - started < 8


@fake_time
async def test_a_write_whose_turn_does_not_come_is_not_sent(tmp_path):
    """The server asked for a minute of patience: after 30 seconds the write is given up, and was never made."""
    async with plain_server() as server, opened(server, tmp_path) as client:
        add_claims(server, "a")
        claim = await client.writer.read_claim("default/a")
        fault = server.faults.add(Fault(kind="throttle", verb="patch", resource=PLURAL, delay_s=60))
        with pytest.raises(errors.ThrottledError):
            await client.writer.patch_claim_status(claim, body(claim))
        started = asyncio.get_running_loop().time()
        with pytest.raises(errors.ThrottledError, match=r"default/a.*waited 30s") as caught:
            await client.writer.patch_claim_status(claim, body(claim))
        assert asyncio.get_running_loop().time() - started == pytest.approx(30, abs=0.5)
        assert (caught.value.retry_after_s, fault.hits) == (0, 1)


async def test_conflicts_are_rare_because_answers_are_cached(server, tmp_path):
    """Five writes in a row on each of 20 claims, while the watch brings every one back: no conflict."""
    add_claims(server, *(f"c{number}" for number in range(20)))
    telemetry = Telemetry()
    async with opened(server, tmp_path, telemetry=telemetry) as client, running(client.run_sources()):
        await client.wait_synced()

        async def write(key):
            for number in range(5):
                claim = client.store.claim(key)
                await client.writer.patch_claim_status(claim, body(claim, str(number)))

        await asyncio.gather(*(write(claim.key) for claim in client.store.claims()))
    codes = [code for verb, _, code, _ in telemetry.requests if verb == "patch"]
    assert codes == ["200"] * 105
    assert CLAIMS.plural == PLURAL
