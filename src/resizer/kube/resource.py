"""The API resources this program touches, and where they live in the API's paths.

Source: Kubernetes API reference (resource URIs). Names come from the API server or from flags, so they are quoted
into paths all the same.
"""

from functools import lru_cache
from typing import Final
from urllib.parse import quote

from msgspec import Struct


class Resource(Struct, frozen=True):
    """One resource: its API group ("" is core), version and plural name."""

    group: str
    version: str
    plural: str

    @property
    def root(self) -> str:
        """The path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of a collection, an object or a subresource."""
        parts = [self.root]
        if namespace:
            parts.append(f"namespaces/{_quoted(namespace)}")
        parts.append(self.plural)
        if name:
            parts.append(_quoted(name))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    """Quote a name for a path. The paths of one growth have three names between them, seven times."""
    return quote(text, safe="")


CLAIMS: Final = Resource("", "v1", "persistentvolumeclaims")
VOLUMES: Final = Resource("", "v1", "persistentvolumes")
PODS: Final = Resource("", "v1", "pods")
NODES: Final = Resource("", "v1", "nodes")
EVENTS: Final = Resource("", "v1", "events")
SECRETS: Final = Resource("", "v1", "secrets")
ATTACHMENTS: Final = Resource("storage.k8s.io", "v1", "volumeattachments")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")
