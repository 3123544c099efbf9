"""A small OpenAPI v3 document for each API group: enough for kubectl to let the server validate, and to explain.

kubectl looks up whether PATCH takes `fieldValidation`; if it does, it sends objects unchecked and leaves the
checking to the server. The schemas name the top-level fields of each kind and no more.
"""

from __future__ import annotations

from resizer.devcluster.apiserver.catalogue import Catalogue
from resizer.devcluster.apiserver.resource import Document, Resource

_PATCH_BODIES = ("application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml")
_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "force")
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class OpenApi:
    """Answers below /openapi/v3."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._roots = {_root(group, version): (group, version) for group, version in catalogue.versions}

    def answer(self, path: str) -> Document | None:
        """Return the document at a path, or None if there is none."""
        if path.rstrip("/") == "/openapi/v3":
            paths = {root: {"serverRelativeURL": f"/openapi/v3/{root}?hash=1"} for root in sorted(self._roots)}
            return {"paths": paths}
        place = self._roots.get(path.removeprefix("/openapi/v3/"))
        return self._document(*place) if place else None

    def _document(self, group: str, version: str) -> Document:
        resources = self._catalogue.of(group, version)
        schemas: Document = {_schema_name(resource): _schema(resource) for resource in resources}
        schemas[_META] = _object_meta()
        return {
            "openapi": "3.0.0",
            "info": {"title": "resizer dev", "version": "v1.36.0"},
            "paths": {_path(resource): _operations(resource) for resource in resources},
            "components": {"schemas": schemas},
        }


def _root(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _path(resource: Resource) -> str:
    middle = "/namespaces/{namespace}" if resource.namespaced else ""
    return f"/{_root(resource.group, resource.version)}{middle}/{resource.plural}/{{name}}"


def _identity(resource: Resource) -> Document:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _operations(resource: Resource) -> Document:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _PARAMETERS]
    answer = {"200": {"description": "OK"}}
    return {
        "get": {
            "x-kubernetes-action": "get",
            "x-kubernetes-group-version-kind": _identity(resource),
            "responses": answer,
        },
        "patch": {
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": _identity(resource),
            "parameters": parameters,
            "requestBody": {"content": {name: {"schema": {"type": "object"}} for name in _PATCH_BODIES}},
            "responses": answer,
        },
    }


def _schema_name(resource: Resource) -> str:
    group = (resource.group or "core").partition(".")[0]
    return f"io.k8s.api.{group}.{resource.version}.{resource.kind}"


def _schema(resource: Resource) -> Document:
    fields: Document = {name: {"type": "object"} for name in sorted(resource.fields)}
    properties: Document = {
        "apiVersion": {"type": "string", "description": "The version of this representation of the object."},
        "kind": {"type": "string", "description": "The kind of the object."},
        "metadata": {"allOf": [{"$ref": f"#/components/schemas/{_META}"}], "description": "Name, labels and the like."},
        **fields,
    }
    return {
        "type": "object",
        "description": f"{resource.kind}, as the development cluster serves it.",
        "properties": properties,
        "x-kubernetes-group-version-kind": [_identity(resource)],
    }


def _object_meta() -> Document:
    texts = ("name", "generateName", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
    maps = ("labels", "annotations")
    properties: Document = {name: {"type": "string"} for name in texts}
    properties |= {name: {"type": "object", "additionalProperties": {"type": "string"}} for name in maps}
    properties["finalizers"] = {"type": "array", "items": {"type": "string"}}
    return {"type": "object", "description": "What every object has.", "properties": properties}
