"""The chart's rights are exactly those that are used: a run with just these, request by request, and one without each.

The run is the whole life of a pipeline in small, on the development API server, which enforces RBAC and writes down
each request: a nudge, a node that is late, a secret, a volume that must be unused, a conflict, a lease taken over. A
second one is on a server without WatchList, where everything is listed. The rules are those of deploy/install.yaml.
"""

import asyncio
import contextlib
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from resizer.devcluster.apiserver import failure, stream
from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.endpoint import (
    ATTACHMENTS,
    CLAIMS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    VOLUMES,
)
from resizer.kube.lease import lease_name
from resizer.model.objects import NUDGED_AT
from tests.e2e.in_process import Pipeline, act_as_node, pipeline_in_process, running_pod
from tests.e2e.rig import Rig, awaits_node, claim_body, is_grown_to, running_rig, volume_body
from tests.scripted_driver import Answer, Plan
from tests.unit.deploy.chart import read_all

DOCUMENTS = read_all("deploy/install.yaml")
ACCOUNT = "system:serviceaccount:resizer:resizer"
LEASES_IN = "kube-system"
SECRET_RULE = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
"""What the chart makes of `secrets: [{namespace: vault}]` (tests/unit/deploy/test_chart.py holds it)."""
PLACES = {
    "ServiceAccount": SERVICE_ACCOUNTS,
    "ClusterRole": CLUSTER_ROLES,
    "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS,
    "Role": ROLES,
    "RoleBinding": ROLE_BINDINGS,
}
SELF = ("create", "authorization.k8s.io", "selfsubjectaccessreviews")
"""Every account may ask what it may do (system:basic-user): no rule of ours."""
Right = tuple[str, str, str]


def _expanded(rules: list[dict[str, Any]]) -> list[Right]:
    """(verb, group, resource) for each right that rules give."""
    return [(v, g, r) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]]


def _granted() -> list[dict[str, Any]]:
    """Account, roles and bindings of the chart, a Role for the secrets of `vault` among them."""
    documents = [copy.deepcopy(d) for d in DOCUMENTS if d["kind"] in PLACES]
    meta = {"metadata": {"name": "resizer-secrets", "namespace": "vault"}}
    [lease] = [d for d in documents if d["kind"] == "RoleBinding"]
    ref = {**lease["roleRef"], "name": "resizer-secrets"}
    role = {"kind": "Role", **meta, "rules": [SECRET_RULE]}
    return [*documents, role, {"kind": "RoleBinding", **meta, "subjects": lease["subjects"], "roleRef": ref}]


RIGHTS = [right for d in _granted() if "rules" in d for right in _expanded(d["rules"])]


def _without(documents: list[dict[str, Any]], right: Right) -> None:
    """Take one right away."""
    verb, _, resource = right
    for document in documents:
        for rule in document.get("rules", []):
            if resource in rule["resources"]:
                rule["verbs"] = [v for v in rule["verbs"] if v != verb]
        if "rules" in document:
            document["rules"] = [rule for rule in document["rules"] if rule["verbs"]]


@contextlib.asynccontextmanager
async def _cluster(folder, *, without: Right | None = None) -> AsyncIterator[Rig]:
    """A cluster with the chart's rights, and a kubeconfig that holds a token of its ServiceAccount."""
    answers = {
        "ControllerExpandVolume/pv-offline": (
            Answer(code="FAILED_PRECONDITION", message="volume is in use"),
            Answer(node_expansion_required=False),
        ),
        "ControllerExpandVolume/pv-conflict": (Answer(hang=True, node_expansion_required=False),),
        "ControllerExpandVolume/pv-secret": (Answer(node_expansion_required=False),),
    }
    async with running_rig(folder, Plan(node_expansion_required=True, answers=answers)) as rig:
        for name in ("resizer", "kube-system", "vault"):
            if not await _is_there(rig, name):
                await rig.client.create(NAMESPACES, {"metadata": {"name": name}})
        documents = _granted()
        if without:
            _without(documents, without)
        for document in documents:
            await rig.client.create(PLACES[document["kind"]], document)
        path = SERVICE_ACCOUNTS.path("resizer", "resizer", "token")
        made = await rig.client.call("POST", path, body={"spec": {"expirationSeconds": 600}})
        rig.plane.write_kubeconfig(rig.kubeconfig, token=made["status"]["token"])
        await rig.client.create(NODES, {"metadata": {"name": "node-1"}})
        yield rig


