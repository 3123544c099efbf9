"""What the server has: versions, groups and resources, as kubectl and client libraries ask for them."""

from __future__ import annotations

from resizer.devcluster.apiserver.catalogue import Catalogue
from resizer.devcluster.apiserver.openapi import OpenApi
from resizer.devcluster.apiserver.resource import Document, Resource

VERSION: Document = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+resizer-dev",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}

_REVIEWS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "authorization.k8s.io": (
        ("SelfSubjectAccessReview", "selfsubjectaccessreviews", False),
        ("SelfSubjectRulesReview", "selfsubjectrulesreviews", False),
        ("SubjectAccessReview", "subjectaccessreviews", False),
        ("LocalSubjectAccessReview", "localsubjectaccessreviews", True),
    ),
    "authentication.k8s.io": (
        ("SelfSubjectReview", "selfsubjectreviews", False),
        ("TokenReview", "tokenreviews", False),
    ),
}


class Discovery:
    """Answers discovery requests from the catalogue; knows of no state."""

    def __init__(self, catalogue: Catalogue, *, address: str) -> None:
        self._catalogue = catalogue
        self._address = address
        self._openapi = OpenApi(catalogue)

    def answer(self, path: str) -> Document | None:
        """Return the document at a path, or None if there is none."""
        match [part for part in path.split("/") if part]:
            case ["version"]:
                found: Document | None = VERSION
            case ["api"]:
                found = self._legacy()
            case ["apis"]:
                groups = [self._group(group) for group in self._groups()]
                found = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["api", "v1"]:
                found = self._resources("", "v1")
            case ["apis", group] if group in self._groups():
                found = {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["apis", group, version] if (group, version) in self._catalogue.versions:
                found = self._resources(group, version)
            case ["openapi", *_]:
                found = self._openapi.answer(path)
            case _:
                found = None
        return found

    def _groups(self) -> list[str]:
        return sorted({group for group, _ in self._catalogue.versions if group})

    def _legacy(self) -> Document:
        address = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": address}

    def _group(self, group: str) -> Document:
        versions = sorted(version for name, version in self._catalogue.versions if name == group)
        named = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
        return {"name": group, "versions": named, "preferredVersion": named[0]}

    def _resources(self, group: str, version: str) -> Document:
        entries = [entry for resource in self._catalogue.of(group, version) for entry in _entries(resource)]
        for kind, plural, namespaced in _REVIEWS.get(group, ()):
            entries.append(_entry(plural, kind, namespaced=namespaced, verbs=["create"], singular=kind.lower()))
        full = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": full, "resources": entries}


def _entry(plural: str, kind: str, *, namespaced: bool, verbs: list[str], singular: str = "") -> Document:
    return {"name": plural, "singularName": singular, "namespaced": namespaced, "kind": kind, "verbs": verbs}


def _entries(resource: Resource) -> list[Document]:
    main = _entry(
        resource.plural,
        resource.kind,
        namespaced=resource.namespaced,
        verbs=list(resource.verbs),
        singular=resource.singular,
    )
    if resource.short_names:
        main["shortNames"] = list(resource.short_names)
    if resource.categories:
        main["categories"] = list(resource.categories)
    entries = [main]
    for name in resource.subresources:
        plural = f"{resource.plural}/{name}"
        if name == "status":
            verbs = ["get", "patch", "update"]
            entries.append(_entry(plural, resource.kind, namespaced=resource.namespaced, verbs=verbs))
        else:
            kind = {"token": "TokenRequest", "binding": "Binding"}.get(name, resource.kind)
            verbs = ["update"] if name == "finalize" else ["create"]
            entries.append(_entry(plural, kind, namespaced=resource.namespaced, verbs=verbs))
    return entries
