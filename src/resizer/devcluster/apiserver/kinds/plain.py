"""Kinds with only a default or a check or two: namespaces, leases, events, secrets, storage and RBAC objects."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar

from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.resource import Document, Rules

_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")


class NamespaceRules(Rules):
    """Namespaces carry their own name as a label, and a finalizer in their spec."""

    def prepare_create(self, doc: Document, now: str) -> None:
        """Start as Active."""
        del now
        meta = doc["metadata"]
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
        doc["spec"] = {"finalizers": ["kubernetes"]}
        doc["status"] = {"phase": "Active"}

    def prepare_update(self, new: Document, old: Document) -> None:
        """Keep the spec; the label comes back if someone takes it away."""
        new["spec"] = old["spec"]
        new["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = new["metadata"]["name"]


class LeaseRules(Rules):
    """Leases: durations are positive."""

    known: ClassVar[Mapping[str, str]] = {
        "spec": "acquireTime holderIdentity leaseDurationSeconds leaseTransitions preferredHolder renewTime strategy"
    }

    def validate(self, doc: Document) -> list[Cause]:
        """Check the two counters."""
        spec = doc.get("spec", {})
        causes = []
        seconds, moves = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
        if seconds is not None and seconds <= 0:
            causes.append(Cause.invalid("spec.leaseDurationSeconds", str(seconds), "must be greater than 0"))
        if moves is not None and moves < 0:
            text = "must be greater than or equal to 0"
            causes.append(Cause.invalid("spec.leaseTransitions", str(moves), text))
        return causes


class EventRules(Rules):
    """Events belong to the namespace of the object that they are about."""

    def default(self, doc: Document) -> None:
        """Write out the fields that are always present."""
        doc.setdefault("source", {})
        doc.setdefault("firstTimestamp", None)
        doc.setdefault("lastTimestamp", None)
        doc.setdefault("eventTime", None)
        doc.setdefault("reportingComponent", "")
        doc.setdefault("reportingInstance", "")

    def validate(self, doc: Document) -> list[Cause]:
        """Compare namespaces; an event about a cluster-scoped object lives in `default`."""
        about = doc.get("involvedObject", {}).get("namespace", "")
        home = doc["metadata"].get("namespace", "")
        if about == home or (not about and home == "default"):
            return []
        text = "does not match event.namespace"
        return [Cause.invalid("involvedObject.namespace", f'"{about}"', text)]


class SecretRules(Rules):
    """Secrets: `stringData` is write-only, and the type never changes."""

    def default(self, doc: Document) -> None:
        """Fold `stringData` into `data`."""
        plain: dict[str, Any] = doc.pop("stringData", None) or {}
        for key, text in plain.items():
            doc.setdefault("data", {})[key] = base64.b64encode(str(text).encode()).decode()
        doc.setdefault("type", "Opaque")

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Hold the type still, and everything if the secret says so."""
        causes = []
        if new["type"] != old["type"]:
            causes.append(Cause.invalid("type", f'"{new["type"]}"', "field is immutable"))
        if old.get("immutable") and new.get("data") != old.get("data"):
            causes.append(Cause.forbidden("data", "field is immutable when `immutable` is set"))
        return causes


class StorageClassRules(Rules):
    """Storage classes: only their permission to expand and their mount options may change."""

    def default(self, doc: Document) -> None:
        """Default the reclaim policy and the binding mode."""
        doc.setdefault("reclaimPolicy", "Delete")
        doc.setdefault("volumeBindingMode", "Immediate")

    def validate(self, doc: Document) -> list[Cause]:
        """Ask for a provisioner and a binding mode that exists."""
        causes = []
        if not doc.get("provisioner"):
            causes.append(Cause.required("provisioner"))
        if doc["volumeBindingMode"] not in _BINDING_MODES:
            causes.append(Cause.unsupported("volumeBindingMode", doc["volumeBindingMode"], _BINDING_MODES))
        return causes

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Hold still what a volume was made by."""
        return [
            Cause.forbidden(name, "updates to " + name + " are forbidden.")
            for name in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")
            if new.get(name) != old.get(name)
        ]


class AttachmentRules(Rules):
    """Volume attachments start as not attached, and their spec stands still."""

    known: ClassVar[Mapping[str, str]] = {
        "spec": "attacher nodeName source",
        "status": "attachError attached attachmentMetadata detachError",
    }

    def prepare_create(self, doc: Document, now: str) -> None:
        """Start as not attached."""
        del now
        doc["status"] = {"attached": False}

    def prepare_status(self, new: Document, old: Document, now: str) -> None:
        """Keep metadata as it was; only the version that the client read counts."""
        del now
        version = new["metadata"].get("resourceVersion")
        new["metadata"] = dict(old["metadata"])
        if version is not None:
            new["metadata"]["resourceVersion"] = version

    def validate(self, doc: Document) -> list[Cause]:
        """Ask for an attacher and a node."""
        spec = doc.get("spec", {})
        return [Cause.required(f"spec.{name}") for name in ("attacher", "nodeName") if not spec.get(name)]

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Hold the spec still."""
        if new["spec"] == old["spec"]:
            return []
        return [Cause.invalid("spec", "{}", "field is immutable")]