async def _is_there(rig: Rig, namespace: str) -> bool:
    return any(n["metadata"]["name"] == namespace for n in (await rig.client.list(NAMESPACES)).items)


def _run(rig: Rig, **more: Any) -> contextlib.AbstractAsyncContextManager[Pipeline]:
    chosen = {
        "leader_election_namespace": LEASES_IN,
        "leader_election_retry_period": "100ms",
        "node_timeout": "200ms",
        "retry_interval_max": "30s",
    }
    return pipeline_in_process(rig, **{**chosen, **more})


async def _until(holds, what: str) -> None:
    try:
        async with asyncio.timeout(10):
            while not await holds():  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None


def _asked(rig: Rig) -> set[Right]:
    """What our account has asked for and got."""
    found = set()
    for record in rig.server.audit.select(user=ACCOUNT):
        if record.resource and record.status < 400:
            resource = f"{record.resource}/{record.subresource}" if record.subresource else record.resource
            found.add((record.verb, record.group, resource))
    return found - {SELF}


# What a pipeline does, one thing each.


async def _grow_under_a_pod(rig: Rig, _: Pipeline) -> None:
    """Nudges, looks at the node that takes too long, and counts an event up when it comes again."""
    await rig.place()
    await running_pod(rig)
    for size in ("5Gi", "6Gi"):
        await rig.edit(size=size)
        claim = await rig.wait_claim(awaits_node(size))
        await act_as_node(rig, claim, size)
    await rig.edit(size="7Gi")


async def _grow_with_a_secret(rig: Rig, _: Pipeline) -> None:
    secret = {"metadata": {"name": "key", "namespace": "vault"}, "stringData": {"password": "x"}}
    await rig.client.create(SECRETS, secret)
    claim = await rig.client.create(CLAIMS, claim_body("secret", "3Gi"))
    body = volume_body("secret", "3Gi", driver=rig.driver.plan.name, claim_uid=claim["metadata"]["uid"])
    body["spec"]["csi"]["controllerExpandSecretRef"] = {"name": "key", "namespace": "vault"}
    await rig.client.create(VOLUMES, body)
    await rig.bind("secret")
    await rig.edit("secret")


async def _grow_when_unused(rig: Rig, _: Pipeline) -> None:
    """The driver wants the volume unused: its pod goes, then its attachment."""
    await rig.place("offline")
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "offline"}}]
    spec = {"nodeName": "node-1", "containers": [{"name": "c", "image": "c"}], "volumes": volumes}
    await rig.client.create(PODS, {"metadata": {"name": "user", "namespace": "default"}, "spec": spec})
    await rig.client.patch_status(PODS, "user", {"phase": "Running"}, namespace="default")
    attached = {"attacher": rig.driver.plan.name, "nodeName": "node-1"}
    source = {"source": {"persistentVolumeName": "pv-offline"}}
    await rig.client.create(ATTACHMENTS, {"metadata": {"name": "att"}, "spec": {**attached, **source}})
    await rig.edit("offline")
    await rig.driver.wait_calls("ControllerExpandVolume", 1)


async def _grow_against_an_edit(rig: Rig, _: Pipeline) -> None:
    """The claim is edited while the driver works and our watch says nothing: the next write meets a conflict."""
    await rig.place("conflict")
    await rig.edit("conflict")
    await rig.driver.wait_calls("ControllerExpandVolume", 1)
    silence = rig.server.faults.add(Fault(kind="silent", verb="watch", resource="persistentvolumeclaims"))
    await rig.client.patch(CLAIMS, "conflict", {"metadata": {"labels": {"edited": "1"}}}, namespace="default")
    rig.driver.release("ControllerExpandVolume")
    await rig.wait_claim(is_grown_to("5Gi"), "conflict")
    rig.server.faults.remove(silence.id)


