"""Bearer tokens at `/debug/state` and `/`: judged by authenticator and RBAC, cheaply, never let in by an error."""

import asyncio
import contextlib

import aiohttp
import pytest
from structlog.testing import capture_logs

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.endpoint import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from resizer.kube.client import KubeClient, KubeOptions
from resizer.kube.request import Request
from resizer.kube.token_review import BURST, MAX_REMEMBERED, TokenReviewer, _TokenSpec
from resizer.obs.http import serve_http
from tests.component.obs.obs_sample import endpoint
from tests.control_plane import ADMIN, ON_EACH_PLANE, REPLICAS, SERVICE_ACCOUNT, control_plane

PATH = "/debug/state"
ACCOUNT = [{"kind": "ServiceAccount", "name": "csi-resizer", "namespace": "default"}]
RBAC = "rbac.authorization.k8s.io"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def reviewing(folder, *, plane="development", user=ADMIN, clock=None):
    """A control plane, a client of it that acts as this user, and a reviewer on that."""
    async with control_plane(plane, folder) as cluster:
        cluster.write_kubeconfig(folder / "kubeconfig", user=user)
        kube = await KubeClient.open(KubeOptions(kubeconfig=folder / "kubeconfig"))
        try:
            yield cluster, TokenReviewer(kube.transport, monotonic=clock or Clock()), kube
        finally:
            await kube.close()


async def bind(cluster, name, rules) -> None:
    """Give the ServiceAccount these rules, cluster-wide."""
    meta = {"metadata": {"name": name}}
    await cluster.client.create(CLUSTER_ROLES, {**meta, "rules": rules})
    ref = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
    await cluster.client.create(CLUSTER_ROLE_BINDINGS, {**meta, "subjects": ACCOUNT, "roleRef": ref})


@ON_EACH_PLANE
async def test_the_api_server_decides(tmp_path, plane):
    """Unknown token: unauthenticated. Known account: forbidden until a rule names this very path."""
    clock = Clock()
    async with reviewing(tmp_path, plane=plane, clock=clock) as (cluster, reviewer, _):
        token = cluster.tokens[SERVICE_ACCOUNT]
        assert await reviewer.review("made-up", path=PATH) == "unauthenticated"
        assert await reviewer.review(cluster.tokens[REPLICAS[0]], path=PATH) == "allowed"
        assert await reviewer.review(token, path=PATH) == "forbidden"
        await bind(cluster, "debug-reader", [{"verbs": ["get"], "nonResourceURLs": [PATH]}])
        clock.now += 11
        async with asyncio.timeout(10):  # a real authorizer learns of the rule by its own watch
            while await reviewer.review(token, path=PATH) != "allowed":
                await asyncio.sleep(0.1)
                clock.now += 11
        assert await reviewer.review(token, path="/") == "forbidden"


