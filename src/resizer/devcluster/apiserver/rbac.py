"""Who may do what: the RBAC objects in the store, asked for every request of every user.

The bindings are read again only when an RBAC object has changed since. Members of `system:masters` pass without a
question, as on a real server. Aggregated cluster roles are stored but not computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resizer.devcluster.apiserver.identity import ADMIN_GROUP, AUTHENTICATED, User
from resizer.devcluster.apiserver.request import Attributes
from resizer.devcluster.apiserver.resource import Document
from resizer.devcluster.apiserver.store import Store

_GROUP = "rbac.authorization.k8s.io"
_OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")
_KNOWN_PATHS = ("/api", "/apis", "/openapi")

BOOTSTRAP: tuple[tuple[str, Document], ...] = (
    (
        "clusterroles",
        {
            "metadata": {"name": "cluster-admin"},
            "rules": [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ],
        },
    ),
    (
        "clusterroles",
        {
            "metadata": {"name": "system:basic-user"},
            "rules": [
                {
                    "verbs": ["create"],
                    "apiGroups": ["authorization.k8s.io"],
                    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                },
                {
                    "verbs": ["create"],
                    "apiGroups": ["authentication.k8s.io"],
                    "resources": ["selfsubjectreviews"],
                },
            ],
        },
    ),
    (
        "clusterrolebindings",
        {
            "metadata": {"name": "cluster-admin"},
            "subjects": [{"kind": "Group", "name": ADMIN_GROUP}],
            "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
        },
    ),
    (
        "clusterrolebindings",
        {
            "metadata": {"name": "system:basic-user"},
            "subjects": [{"kind": "Group", "name": AUTHENTICATED}],
            "roleRef": {"kind": "ClusterRole", "name": "system:basic-user"},
        },
    ),
)
"""What every cluster starts with, as far as this server needs it."""


@dataclass(frozen=True, slots=True)
class _Grant:
    """One subject of one binding, with the rules that it is given. An empty namespace means everywhere."""

    subject: Document
    namespace: str
    rules: list[Document]
    reason: str


class Authorizer:
    """Answers whether a user may do something, and why."""

    def __init__(self, store: Store) -> None:
        self._roles = store.named("roles", group=_GROUP)
        self._cluster_roles = store.named("clusterroles", group=_GROUP)
        self._bindings = store.named("rolebindings", group=_GROUP)
        self._cluster_bindings = store.named("clusterrolebindings", group=_GROUP)
        self._grants: list[_Grant] | None = None
        for collection in (self._roles, self._cluster_roles, self._bindings, self._cluster_bindings):
            collection.listeners.add(self._forget)

    def reason_to_allow(self, user: User, asked: Attributes) -> str | None:
        """Return why a request is allowed, or None if it is not."""
        if ADMIN_GROUP in user.groups:
            return ""
        if not asked.plural and _is_open(asked.path, user):
            return ""
        for grant in self.grants_of(user, asked.namespace):
            if any(_covers(rule, asked) for rule in grant.rules):
                return grant.reason
        return None

    def grants_of(self, user: User, namespace: str) -> Iterator[_Grant]:
        """List what a user is given in a namespace (cluster-wide grants included)."""
        if self._grants is None:
            self._grants = list(self._read())
        for grant in self._grants:
            if grant.namespace in {"", namespace} and _is(user, grant.subject):
                yield grant

    def rules_of(self, user: User, namespace: str) -> list[Document]:
        """List the rules that apply to a user in a namespace."""
        return [rule for grant in self.grants_of(user, namespace) for rule in grant.rules]

    def _forget(self) -> None:
        self._grants = None

    def _read(self) -> Iterator[_Grant]:
        for version in self._cluster_bindings.objects.values():
            yield from self._read_binding(version.document(), "")
        for version in self._bindings.objects.values():
            yield from self._read_binding(version.document(), version.key[0])

    def _read_binding(self, doc: Document, namespace: str) -> Iterator[_Grant]:
        kind, name = doc["roleRef"].get("kind", ""), doc["roleRef"].get("name", "")
        where = self._cluster_roles if kind == "ClusterRole" else self._roles
        role = where.objects.get(("" if kind == "ClusterRole" else namespace, name))
        if role is None:
            return
        rules = role.document().get("rules") or []
        binding = "RoleBinding" if namespace else "ClusterRoleBinding"
        called = f"{doc['metadata']['name']}/{namespace}" if namespace else doc["metadata"]["name"]
        for subject in doc.get("subjects") or []:
            whom = f'{subject.get("kind")} "{_subject_text(subject)}"'
            reason = f'RBAC: allowed by {binding} "{called}" of {kind} "{name}" to {whom}'
            yield _Grant(subject, namespace, rules, reason)


def _subject_text(subject: Document) -> str:
    name, namespace = subject.get("name", ""), subject.get("namespace")
    return f"{name}/{namespace}" if namespace else name


def _is_open(path: str, user: User) -> bool:
    if path.startswith(_OPEN_PATHS):
        return True
    return AUTHENTICATED in user.groups and path.startswith(_KNOWN_PATHS)


def _is(user: User, subject: Document) -> bool:
    kind, name = subject.get("kind"), subject.get("name")
    if kind == "User":
        return user.name == name
    if kind == "Group":
        return name in user.groups
    return user.name == f"system:serviceaccount:{subject.get('namespace')}:{name}"


def _covers(rule: Document, asked: Attributes) -> bool:
    if not _has(rule.get("verbs"), asked.verb):
        return False
    if not asked.plural:
        urls = rule.get("nonResourceURLs") or []
        return any(url == asked.path or (url.endswith("*") and asked.path.startswith(url[:-1])) for url in urls)
    if not _has(rule.get("apiGroups"), asked.group):
        return False
    named = rule.get("resourceNames") or []
    return _has_resource(rule.get("resources"), asked) and (not named or asked.name in named)


def _has(allowed: list[str] | None, value: str) -> bool:
    return allowed is not None and ("*" in allowed or value in allowed)


def _has_resource(allowed: list[str] | None, asked: Attributes) -> bool:
    if not asked.subresource:
        return _has(allowed, asked.plural)
    wanted = {"*", f"{asked.plural}/{asked.subresource}", f"*/{asked.subresource}"}
    return any(name in wanted for name in allowed or [])