async def _held_by_another(rig: Rig) -> None:
    meta = {"name": lease_name(rig.driver.plan.name), "namespace": LEASES_IN}
    await rig.client.create(LEASES, {"metadata": meta, "spec": {"holderIdentity": "other", "leaseDurationSeconds": 1}})


@pytest.fixture
def no_watch_list(monkeypatch):
    """An API server whose WatchList is off refuses sendInitialEvents (Kubernetes API: feature gate WatchList)."""
    known = stream._check_options

    def refuse(query) -> None:
        known(query)
        if query.get("sendInitialEvents") is not None:
            text = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            raise failure.invalid_options([Cause.forbidden("sendInitialEvents", text)])

    monkeypatch.setattr(stream, "_check_options", refuse)


async def _live_a_day(rig: Rig) -> None:
    """Everything a pipeline does, until each thing has happened."""
    async with _run(rig) as pipeline:
        await _grow_against_an_edit(rig, pipeline)
        await _grow_under_a_pod(rig, pipeline)
        await _grow_with_a_secret(rig, pipeline)
        await rig.wait_claim(is_grown_to("5Gi"), "secret")
        await _grow_when_unused(rig, pipeline)
        late = {("get", "", "nodes"), ("patch", "", "events"), ("watch", "storage.k8s.io", "volumeattachments")}

        async def is_over() -> bool:
            return late <= _asked(rig)

        await _until(is_over, f"{late - _asked(rig)} of {late}")
        assert (await pipeline.get("/readyz"))[0] == 200
        assert pipeline.log("right.missing") == []


