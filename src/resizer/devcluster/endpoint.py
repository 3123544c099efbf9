"""Where the resources live in the API: group, version, plural, and the paths that follow from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a resource lives in the API."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Build the path of a collection, an object or a subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *filter(None, (name, subresource))])


_STORAGE, _RBAC = "storage.k8s.io", "rbac.authorization.k8s.io"

NAMESPACES = Endpoint("", "v1", "namespaces", namespaced=False)
CLAIMS = Endpoint("", "v1", "persistentvolumeclaims")
VOLUMES = Endpoint("", "v1", "persistentvolumes", namespaced=False)
PODS = Endpoint("", "v1", "pods")
NODES = Endpoint("", "v1", "nodes", namespaced=False)
EVENTS = Endpoint("", "v1", "events")
SECRETS = Endpoint("", "v1", "secrets")
CONFIG_MAPS = Endpoint("", "v1", "configmaps")
SERVICE_ACCOUNTS = Endpoint("", "v1", "serviceaccounts")
QUOTAS = Endpoint("", "v1", "resourcequotas")
STATEFUL_SETS = Endpoint("apps", "v1", "statefulsets")
LEASES = Endpoint("coordination.k8s.io", "v1", "leases")
STORAGE_CLASSES = Endpoint(_STORAGE, "v1", "storageclasses", namespaced=False)
CSI_DRIVERS = Endpoint(_STORAGE, "v1", "csidrivers", namespaced=False)
CSI_NODES = Endpoint(_STORAGE, "v1", "csinodes", namespaced=False)
ATTACHMENTS = Endpoint(_STORAGE, "v1", "volumeattachments", namespaced=False)
ATTRIBUTES_CLASSES = Endpoint(_STORAGE, "v1", "volumeattributesclasses", namespaced=False)
CLUSTER_ROLES = Endpoint(_RBAC, "v1", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = Endpoint(_RBAC, "v1", "clusterrolebindings", namespaced=False)
ROLES = Endpoint(_RBAC, "v1", "roles")
ROLE_BINDINGS = Endpoint(_RBAC, "v1", "rolebindings")