class CsiDriverRules(Rules):
    """CSI drivers, with the defaults of their spec."""

    known: ClassVar[Mapping[str, str]] = {
        "spec": "attachRequired fsGroupPolicy nodeAllocatableUpdatePeriodSeconds podInfoOnMount requiresRepublish "
        "seLinuxMount storageCapacity tokenRequests volumeLifecycleModes"
    }

    def default(self, doc: Document) -> None:
        """Fill in the defaults."""
        spec = doc.setdefault("spec", {})
        spec.setdefault("attachRequired", True)
        spec.setdefault("podInfoOnMount", False)
        spec.setdefault("volumeLifecycleModes", ["Persistent"])
        spec.setdefault("storageCapacity", False)
        spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
        spec.setdefault("requiresRepublish", False)
        spec.setdefault("seLinuxMount", False)


class AttributesClassRules(Rules):
    """Volume attributes classes stand still altogether."""

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Refuse a change of the driver or the parameters."""
        return [
            Cause.forbidden(name, "updates to " + name + " are forbidden.")
            for name in ("driverName", "parameters")
            if new.get(name) != old.get(name)
        ]


class QuotaRules(Rules):
    """Resource quotas; who counts what is used is `admission`."""

    quantities = ("spec.hard.*", "status.hard.*", "status.used.*")
    known: ClassVar[Mapping[str, str]] = {"spec": "hard scopeSelector scopes", "status": "hard used"}

    def prepare_create(self, doc: Document, now: str) -> None:
        """Start with nothing counted."""
        del now
        doc["status"] = {}


class RoleRules(Rules):
    """Roles: each rule says what may be done."""

    def validate(self, doc: Document) -> list[Cause]:
        """Ask for verbs in each rule."""
        text = "verbs must contain at least one value"
        rules: list[Document] = doc.get("rules") or []
        return [
            Cause.required(f"rules[{index}].verbs", text) for index, rule in enumerate(rules) if not rule.get("verbs")
        ]


class BindingRules(Rules):
    """Role bindings: what they grant never changes, only to whom."""

    def validate(self, doc: Document) -> list[Cause]:
        """Ask for a role and for named subjects."""
        subjects: list[Document] = doc.get("subjects") or []
        causes = [] if doc["roleRef"].get("name") else [Cause.required("roleRef.name")]
        causes += [
            Cause.required(f"subjects[{index}].name") for index, one in enumerate(subjects) if not one.get("name")
        ]
        return causes

    def default(self, doc: Document) -> None:
        """Write out the API groups."""
        doc.setdefault("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")
        for subject in doc.get("subjects") or []:
            if subject.get("kind") in {"User", "Group"}:
                subject.setdefault("apiGroup", "rbac.authorization.k8s.io")

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Hold the role still."""
        if new["roleRef"] == old["roleRef"]:
            return []
        return [Cause.invalid("roleRef", "{}", "cannot change roleRef")]


class AdmissionPolicyRules(Rules):
    """Admission policies: stored with their defaults; nothing here evaluates them."""

    def default(self, doc: Document) -> None:
        """Write out what they match and how."""
        spec = doc.setdefault("spec", {})
        spec.setdefault("failurePolicy", "Fail")
        matched = spec.get("matchConstraints")
        if matched is None:
            return
        matched.setdefault("matchPolicy", "Equivalent")
        matched.setdefault("namespaceSelector", {})
        matched.setdefault("objectSelector", {})
        for rule in matched.get("resourceRules") or []:
            rule.setdefault("scope", "*")


class NodeRules(Rules):
    """Nodes: capacity and allocatable are quantities."""

    quantities = ("status.capacity.*", "status.allocatable.*")
    omitted_when_empty = ("spec",)
