"""Who may do what: tokens, RBAC objects, impersonation."""

from collections.abc import Callable
from typing import Any

import pytest

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.client import (
    CLAIMS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    LEASES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Client,
    Endpoint,
    ForbiddenError,
    StatusError,
    UnauthorizedError,
)

ACCOUNT = {"kind": "ServiceAccount", "name": "resizer", "namespace": "default"}


@pytest.fixture
async def account(server: ApiServer, client: Client) -> Callable[[], Client]:
    """A ServiceAccount without rights, and clients that hold a token from TokenRequest."""
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "resizer", "namespace": "default"}})
    path = SERVICE_ACCOUNTS.path("default", "resizer", "token")
    made = await client.call("POST", path, body={"spec": {"expirationSeconds": 600}})
    token: str = made["status"]["token"]
    return lambda: Client(server.url, token=token, ca_pem=server.ca_pem)


def role(name: str, *rules: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {})}, "rules": list(rules)}


def binding(name: str, kind: str, subject: dict[str, str], namespace: str = "") -> dict[str, Any]:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"metadata": meta, "roleRef": {"kind": kind, "name": name}, "subjects": [subject]}


async def test_rights_come_and_go_with_their_objects(client: Client, account: Callable[[], Client]) -> None:
    """A binding works from the next request on, and stops working when it is deleted."""
    rule = {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["list"]}
    async with account() as guest:
        with pytest.raises(ForbiddenError, match='cannot list resource "persistentvolumeclaims" in API group ""'):
            await guest.list(CLAIMS)
        await client.create(CLUSTER_ROLES, role("r", rule))
        await client.create(CLUSTER_ROLE_BINDINGS, binding("r", "ClusterRole", ACCOUNT))
        assert (await guest.list(CLAIMS)).items == []
        await client.delete(CLUSTER_ROLE_BINDINGS, "r")
        with pytest.raises(ForbiddenError):
            await guest.list(CLAIMS)


async def test_namespaced_rights_stay_in_their_namespace(client: Client, account: Callable[[], Client]) -> None:
    """A Role counts in its own namespace only, and resourceNames narrow it to these names."""
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["mine"], "verbs": ["get"]}
    await client.create(ROLES, role("r", rule, namespace="default"))
    await client.create(ROLE_BINDINGS, binding("r", "Role", ACCOUNT, namespace="default"))
    for namespace in ("default", "kube-system"):
        for name in ("mine", "other"):
            await client.create(LEASES, {"metadata": {"name": name, "namespace": namespace}, "spec": {}})
    async with account() as guest:
        assert await guest.get(LEASES, "mine", namespace="default")
        for name, namespace in (("other", "default"), ("mine", "kube-system")):
            with pytest.raises(ForbiddenError, match=r"in the namespace"):
                await guest.get(LEASES, name, namespace=namespace)


async def test_groups_of_service_accounts(client: Client, account: Callable[[], Client]) -> None:
    """A ServiceAccount belongs to the groups of its namespace, as on a real cluster."""
    rule = {"apiGroups": ["*"], "resources": ["pods"], "verbs": ["*"]}
    group = {"kind": "Group", "name": "system:serviceaccounts:default"}
    await client.create(CLUSTER_ROLES, role("r", rule))
    await client.create(CLUSTER_ROLE_BINDINGS, binding("r", "ClusterRole", group))
    async with account() as guest:
        assert (await guest.list(PODS)).items == []
        with pytest.raises(ForbiddenError, match='resource "pods/status"'):
            await guest.patch(PODS, "x", {}, namespace="default", subresource="status")


async def test_main_resource_does_not_grant_its_subresources(client: Client, account: Callable[[], Client]) -> None:
    """The right to patch claims is not the right to patch their status."""
    rule = {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["patch"]}
    await client.create(CLUSTER_ROLES, role("r", rule))
    await client.create(CLUSTER_ROLE_BINDINGS, binding("r", "ClusterRole", ACCOUNT))
    async with account() as guest:
        with pytest.raises(ForbiddenError, match='resource "persistentvolumeclaims/status"'):
            await guest.patch_status(CLAIMS, "x", {}, namespace="default")


async def test_tokens_expire_and_are_revoked(server: ApiServer) -> None:
    """An expired or revoked token is answered with 401, not with 403."""
    for token in (server.add_token("bob", lifetime_s=0), server.add_token("eve")):
        server.tokens.revoke(server.add_token("eve", token=token)) if token else None
        async with Client(server.url, token=token, ca_pem=server.ca_pem) as guest:
            with pytest.raises(UnauthorizedError):
                await guest.list(CLAIMS)


async def test_without_a_token_only_health_is_open(server: ApiServer) -> None:
    """Anonymous requests may ask for health and version, and nothing else."""
    async with Client(server.url, ca_pem=server.ca_pem) as nobody:
        assert (await nobody.call("GET", "/version"))["gitVersion"].startswith("v1.36")
        with pytest.raises(ForbiddenError, match='User "system:anonymous" cannot list'):
            await nobody.list(CLAIMS)


async def test_impersonation_needs_a_right(server: ApiServer, client: Client) -> None:
    """Only who may impersonate a user can act as that user."""
    headers = {"Impersonate-User": "alice", "Impersonate-Group": "system:masters"}
    token = server.add_token("bob")
    async with Client(server.url, token=token, ca_pem=server.ca_pem, headers=headers) as bob:
        with pytest.raises(ForbiddenError, match='cannot impersonate resource "users"'):
            await bob.list(CONFIG_MAPS)
        rule = {"apiGroups": [""], "resources": ["users"], "resourceNames": ["alice"], "verbs": ["impersonate"]}
        await client.create(CLUSTER_ROLES, role("i", rule))
        await client.create(CLUSTER_ROLE_BINDINGS, binding("i", "ClusterRole", {"kind": "User", "name": "bob"}))
        with pytest.raises(ForbiddenError, match='cannot impersonate resource "groups"'):
            await bob.list(CONFIG_MAPS)
    assert {record.user for record in server.audit.select(resource="configmaps")} == {"bob"}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CLUSTER_ROLES, {"rules": [{"resources": ["pods"]}]}),
        (CLUSTER_ROLES, {"rules": "all"}),
        (CLUSTER_ROLE_BINDINGS, {"roleRef": {"kind": "ClusterRole"}}),
        (CLUSTER_ROLE_BINDINGS, {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [7]}),
    ],
)
async def test_odd_rights_are_refused(server: ApiServer, client: Client, endpoint: Endpoint, body: Any) -> None:
    """RBAC objects that cannot be read never get in, so that they cannot spoil the rights of others."""
    with pytest.raises(StatusError):
        await client.create(endpoint, {"metadata": {"name": "x"}, **body})
    async with Client(server.url, token=server.add_token("bob"), ca_pem=server.ca_pem) as bob:
        with pytest.raises(ForbiddenError):
            await bob.list(CLAIMS)


async def test_audit_names_who_did_what(server: ApiServer, client: Client) -> None:
    """Each request leaves one record with user, verb, resource, subresource, object, status and user agent."""
    with pytest.raises(Exception, match="not found"):
        await client.patch_status(CLAIMS, "nope", {}, namespace="default")
    (record,) = server.audit.select(verb="patch")
    assert (record.user, record.resource, record.subresource) == (
        "resizer-dev-admin",
        "persistentvolumeclaims",
        "status",
    )
    assert (record.namespace, record.name, record.status, record.user_agent) == ("default", "nope", 404, "resizer-dev")
    assert server.audit.by_request() == {"patch persistentvolumeclaims/status": 1}