async def test_the_endpoint_lets_in_whom_the_api_server_allows(tmp_path):
    """Over HTTP: 401 without or with a made-up token, 403 with the rule's name, 200 with the right."""
    async with (
        reviewing(tmp_path) as (cluster, reviewer, _),
        serve_http("127.0.0.1:0", endpoint(reviewer=reviewer)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):

        async def get(path, *values):
            async with session.get(path, headers=[("Authorization", value) for value in values]) as answer:
                return answer.status, answer.headers.get("WWW-Authenticate", ""), await answer.text()

        admin, account = cluster.tokens[ADMIN], cluster.tokens[SERVICE_ACCOUNT]
        for path in (PATH, "/"):
            for values in ((), ("Bearer made-up",), (f"Basic {admin}",), ("Bearer",), (f"Bearer {admin} x",)):
                assert (await get(path, *values))[:2] == (401, "Bearer")
            assert (await get(path, f"Bearer {admin}", f"Bearer {admin}"))[0] == 401
            status, _, text = await get(path, f"Bearer {account}")
            assert status == 403
            assert f'"{path}"' in text
            assert (await get(path, f"bearer {admin}"))[0] == 200
        assert (await get("/metrics"))[0] == 200
        assert (await get("/readyz"))[0] == 200


@pytest.mark.parametrize("granted", [(), ("tokenreviews",)])
async def test_without_the_right_to_ask_nobody_comes_in(tmp_path, granted):
    """A missing right closes the pages to everybody, an administrator too; it is said once, with the rule to add."""
    clock = Clock()
    with capture_logs() as logs:
        async with reviewing(tmp_path, user=SERVICE_ACCOUNT, clock=clock) as (cluster, reviewer, kube):
            groups = ["authentication.k8s.io"]
            await bind(
                cluster, "some", [{"verbs": ["create"], "apiGroups": groups, "resources": list(granted) or ["none"]}]
            )
            async with (
                serve_http("127.0.0.1:0", endpoint(reviewer=reviewer)) as port,
                aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            ):
                for _ in range(3):
                    headers = {"Authorization": f"Bearer {cluster.tokens[ADMIN]}"}
                    async with session.get(PATH, headers=headers) as answer:
                        assert answer.status == 503
                        assert "could not be asked" in await answer.text()
            missing = kube.rights.missing()
    assert [(m.verb, m.resource, m.required) for m in missing] == [
        ("create", "subjectaccessreviews" if granted else "tokenreviews", False)
    ]
    said = [line for line in logs if line["event"] == "right.missing"]
    assert len(said) == 1
    assert "/debug/state" in said[0]["off"]
    assert 'verbs: ["create"]' in said[0]["next"]


async def test_an_api_server_that_is_away_lets_nobody_in(tmp_path):
    """Errors and nonsense are no permission, are not remembered, and each kind is logged once without the token."""
    async with reviewing(tmp_path) as (cluster, reviewer, _):
        token = cluster.tokens[ADMIN]
        fault = cluster.server.faults.add(Fault(kind="error", resource="tokenreviews"))
        with capture_logs() as logs:
            assert [await reviewer.review(token, path=PATH) for _ in range(3)] == ["unknown"] * 3
        cluster.server.faults.remove(fault.id)
        assert await reviewer.review(token, path=PATH) == "allowed"
    assert [line["event"] for line in logs] == ["debug.not_reviewed"]
    assert token not in str(logs)


async def test_a_verdict_is_remembered_for_a_moment(tmp_path):
    """A page that is fetched again and again costs two requests in half a minute; a revoked token is out after that."""
    clock = Clock()
    async with reviewing(tmp_path, clock=clock) as (cluster, reviewer, _):
        audit, token = cluster.server.audit, cluster.tokens[REPLICAS[0]]
        assert [await reviewer.review(token, path=PATH) for _ in range(100)] == ["allowed"] * 100
        assert [await reviewer.review("no", path=PATH) for _ in range(100)] == ["unauthenticated"] * 100
        assert (audit.count(resource="tokenreviews"), audit.count(resource="subjectaccessreviews")) == (2, 1)
        cluster.server.tokens.revoke(token)
        clock.now += 31
        assert await reviewer.review(token, path=PATH) == "unauthenticated"
        assert token not in repr(vars(reviewer))


async def test_made_up_tokens_cost_the_api_server_little(tmp_path):
    """A flood of different tokens is answered `busy` beyond a few questions a second; who is known still comes in."""
    clock = Clock()
    async with reviewing(tmp_path, clock=clock) as (cluster, reviewer, _):
        token = cluster.tokens[ADMIN]
        assert await reviewer.review(token, path=PATH) == "allowed"
        flood = [await reviewer.review(f"guess-{n}", path=PATH) for n in range(500)]
        assert flood.count("busy") == 500 - (BURST - 1)
        assert await reviewer.review(token, path=PATH) == "allowed"
        clock.now += 1
        many = await asyncio.gather(*(reviewer.review(f"more-{n}", path=PATH) for n in range(500)))
        assert many.count("busy") == 498
        for n in range(MAX_REMEMBERED + 50):
            clock.now += 1
            await reviewer.review(f"rest-{n}", path=PATH)
        assert reviewer.statistics()["remembered"] == MAX_REMEMBERED


def test_a_request_that_carries_a_token_does_not_show_it():
    """Neither the request's repr nor the review's holds the token, should one ever end in a traceback."""
    spec = _TokenSpec("hunter2-token")
    request = Request(verb="create", resource=None, body={"spec": spec})
    assert "hunter2" not in repr(request)
    assert spec.token == "hunter2-token"
