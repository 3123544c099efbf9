"""Rights: the peer's ClusterRole and Role are enough; an optional one switches its feature, a required one is named.

The rules of the peer are facts (its deploy/kubernetes/rbac.yaml); here they stand as data.
"""

import asyncio
import json

import pytest

from resizer.devcluster.endpoint import (
    CLAIMS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    EVENTS,
    LEASES,
    ROLE_BINDINGS,
    ROLES,
    VOLUMES,
)
from resizer.kube.lease import lease_name
from tests.control_plane import ON_EACH_PLANE, SERVICE_ACCOUNT
from tests.e2e.in_process import act_as_node, pipeline_in_process, running_pod
from tests.e2e.rig import HTTP, Rig, awaits_node, claim_body, is_grown_to, running_rig, volume_body
from tests.scripted_driver import Answer, Plan

READ = ("get", "list", "watch")
PEER = {
    ("", "persistentvolumes"): (*READ, "patch"),
    ("", "persistentvolumeclaims"): READ,
    ("", "pods"): READ,
    ("", "persistentvolumeclaims/status"): ("patch",),
    ("", "events"): ("list", "watch", "create", "update", "patch"),
    ("storage.k8s.io", "volumeattributesclasses"): READ,
}
PEER_IN_NAMESPACE = {("coordination.k8s.io", "leases"): ("get", "watch", "list", "delete", "update", "create")}
OURS_BESIDES = {
    ("", "pods/status"): ("patch",),
    ("", "secrets"): ("get",),
    ("storage.k8s.io", "volumeattachments"): READ,
}
RBAC = "rbac.authorization.k8s.io"


def _without(rules, verb, resource):
    """These rules, but one right."""
    return {key: tuple(v for v in verbs if (v, key[1]) != (verb, resource)) for key, verbs in rules.items()}


def _rules(rules):
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
        for (group, resource), verbs in rules.items()
        if verbs
    ]


async def _grant(rig: Rig, rules, in_namespace) -> None:
    """Give the ServiceAccount these rights, cluster-wide and in `default`."""
    account = [{"kind": "ServiceAccount", "name": "csi-resizer", "namespace": "default"}]
    for kind, where, bound, granted, place in (
        ("ClusterRole", CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, rules, {}),
        ("Role", ROLES, ROLE_BINDINGS, in_namespace, {"namespace": "default"}),
    ):
        meta = {"metadata": {"name": "resizer-test", **place}}
        ref = {"apiGroup": RBAC, "kind": kind, "name": "resizer-test"}
        await rig.client.create(where, {**meta, "rules": _rules(granted)})
        await rig.client.create(bound, {**meta, "subjects": account, "roleRef": ref})
    rig.plane.write_kubeconfig(rig.kubeconfig, user=SERVICE_ACCOUNT)


@ON_EACH_PLANE
async def test_the_peers_rights_are_enough(tmp_path, plane):
    """Its ClusterRole and Role, no more: ready, elected without a patch of leases, and a claim grown."""
    async with running_rig(tmp_path, plane=plane) as rig:
        await _grant(rig, PEER, PEER_IN_NAMESPACE)
        await rig.place()
        process = await rig.start_resizer(HTTP, "--leader-election", RESIZER_IDENTITY="the-one")
        await rig.wait_http(process, "/readyz", 200)
        await rig.edit(size="5Gi")
        await rig.wait_claim(is_grown_to("5Gi"))
        lease = await rig.client.get(LEASES, lease_name(rig.driver.plan.name), namespace="default")
        assert lease["spec"]["holderIdentity"] == "the-one"
        assert await rig.stop(process) == 0
        assert rig.log_of(process, "right.missing") == []


