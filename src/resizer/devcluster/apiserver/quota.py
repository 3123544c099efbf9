"""Storage quotas: what the claims of a namespace ask for, against what the quota allows.

The quota admission of a real server enforces what stands in the quota's status, which a controller puts there.
Here the server plays both parts, and counts from the claims themselves, so that a count can never drift.
"""

from __future__ import annotations

from resizer.devcluster.apiserver import failure
from resizer.devcluster.apiserver.kinds.claim import allocated, requested
from resizer.devcluster.apiserver.resource import Document, Resource
from resizer.devcluster.apiserver.shape import normalise
from resizer.devcluster.apiserver.store import Store
from resizer.model.quantity import format_bytes, parse_quantity

_STORAGE = "requests.storage"
_COUNT = "persistentvolumeclaims"
_CLASS = ".storageclass.storage.k8s.io/"


class QuotaKeeper:
    """Counts claims for the quotas of their namespace."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._quotas = store.named("resourcequotas")
        self._claims = store.named("persistentvolumeclaims")

    def check(self, resource: Resource, new: Document, old: Document | None) -> None:
        """Refuse a claim that would take its namespace over a quota."""
        namespace = new["metadata"]["namespace"]
        for key in self._quotas.keys(namespace):
            hard = self._quotas.objects[key].document().get("status", {}).get("hard", {})
            over = []
            for name, limit in hard.items():
                more = _usage(name, new) - (_usage(name, old) if old else 0)
                used = self._used(name, namespace)
                if more > 0 and used + more > parse_quantity(limit).bytes:
                    over.append((name, more, used, limit))
            if over:
                raise failure.forbidden(resource, new["metadata"]["name"], _exceeded(key[1], over))

    def recount(self, resource: Resource, namespace: str) -> None:
        """Write what is used into the status of each quota, after a claim or a quota has changed."""
        if resource.plural not in {"persistentvolumeclaims", "resourcequotas"}:
            return
        for key in self._quotas.keys(namespace):
            doc = self._quotas.objects[key].document()
            hard = doc.get("spec", {}).get("hard", {})
            used = {name: _shown(name, self._used(name, namespace)) for name in hard if _counted(name)}
            status = {"hard": hard, "used": used}
            if doc.get("status") != status:
                doc["status"] = status
                normalise(self._quotas.resource, doc)
                self._store.put(self._quotas, key, doc)

    def _used(self, name: str, namespace: str) -> int:
        if not _counted(name):
            return 0
        return sum(_usage(name, self._claims.objects[key].document()) for key in self._claims.keys(namespace))


def _counted(name: str) -> bool:
    return name.rpartition(_CLASS)[2] in {_STORAGE, _COUNT}


def _usage(name: str, claim: Document) -> int:
    """Count one claim: the larger of what it asks for and what is being allocated to it."""
    wanted_class, _, what = name.rpartition(_CLASS)
    if wanted_class and claim["spec"].get("storageClassName") != wanted_class:
        return 0
    if what == _COUNT:
        return 1
    if what == _STORAGE:
        return max(parse_quantity(requested(claim)).bytes, parse_quantity(allocated(claim)).bytes)
    return 0


def _shown(name: str, amount: int) -> str:
    return format_bytes(amount) if name.endswith(_STORAGE) else str(amount)


def _exceeded(quota: str, over: list[tuple[str, int, int, str]]) -> str:
    asked = ",".join(f"{name}={_shown(name, more)}" for name, more, _, _ in over)
    used = ",".join(f"{name}={_shown(name, used)}" for name, _, used, _ in over)
    limit = ",".join(f"{name}={limit}" for name, _, _, limit in over)
    return f"exceeded quota: {quota}, requested: {asked}, used: {used}, limited: {limit}"
