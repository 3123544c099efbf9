"""PersistentVolumeClaims: the rules that a growing claim meets.

A claim's spec stands still except for the storage request and the attributes class, and those only while it is
bound. The request may come back down as long as it stays above what the claim already has (KEP-1790). The states
of a resize in the status are a closed list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.resource import Document, Rules
from resizer.model.quantity import parse_quantity

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
RESIZE_STATES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)
_IMMUTABLE = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


class ClaimRules(Rules):
    """See the module."""

    quantities = (
        "spec.resources.requests.*",
        "spec.resources.limits.*",
        "status.capacity.*",
        "status.allocatedResources.*",
    )
    omitted_when_empty = (
        "status.capacity",
        "status.allocatedResources",
        "status.allocatedResourceStatuses",
        "status.modifyVolumeStatus",
    )
    conditions = ("status.conditions",)
    known: ClassVar[Mapping[str, str]] = {
        "spec": "accessModes dataSource dataSourceRef resources selector storageClassName volumeAttributesClassName "
        "volumeMode volumeName",
        "spec.resources": "limits requests",
        "status": "accessModes allocatedResourceStatuses allocatedResources capacity conditions "
        "currentVolumeAttributesClassName modifyVolumeStatus phase",
    }

    def default(self, doc: Document) -> None:
        """Default the volume mode."""
        spec = doc.setdefault("spec", {})
        spec.setdefault("resources", {})
        spec.setdefault("volumeMode", "Filesystem")

    def prepare_create(self, doc: Document, now: str) -> None:
        """Start as Pending, whatever the client says."""
        del now
        doc["status"] = {"phase": "Pending"}

    def validate(self, doc: Document) -> list[Cause]:
        """Check access modes and the storage request."""
        return [*_check_access_modes(doc["spec"]), *_check_request(doc["spec"])]

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Hold the spec still, and never let the request fall to what is there already."""
        causes = []
        after, before = dict(new["spec"]), dict(old["spec"])
        if not before.get("volumeName"):
            _align(after, before, "volumeName")
        if "storageClassName" not in before:
            # A default class may be filled in later.
            _align(after, before, "storageClassName")
        if new.get("status", {}).get("phase") == "Bound":
            after["resources"] = _with_request(after["resources"], requested(old))
            _align(after, before, "volumeAttributesClassName")
        if after != before:
            shown = json.dumps({"was": before, "is": after}, indent=1, sort_keys=True)
            causes.append(Cause.forbidden("spec", f"{_IMMUTABLE}\n{shown}\n"))
        if _size(requested(new)) < _size(requested(old)) and _size(requested(new)) <= _size(capacity(old)):
            field = "spec.resources.requests.storage"
            causes.append(Cause.forbidden(field, "field can not be less than status.capacity"))
        return causes

    def validate_status(self, new: Document, old: Document) -> list[Cause]:
        """Check sizes, the names of resources and the states of a resize."""
        del old
        status = new.get("status", {})
        causes = []
        for key in status.get("allocatedResourceStatuses", {}):
            causes += _check_state(key, status["allocatedResourceStatuses"][key])
        for key, text in status.get("allocatedResources", {}).items():
            if _known_resource(key):
                causes += _check_not_negative("status.allocatedResources", key, text)
            else:
                causes.append(Cause.unsupported("status.allocatedResources", key, ("storage",)))
        for key, text in status.get("capacity", {}).items():
            causes += _check_not_negative("status.capacity", key, text)
        return causes


def requested(doc: Document) -> str:
    """Return the storage that a claim asks for, or 0."""
    return str(doc.get("spec", {}).get("resources", {}).get("requests", {}).get("storage", "0"))


def capacity(doc: Document) -> str:
    """Return the storage that a claim has, or 0."""
    return str(doc.get("status", {}).get("capacity", {}).get("storage", "0"))


def allocated(doc: Document) -> str:
    """Return the size that a running resize aims at, or 0."""
    return str(doc.get("status", {}).get("allocatedResources", {}).get("storage", "0"))


def _size(text: str) -> Any:
    return parse_quantity(text)


def _align(after: Document, before: Document, name: str) -> None:
    """Make a field that may change look unchanged."""
    after.pop(name, None)
    if name in before:
        after[name] = before[name]


def _with_request(resources: Document, storage: str) -> Document:
    requests = {**resources.get("requests", {}), "storage": storage}
    return {**resources, "requests": requests}


def _check_access_modes(spec: Document) -> list[Cause]:
    modes = spec.get("accessModes", [])
    if not modes:
        return [Cause.required("spec.accessModes", "at least 1 access mode is required")]
    unknown = [mode for mode in modes if mode not in ACCESS_MODES]
    if unknown:
        return [Cause.unsupported("spec.accessModes", str(mode), ACCESS_MODES) for mode in unknown]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        text = "may not use ReadWriteOncePod with other access modes"
        return [Cause.forbidden("spec.accessModes", text)]
    return []


def _check_request(spec: Document) -> list[Cause]:
    text = spec["resources"].get("requests", {}).get("storage")
    if text is None:
        return [Cause.required("spec.resources[storage]")]
    if not _size(text) > _size("0"):
        return [Cause.invalid("spec.resources[storage]", f'"{text}"', "must be greater than zero")]
    return []


def _known_resource(key: str) -> bool:
    """Accept storage, and names of a domain that is not Kubernetes' own."""
    domain = key.partition("/")[0] if "/" in key else ""
    return key == "storage" or (bool(domain) and not domain.endswith("kubernetes.io"))


def _check_state(key: str, state: Any) -> list[Cause]:
    field = "status.allocatedResourceStatuses"
    if not _known_resource(key):
        return [Cause.unsupported(field, key, ("storage",))]
    if state not in RESIZE_STATES:
        # The real server names the key here, not the value.
        return [Cause.unsupported(field, key, RESIZE_STATES)]
    return []


def _check_not_negative(field: str, key: str, text: str) -> list[Cause]:
    if not _size(text) < _size("0"):
        return []
    return [Cause.invalid(f"{field}[{key}]", str(_size(text).bytes), "must be a valid resource quantity")]