async def test_a_role_that_names_its_lease_is_enough(tmp_path):
    """Rights to the one lease by its name, as careful administrators write them: elected, and ready for good."""
    async with running_rig(tmp_path) as rig:
        await _grant(rig, PEER, {("coordination.k8s.io", "leases"): ("create",)})
        group, name = "coordination.k8s.io", lease_name(rig.driver.plan.name)
        named = {"apiGroups": [group], "resources": ["leases"], "resourceNames": [name]}
        rules = [*_rules({(group, "leases"): ("create",)}), {**named, "verbs": ["get", "update", "watch"]}]
        await rig.client.patch(ROLES, "resizer-test", {"rules": rules}, namespace="default")
        async with pipeline_in_process(rig) as pipeline:
            await pipeline.wait_log("lease.acquired")
            await pipeline.wait_get("/readyz", lambda answer: answer[0] == 200)
    assert pipeline.log("right.missing") == []


async def _nothing(_rig: Rig) -> None:
    return None


OPTIONAL = [
    ("watch", "pods", running_pod),
    ("patch", "pods/status", running_pod),
    ("create", "events", _nothing),
    ("watch", "leases", _nothing),
]


@pytest.mark.parametrize(("verb", "resource", "prepare"), OPTIONAL, ids=[f"{v} {r}" for v, r, _ in OPTIONAL])
async def test_without_an_optional_right_only_its_feature_is_off(tmp_path, verb, resource, prepare):
    """Ready, elected and growing all the same; the lack is said once, with the rule, and stands in /debug/state."""
    async with running_rig(tmp_path, Plan(node_expansion_required=True)) as rig:
        rules = _without({**PEER, **OURS_BESIDES}, verb, resource)
        await _grant(rig, rules, _without(PEER_IN_NAMESPACE, verb, resource))
        await rig.place()
        await prepare(rig)
        if resource == "leases":
            # Somebody else led: we wait, by polling, for the lease to expire.
            spec = {"holderIdentity": "other", "leaseDurationSeconds": 1}
            meta = {"name": lease_name(rig.driver.plan.name), "namespace": "default"}
            await rig.client.create(LEASES, {"metadata": meta, "spec": spec})
        async with pipeline_in_process(rig) as pipeline:
            await pipeline.wait_get("/readyz", lambda answer: answer[0] == 200)
            for size in ("5Gi", "6Gi"):
                await rig.edit(size=size)
                claim = await rig.wait_claim(awaits_node(size))
                await act_as_node(rig, claim, size)
            line = await pipeline.wait_log("right.missing", verb=verb, resource=resource)
            status, text = await pipeline.get("/readyz")
            _, state = await pipeline.get("/debug/state")

        assert status == 200, text
        assert len(pipeline.log("right.missing")) == 1
        group = "coordination.k8s.io" if resource == "leases" else ""
        assert line["next"].endswith(f'- {{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}')
        assert line["log_level"] == "warning"
        [missing] = json.loads(state)["kubernetes"]["missing_rights"]
        assert (missing["verb"], missing["resource"], missing["required"]) == (verb, resource, False)


async def test_without_the_right_to_patch_events_each_is_an_event_of_its_own(tmp_path):
    """Repetitions are told all the same, uncounted, and the lack is said once."""
    async with running_rig(tmp_path) as rig:
        await _grant(rig, _without(PEER, "patch", "events"), PEER_IN_NAMESPACE)
        await rig.place()
        rig.driver.plan = Plan(
            node_expansion_required=False,
            answers={"ControllerExpandVolume": (Answer(code="INTERNAL", message="no"), Answer())},
        )
        async with pipeline_in_process(rig) as pipeline:
            for size in ("5Gi", "6Gi", "7Gi"):
                await rig.edit(size=size)
                await rig.wait_claim(is_grown_to(size))
            status, _ = await pipeline.get("/readyz")
        found = [e for e in (await rig.client.list(EVENTS)).items if e["reason"] == "VolumeResizeSuccessful"]
    assert status == 200
    assert len(found) >= 2
    assert {event.get("count", 1) for event in found} == {1}
    assert len(pipeline.log("right.missing")) == 1


