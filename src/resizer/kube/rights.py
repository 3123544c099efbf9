"""Which rights the API server has refused us: what is missing, what that turns off, and the rule that grants it.

Transport reports each 403 that speaks of RBAC, and each success of what was refused before; `review` asks for the
required ones before they are needed. Required rights turn readiness red; every other one only switches its feature
off (DESIGN 7). Admission's 403 (a quota) is none of these.
"""

import re
from collections.abc import Iterable
from typing import Final

import structlog
from msgspec import Struct

log = structlog.get_logger("resizer.kube.rights")

_CANNOT: Final = re.compile(r'cannot (\w+) resource "([\w./-]+)"')
_MAX_MISSING: Final = 100

_READ: Final = ("get", "list", "watch")
REQUIRED: Final = frozenset(
    {
        *((verb, "persistentvolumeclaims") for verb in _READ),
        *((verb, "persistentvolumes") for verb in (*_READ, "patch")),
        ("patch", "persistentvolumeclaims/status"),
    }
)
REQUIRED_FOR_ELECTION: Final = frozenset((verb, "leases") for verb in ("get", "create", "update"))

_FEATURES: Final = {
    "pods": "nudging the kubelet, and waking claims of offline-only drivers when their pod goes",
    "pods/status": "nudging the kubelet (growth waits for the pod's next sync)",
    "nodes": "saying whether a node that is late is ready, and how old its kubelet is",
    "events": "events on claims",
    "secrets": "expansion secrets",
    "volumeattachments": "waking claims of offline-only drivers when their volume is detached",
    "patch events": "counting up repeated events (each becomes an event of its own)",
    "selfsubjectaccessreviews": "finding out at start which rights are missing (each is found out when it is used)",
    "leases": "immediate take-over of a released lease (it is polled instead)",
    "tokenreviews": "/debug/state and / (closed: nobody can be asked who holds a token)",
    "subjectaccessreviews": "/debug/state and / (closed: nobody can be asked who may read them)",
}


class MissingRight(Struct, frozen=True):
    """One right that was refused. `namespace` is empty for a cluster-wide request."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    required: bool = False

    @property
    def feature(self) -> str:
        """What does not work without it."""
        if self.required:
            return "growing claims"
        either = (f"{self.verb} {self.resource}", self.resource)
        return next((_FEATURES[key] for key in either if key in _FEATURES), f"reading {self.resource}")

    @property
    def rule(self) -> str:
        """The RBAC rule to add, as it stands in a manifest."""
        return f'- {{apiGroups: ["{self.group}"], resources: ["{self.resource}"], verbs: ["{self.verb}"]}}'

    @property
    def advice(self) -> str:
        """One sentence: where to add which rule."""
        place = f"a Role in namespace {self.namespace}" if self.namespace else "the ClusterRole"
        return f"add to {place} of our ServiceAccount: {self.rule}"


class Rights:
    """The rights that are missing now."""

    def __init__(self, *, required: Iterable[tuple[str, str]] = REQUIRED) -> None:
        self._required = set(required)
        self._missing: dict[tuple[str, str, str], MissingRight] = {}
        self._said: set[tuple[str, str, str]] = set()

    @property
    def required(self) -> frozenset[tuple[str, str]]:
        """The (verb, resource) pairs without which nothing can be grown."""
        return frozenset(self._required)

    def require(self, rights: Iterable[tuple[str, str]]) -> None:
        """Count these (verb, resource) pairs as required from now on, as those of leases when electing."""
        self._required.update(rights)

    def refused(self, *, verb: str, group: str, resource: str, namespace: str, message: str) -> None:
        """Note a 403, if its message says that a right is missing."""
        found = _CANNOT.search(message)
        if found is None:
            return
        if found[1] == verb and found[2].split("/")[0] == resource.split("/", maxsplit=1)[0]:
            resource = found[2]
        self.missed(verb=verb, group=group, resource=resource, namespace=namespace)

    def missed(self, *, verb: str, group: str, resource: str, namespace: str) -> None:
        """Note that a right is missing."""
        # A cluster-wide rule is what is asked for where a claim's namespace may be any.
        place = namespace if resource in ("secrets", "leases") else ""
        key = (verb, resource, place)
        if key in self._missing or len(self._missing) >= _MAX_MISSING:
            return
        right = MissingRight(verb, group, resource, place, required=(verb, resource) in self._required)
        self._missing[key] = right
        if key not in self._said:
            self._said.add(key)
            say = log.error if right.required else log.warning
            say("right.missing", verb=verb, resource=resource, namespace=place, off=right.feature, next=right.advice)

    def granted(self, *, verb: str, resource: str, namespace: str) -> None:
        """Note that something succeeded; cheap while nothing is missing."""
        if self._missing:
            for place in ("", namespace):
                if self._missing.pop((verb, resource, place), None) is not None:
                    self._said.discard((verb, resource, place))
                    log.info("right.granted", verb=verb, resource=resource, namespace=place)

    def is_missing(self, verb: str, resource: str, *, namespace: str = "") -> bool:
        """Whether this right was refused and has not been granted since."""
        return (verb, resource, "") in self._missing or (verb, resource, namespace) in self._missing

    def missing(self, *, required_only: bool = False) -> list[MissingRight]:
        """List what is missing, required rights first."""
        found = [right for right in self._missing.values() if right.required or not required_only]
        return sorted(found, key=lambda r: (not r.required, r.resource, r.verb))

    def state(self) -> list[dict[str, str | bool]]:
        """Describe them for /debug/state."""
        return [
            {
                "verb": right.verb,
                "resource": right.resource,
                "namespace": right.namespace,
                "required": right.required,
                "turns_off": right.feature,
                "next": right.advice,
            }
            for right in self.missing()
        ]
