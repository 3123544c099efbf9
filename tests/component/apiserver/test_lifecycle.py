"""Objects from creation to removal, beyond the recordings."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.client import (
    CLAIMS,
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    QUOTAS,
    STORAGE_CLASSES,
    Client,
    ConflictError,
    Endpoint,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)

Build = Callable[..., dict[str, Any]]
BuildBound = Callable[..., Awaitable[dict[str, Any]]]


def pod(name: str = "db", node: str = "node-1") -> dict[str, Any]:
    spec = (
        {"nodeName": node, "containers": [{"name": "c", "image": "mysql:8"}]}
        if node
        else {"containers": [{"name": "c", "image": "mysql:8"}]}
    )
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def test_pod_on_a_node_goes_in_two_steps(client: Client) -> None:
    """A pod that a node runs is marked first, and goes when the node deletes it without grace."""
    await client.create(PODS, pod())
    marked = await client.delete(PODS, "db", namespace="default")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await client.get(PODS, "db", namespace="default"))["metadata"]["deletionTimestamp"]
    await client.delete(PODS, "db", namespace="default", grace_s=0)
    with pytest.raises(NotFoundError):
        await client.get(PODS, "db", namespace="default")


async def test_pod_may_be_replaced_by_its_manifest(client: Client) -> None:
    """A PUT of what was first sent changes nothing, though the server had added defaults; another node is refused."""
    made = await client.create(PODS, pod())
    again = await client.update(PODS, pod())
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    with pytest.raises(InvalidError, match="pod updates may not change fields"):
        await client.update(PODS, pod(node="node-2"))


async def test_unscheduled_pod_goes_at_once(client: Client) -> None:
    """Nobody has to let go of a pod that no node runs; a pod gets its node once."""
    await client.create(PODS, pod(node=""))
    target = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node-2"}}
    await client.call("POST", PODS.path("default", "db", "binding"), body=target)
    assert (await client.get(PODS, "db", namespace="default"))["spec"]["nodeName"] == "node-2"
    with pytest.raises(ConflictError, match="already assigned"):
        await client.call("POST", PODS.path("default", "db", "binding"), body=target)
    await client.create(PODS, pod("loose", node=""))
    await client.delete(PODS, "loose", namespace="default")
    with pytest.raises(NotFoundError):
        await client.get(PODS, "loose", namespace="default")


async def test_namespace_goes_when_it_is_empty(client: Client, claim: Build) -> None:
    """Deleting a namespace deletes what is in it; a finalizer in it holds the namespace, too."""
    await client.create(NAMESPACES, {"metadata": {"name": "t"}})
    await client.create(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "t"}})
    await client.create(CLAIMS, claim(namespace="t"))
    await client.delete(NAMESPACES, "t")
    with pytest.raises(ForbiddenError, match="this namespace may not be deleted"):
        await client.delete(NAMESPACES, "default")
    assert (await client.get(NAMESPACES, "t"))["status"]["phase"] == "Terminating"
    with pytest.raises(NotFoundError):
        await client.get(CONFIG_MAPS, "c", namespace="t")
    with pytest.raises(ForbiddenError, match="because it is being terminated"):
        await client.create(CONFIG_MAPS, {"metadata": {"name": "d", "namespace": "t"}})
    await client.patch(CLAIMS, "data", {"metadata": {"finalizers": None}}, namespace="t")
    with pytest.raises(NotFoundError):
        await client.get(NAMESPACES, "t")


async def test_generated_names_and_default_class(client: Client) -> None:
    """GenerateName makes names of its own, and the default class is filled in."""
    meta = {"name": "std", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    await client.create(STORAGE_CLASSES, {"metadata": meta, "provisioner": "p"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {"metadata": {"generateName": "c-", "namespace": "default"}, "spec": spec}
    made = [await client.create(CLAIMS, body) for _ in range(2)]
    assert made[0]["metadata"]["name"] != made[1]["metadata"]["name"]
    assert made[0]["metadata"]["name"].startswith("c-")
    assert made[0]["spec"]["storageClassName"] == "std"


async def test_quota_counts_by_itself(client: Client, claim: Build) -> None:
    """Used storage follows the claims: up when one is made, down when one goes; no client has to count."""
    hard = {"requests.storage": "10Gi", "persistentvolumeclaims": "2"}
    await client.create(QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}})
    await client.create(CLAIMS, claim("a", storage="6Gi"))
    with pytest.raises(
        ForbiddenError, match=r"exceeded quota: q, requested: requests\.storage=5Gi, used: requests\.storage=6Gi"
    ):
        await client.create(CLAIMS, claim("b", storage="5Gi"))
    used = (await client.get(QUOTAS, "q", namespace="default"))["status"]["used"]
    assert used == {"requests.storage": "6Gi", "persistentvolumeclaims": "1"}
    await client.patch(CLAIMS, "a", {"metadata": {"finalizers": None}}, namespace="default")
    await client.delete(CLAIMS, "a", namespace="default")
    used = (await client.get(QUOTAS, "q", namespace="default"))["status"]["used"]
    assert used == {"requests.storage": "0", "persistentvolumeclaims": "0"}


async def test_quota_counts_what_is_being_allocated(client: Client, bound_claim: BuildBound) -> None:
    """After a step back the larger, allocated size still counts (KEP-1790)."""
    await bound_claim("data", storage="1Gi")
    hard = {"requests.storage": "10Gi"}
    await client.create(QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}})

    async def grow(size: str) -> None:
        patch = {"spec": {"resources": {"requests": {"storage": size}}}}
        await client.patch(CLAIMS, "data", patch, namespace="default")

    await grow("8Gi")
    await client.patch_status(CLAIMS, "data", {"allocatedResources": {"storage": "8Gi"}}, namespace="default")
    await grow("2Gi")
    used = (await client.get(QUOTAS, "q", namespace="default"))["status"]["used"]
    assert used == {"requests.storage": "8Gi"}


async def test_one_of_many_writers_wins(client: Client, claim: Build) -> None:
    """Of ten updates at the same version exactly one is taken; nine are told of the conflict."""
    made = await client.create(CLAIMS, claim())

    async def write(number: int) -> int:
        body = {**made, "metadata": {**made["metadata"], "labels": {"n": str(number)}}}
        try:
            await client.update(CLAIMS, body)
        except ConflictError:
            return 0
        return 1

    assert sum(await asyncio.gather(*(write(number) for number in range(10)))) == 1


async def test_lease_update_needs_a_version(client: Client) -> None:
    """A lease cannot be taken by a PUT that does not say which version it has seen."""
    lease = {"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "a"}}
    await client.create(LEASES, lease)
    with pytest.raises(InvalidError, match="must be specified for an update"):
        await client.update(LEASES, lease)


async def test_events_of_both_groups_are_the_same_objects(client: Client) -> None:
    """What events.k8s.io writes, v1 reads, under its own field names, and the other way round."""
    new_events = Endpoint("events.k8s.io", "v1", "events")
    about = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": "data"}
    body = {
        "metadata": {"name": "e", "namespace": "default"},
        "regarding": about,
        "note": "growing",
        "reason": "Resizing",
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "resizer",
        "reportingInstance": "r-1",
        "action": "Resize",
    }
    await client.create(new_events, body)
    core = await client.get(EVENTS, "e", namespace="default")
    assert (core["message"], core["involvedObject"], core["apiVersion"]) == ("growing", about, "v1")
    await client.patch(EVENTS, "e", {"message": "grown"}, namespace="default")
    new = await client.get(new_events, "e", namespace="default")
    assert (new["note"], new["regarding"], new["apiVersion"]) == ("grown", about, "events.k8s.io/v1")
    for endpoint, field in ((EVENTS, "involvedObject.name"), (new_events, "regarding.name")):
        assert len((await client.list(endpoint, field_selector=f"{field}=data")).items) == 1
        assert (await client.list(endpoint, field_selector=f"{field}=other")).items == []


async def test_unknown_fields_are_dropped_or_refused(client: Client, claim: Build) -> None:
    """A mistyped field is lost in a plain request, as on a real server, and refused under strict validation."""
    body = claim(storageClas="x")
    made = await client.create(CLAIMS, body)
    assert "storageClas" not in made["spec"]
    with pytest.raises(Exception, match=r'strict decoding error: unknown field "spec\.storageClas"'):
        await client.call("POST", CLAIMS.path("default"), body=body, query={"fieldValidation": "Strict"})


async def test_old_server_loses_the_fields_of_new_features(
    server: ApiServer, client: Client, bound_claim: BuildBound
) -> None:
    """Told to, the server drops allocatedResources in silence, as Kubernetes before 1.32 does."""
    await bound_claim()
    server.engine.dropped_fields["persistentvolumeclaims"] = ("status.allocatedResources",)
    answer = await client.patch_status(
        CLAIMS, "data", {"allocatedResources": {"storage": "2Gi"}, "phase": "Bound"}, namespace="default"
    )
    assert "allocatedResources" not in answer["status"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/apis/batch/v1/jobs", 404),
        ("GET", "/api/v1/namespaces/default/persistentvolumeclaims/x/scale", 404),
        ("PUT", "/api/v1/namespaces/default/persistentvolumeclaims", 405),
        ("POST", "/api/v1/persistentvolumeclaims", 405),
        ("POST", "/api/v1/persistentvolumes/x", 405),
        ("GET", "/no/such/path", 404),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
    ],
)
async def test_what_is_not_served_is_said(client: Client, method: str, path: str, status: int) -> None:
    """Unknown paths and verbs get a clear 404 or 405."""
    body = {} if method in {"PUT", "POST"} else None
    with pytest.raises(Exception, match=r"not") as refused:
        await client.call(method, path, body=body)
    assert refused.value.status == status  # type: ignore[attr-defined]


async def test_body_that_is_too_large(client: Client, claim: Build) -> None:
    """A body of more than 3 MiB is refused with 413, and the connection goes on."""
    body = claim()
    body["metadata"]["annotations"] = {"big": "x" * (4 * 1024 * 1024)}
    with pytest.raises(Exception, match="Request entity too large") as refused:
        await client.create(CLAIMS, body)
    assert refused.value.status == 413  # type: ignore[attr-defined]
    assert (await client.list(CLAIMS)).items == []
