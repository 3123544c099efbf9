"""Rules that look at more than one object: namespaces, default classes, expansion, quotas.

The order is the real server's: the namespace first, then what is filled in, then (after the kind's own validation)
what is refused.
"""

from __future__ import annotations

from resizer.devcluster.apiserver import failure
from resizer.devcluster.apiserver.kinds.claim import requested
from resizer.devcluster.apiserver.quota import QuotaKeeper
from resizer.devcluster.apiserver.resource import Document, Resource
from resizer.devcluster.apiserver.store import Key, Store
from resizer.model.quantity import parse_quantity

_KEPT_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_NO_EXPANSION = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


class Admission:
    """Looks at the store to decide about a write; also keeps quotas and namespaces in step afterwards."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._namespaces = store.named("namespaces")
        self._classes = store.named("storageclasses", group="storage.k8s.io")
        self._quotas = QuotaKeeper(store)

    def check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        """Refuse to create in a namespace that is not there, or is going."""
        if not resource.namespaced:
            return
        home = self._namespaces.objects.get(("", namespace))
        if home is None:
            raise failure.not_found(self._namespaces.resource, namespace)
        if b'"deletionTimestamp"' in home.raw and "deletionTimestamp" in home.document()["metadata"]:
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise failure.forbidden(resource, name, text)

    def check_delete(self, resource: Resource, name: str) -> None:
        """Refuse to delete the namespaces that a cluster cannot do without."""
        if resource.plural == "namespaces" and name in _KEPT_NAMESPACES:
            raise failure.forbidden(resource, name, "this namespace may not be deleted")

    def mutate(self, resource: Resource, doc: Document) -> None:
        """Fill in the default storage class of a new claim that names none."""
        spec = doc.get("spec", {})
        if resource.plural != "persistentvolumeclaims" or "storageClassName" in spec:
            return
        marked = [v for v in self._classes.objects.values() if _DEFAULT_CLASS.encode() in v.raw]
        defaults = [
            (doc["metadata"]["creationTimestamp"], doc["metadata"]["name"])
            for doc in (version.document() for version in marked)
            if doc["metadata"].get("annotations", {}).get(_DEFAULT_CLASS) == "true"
        ]
        if defaults:
            doc.setdefault("spec", {})["storageClassName"] = max(defaults)[1]

    def validate(self, resource: Resource, new: Document, old: Document | None) -> None:
        """Refuse what the class of a claim or the quota of its namespace does not allow."""
        if resource.plural != "persistentvolumeclaims":
            return
        if old is not None:
            self._check_expansion(resource, new, old)
        self._quotas.check(resource, new, old)

    def after_write(self, resource: Resource, key: Key) -> None:
        """Keep the counts of quotas true."""
        self._quotas.recount(resource, key[0])

    def holds(self, resource: Resource, key: Key) -> bool:
        """Tell whether something else keeps a deleted object: a namespace goes when it is empty."""
        if resource.plural != "namespaces":
            return False
        return any(collection.resource.namespaced and collection.keys(key[1]) for collection in self._store)

    def mark(self, resource: Resource, doc: Document) -> None:
        """Change what a deletion changes beside the timestamp."""
        if resource.plural == "namespaces":
            doc["status"] = {"phase": "Terminating"}

    def going_namespace(self, resource: Resource, key: Key) -> Key | None:
        """Name the deleted namespace that the object was in: it goes when its last object has gone."""
        home = self._namespaces.objects.get(("", key[0])) if resource.namespaced else None
        return ("", key[0]) if home is not None and b'"deletionTimestamp"' in home.raw else None

    def _check_expansion(self, resource: Resource, new: Document, old: Document) -> None:
        if not parse_quantity(requested(new)) > parse_quantity(requested(old)):
            return
        name = new["metadata"]["name"]
        if old.get("status", {}).get("phase") != "Bound":
            raise failure.forbidden(resource, name, "Only bound persistent volume claims can be expanded")
        chosen = self._classes.objects.get(("", old["spec"].get("storageClassName", "")))
        if chosen is None or not chosen.document().get("allowVolumeExpansion"):
            raise failure.forbidden(resource, name, _NO_EXPANSION)