async def test_without_the_right_to_a_secret_the_other_claims_grow(tmp_path):
    """Only the volume that names a secret is held up, with an event that says which secret; we stay ready."""
    async with running_rig(tmp_path) as rig:
        await _grant(rig, PEER, PEER_IN_NAMESPACE)
        await rig.place("plain")
        claim = await rig.client.create(CLAIMS, claim_body("secret", "3Gi"))
        body = volume_body("secret", "3Gi", driver=rig.driver.plan.name, claim_uid=claim["metadata"]["uid"])
        body["spec"]["csi"]["controllerExpandSecretRef"] = {"name": "key", "namespace": "vault"}
        await rig.client.create(VOLUMES, body)
        await rig.bind("secret")
        async with pipeline_in_process(rig) as pipeline:
            for name in ("secret", "plain"):
                await rig.edit(name)
            await rig.wait_claim(is_grown_to("5Gi"), "plain")
            line = await pipeline.wait_log("right.missing", verb="get", resource="secrets")
            status, _ = await pipeline.get("/readyz")

            def refused(events):
                return [e for e in events if e["reason"] == "VolumeResizeFailed" and "secret key" in e["message"]]

            async with asyncio.timeout(10):
                while not refused((await rig.client.list(EVENTS)).items):  # noqa: ASYNC110 - only asking tells
                    await asyncio.sleep(0.02)
    assert status == 200
    assert "a Role in namespace vault" in line["next"]
    assert len(pipeline.log("right.missing")) == 1
    assert not [
        call for call in rig.driver.calls_of("ControllerExpandVolume") if call.request["volume_id"] == "pv-secret"
    ]


async def test_without_the_right_to_attachments_an_offline_volume_waits_its_time(tmp_path):
    """The detach does not wake the claim; it is tried again after the slow window, and we stay ready."""
    async with running_rig(tmp_path) as rig:
        await _grant(rig, PEER, PEER_IN_NAMESPACE)
        await rig.place()
        await running_pod(rig)
        refusal = Answer(code="FAILED_PRECONDITION", message="volume is in use")
        rig.driver.plan = Plan(node_expansion_required=False, answers={"ControllerExpandVolume": (refusal, Answer())})
        async with pipeline_in_process(rig) as pipeline:
            await rig.edit()
            await rig.wait_claim(is_grown_to("5Gi"))
            status, _ = await pipeline.get("/readyz")
    assert status == 200
    missing = {(line["verb"], line["resource"]) for line in pipeline.log("right.missing")}
    assert missing <= {("list", "volumeattachments"), ("watch", "volumeattachments")}
    assert len(missing) == len(pipeline.log("right.missing")) == 1


REQUIRED = [
    *((verb, "persistentvolumeclaims") for verb in READ),
    *((verb, "persistentvolumes") for verb in (*READ, "patch")),
    ("patch", "persistentvolumeclaims/status"),
    *((verb, "leases") for verb in ("get", "create", "update")),
]


@pytest.mark.parametrize(("verb", "resource"), REQUIRED, ids=[f"{v} {r}" for v, r in REQUIRED])
async def test_without_a_required_right_we_are_not_ready_and_say_which(tmp_path, verb, resource):
    """/readyz is red before the right is needed, /healthz green; log and state give verb, resource and rule."""
    async with running_rig(tmp_path) as rig:
        await _grant(rig, _without(PEER, verb, resource), _without(PEER_IN_NAMESPACE, verb, resource))
        group = "coordination.k8s.io" if resource == "leases" else ""
        rule = f'- {{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]}}'
        async with pipeline_in_process(rig) as pipeline:
            line = await pipeline.wait_log("right.missing", verb=verb, resource=resource)
            status, text = await pipeline.get("/readyz")
            _, state = await pipeline.get("/debug/state")
            alive, _ = await pipeline.get("/healthz")
    assert (status, alive) == (503, 200)
    assert f"the right to {verb} {resource} is missing" in text
    assert rule in text
    assert line["log_level"] == "error"
    assert line["next"].endswith(rule)
    assert ("Role in namespace default" if group else "the ClusterRole") in line["next"]
    missing = json.loads(state)["kubernetes"]["missing_rights"]
    assert [(m["verb"], m["resource"], m["required"]) for m in missing] == [(verb, resource, True)]
    assert len(pipeline.log("right.missing")) == 1