async def test_what_is_granted_is_what_is_used(tmp_path, request):
    """Two days, one with WatchList and one without: the requests made are the rules granted, no more and no less."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with _cluster(tmp_path / "a") as rig:
        await _live_a_day(rig)
        used = _asked(rig)
    request.getfixturevalue("no_watch_list")
    async with _cluster(tmp_path / "b") as rig:
        await _held_by_another(rig)
        await _live_a_day(rig)
        used |= _asked(rig)
    assert used == set(RIGHTS)
    assert len(RIGHTS) == len(set(RIGHTS)) == 21


# And without each of them.

LEASE_GROUP = "coordination.k8s.io"
REQUIRED = [r for r in RIGHTS if r[2].startswith("persistentvolume") or (r[2] == "leases" and r[0] != "watch")]


@pytest.mark.parametrize("right", REQUIRED, ids=[f"{verb} {resource}" for verb, _, resource in REQUIRED])
async def test_without_a_right_to_claims_volumes_or_leases_nothing_grows_and_readiness_says_so(tmp_path, right):
    """/readyz is red and names verb and resource before the right is needed."""
    async with _cluster(tmp_path, without=right) as rig, _run(rig) as pipeline:
        line = await pipeline.wait_log("right.missing", verb=right[0], resource=right[2])
        status, text = await pipeline.get("/readyz")
        assert (status, line["off"]) == (503, "growing claims")
        assert f"the right to {right[0]} {right[2]} is missing" in text


async def _not_nudged(rig: Rig, _: Pipeline) -> bool:
    pod = await rig.client.get(PODS, "db", namespace="default")
    return NUDGED_AT not in (pod["metadata"].get("annotations") or {})


async def _no_events(rig: Rig, _: Pipeline) -> bool:
    return (await rig.client.list(EVENTS)).items == []


async def _events_uncounted(rig: Rig, _: Pipeline) -> bool:
    return {event.get("count", 1) for event in (await rig.client.list(EVENTS)).items} == {1}


async def _secret_claim_waits(rig: Rig, _: Pipeline) -> bool:
    return not [c for c in rig.driver.calls_of("ControllerExpandVolume") if c.request["volume_id"] == "pv-secret"]


async def _detach_goes_unseen(rig: Rig, _: Pipeline) -> bool:
    """The attachment goes, and the driver is not asked again: the claim waits for its slow window."""
    await rig.client.delete(ATTACHMENTS, "att")
    # Who is woken by it is woken at once, before a claim that is made only now has grown.
    await rig.place("after")
    rig.driver.plan = Plan(node_expansion_required=False, answers=rig.driver.plan.answers)
    await rig.edit("after")
    await rig.wait_claim(is_grown_to("5Gi"), "after")
    return (
        len([c for c in rig.driver.calls_of("ControllerExpandVolume") if c.request["volume_id"] == "pv-offline"]) == 1
    )


async def _node_unnamed(rig: Rig, _: Pipeline) -> bool:
    return ("get", "", "nodes") not in _asked(rig)


async def _lease_polled(rig: Rig, pipeline: Pipeline) -> bool:
    await pipeline.wait_log("right.missing", verb="watch", resource="leases")
    return ("watch", LEASE_GROUP, "leases") not in _asked(rig)


async def _wait_for_the_lease(rig: Rig, _: Pipeline) -> None:
    """Nothing to grow: another holds the lease, and we follow."""
    lease = await rig.client.get(LEASES, lease_name(rig.driver.plan.name), namespace=LEASES_IN)
    assert lease["spec"]["holderIdentity"]


OPTIONAL = [
    ("list", "pods", _grow_under_a_pod, _not_nudged, "nudging the kubelet"),
    ("watch", "pods", _grow_under_a_pod, _not_nudged, "nudging the kubelet"),
    ("patch", "pods/status", _grow_under_a_pod, _not_nudged, "nudging the kubelet"),
    ("get", "nodes", _grow_under_a_pod, _node_unnamed, "saying whether a node that is late is ready"),
    ("create", "events", _grow_under_a_pod, _no_events, "events on claims"),
    ("patch", "events", _grow_under_a_pod, _events_uncounted, "counting up repeated events"),
    ("get", "secrets", _grow_with_a_secret, _secret_claim_waits, "expansion secrets"),
    ("list", "volumeattachments", _grow_when_unused, _detach_goes_unseen, "waking claims of offline-only drivers"),
    ("watch", "volumeattachments", _grow_when_unused, _detach_goes_unseen, "waking claims of offline-only drivers"),
    ("watch", "leases", _wait_for_the_lease, _lease_polled, "immediate take-over of a released lease"),
]


@pytest.mark.parametrize("case", OPTIONAL, ids=[f"{case[0]} {case[1]}" for case in OPTIONAL])
async def test_without_another_right_just_its_feature_is_off(tmp_path, request, case):
    """The feature is off and named in the log, once; the program is ready all the same."""
    verb, resource, act, is_off, feature = case
    if verb == "list":
        request.getfixturevalue("no_watch_list")
    [right] = [r for r in RIGHTS if (r[0], r[2]) == (verb, resource)]
    async with _cluster(tmp_path, without=right) as rig:
        if resource == "leases":
            await _held_by_another(rig)
        async with _run(rig) as pipeline:
            await act(rig, pipeline)
            line = await pipeline.wait_log("right.missing", verb=verb, resource=resource)
            assert line["off"].startswith(feature)
            assert await is_off(rig, pipeline)
            await pipeline.wait_get("/readyz", lambda answer: answer[0] == 200)
            assert len(pipeline.log("right.missing")) == 1


def test_each_right_is_taken_away_in_one_of_these_tests():
    """A rule that is added to the chart needs a test that tells what stops without it."""
    assert {(v, r) for v, _, r in REQUIRED} | {case[:2] for case in OPTIONAL} == {(v, r) for v, _, r in RIGHTS}
    assert len(REQUIRED) + len(OPTIONAL) == len(RIGHTS)
