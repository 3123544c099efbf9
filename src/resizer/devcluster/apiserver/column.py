"""The columns of `kubectl get` for each kind.

Names, order and (for claims, volumes and storage classes) descriptions are wire format: they are what a
kube-apiserver 1.36 sends, and the recorded conversations compare them word for word.
"""

from __future__ import annotations

from typing import Any

from resizer.devcluster.apiserver.resource import Column, Document
from resizer.devcluster.apiserver.table import AGE, NAME, age

_DOCS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes"
_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def _at(path: str, otherwise: Any = "") -> Any:
    """Make a column value from a dotted path."""
    steps = path.split(".")

    def value(doc: Document) -> Any:
        found: Any = doc
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else None
        return otherwise if found is None else found

    return value


def _modes(doc: Document, part: str) -> str:
    return ",".join(_MODES.get(mode, mode) for mode in doc.get(part, {}).get("accessModes", []))


def _claim_of(doc: Document) -> str:
    ref = doc["spec"].get("claimRef")
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""


def _claim_status(doc: Document) -> str:
    return "Terminating" if "deletionTimestamp" in doc["metadata"] else doc.get("status", {}).get("phase", "")


def _class_name(doc: Document) -> str:
    name: str = doc["metadata"].get("name", "")
    default = doc["metadata"].get("annotations", {}).get(_DEFAULT_CLASS) == "true"
    return f"{name} (default)" if default else name


def _claim_capacity(doc: Document) -> str:
    bound = doc["spec"].get("volumeName")
    return str(doc.get("status", {}).get("capacity", {}).get("storage", "0")) if bound else ""


CLAIM = (
    NAME,
    Column("Status", _claim_status, "phase represents the current phase of PersistentVolumeClaim."),
    Column(
        "Volume",
        _at("spec.volumeName"),
        "volumeName is the binding reference to the PersistentVolume backing this claim.",
    ),
    Column("Capacity", _claim_capacity, "capacity represents the actual resources of the underlying volume."),
    Column(
        "Access Modes",
        lambda doc: _modes(doc, "status"),
        "accessModes contains the actual access modes the volume backing the PVC has. More info: "
        f"{_DOCS}#access-modes-1",
    ),
    Column("StorageClass", _at("spec.storageClassName"), "StorageClass of the pvc"),
    Column(
        "VolumeAttributesClass",
        _at("spec.volumeAttributesClassName", "<unset>"),
        "VolumeAttributesClass of the pvc",
    ),
    AGE,
    Column(
        "VolumeMode",
        _at("spec.volumeMode"),
        "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not "
        "included in claim spec.",
        priority=1,
    ),
)

VOLUME = (
    NAME,
    Column(
        "Capacity",
        _at("spec.capacity.storage"),
        f"capacity is the description of the persistent volume's resources and capacity. More info: {_DOCS}#capacity",
    ),
    Column(
        "Access Modes",
        lambda doc: _modes(doc, "spec"),
        f"accessModes contains all ways the volume can be mounted. More info: {_DOCS}#access-modes",
    ),
    Column(
        "Reclaim Policy",
        _at("spec.persistentVolumeReclaimPolicy"),
        "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. "
        "Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically "
        "provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin "
        f"underlying this PersistentVolume. More info: {_DOCS}#reclaiming",
    ),
    Column(
        "Status",
        _claim_status,
        f"phase indicates if a volume is available, bound to a claim, or released by a claim. More info: {_DOCS}#phase",
    ),
    Column(
        "Claim",
        _claim_of,
        "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to "
        "be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: "
        f"{_DOCS}#binding",
    ),
    Column("StorageClass", _at("spec.storageClassName"), "StorageClass of the pv"),
    Column(
        "VolumeAttributesClass", _at("spec.volumeAttributesClassName", "<unset>"), "VolumeAttributesClass of the pv"
    ),
    Column(
        "Reason",
        _at("status.reason"),
        "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy "
        "display in the CLI.",
    ),
    AGE,
    Column(
        "VolumeMode",
        _at("spec.volumeMode", "<unset>"),
        "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block "
        "state. Value of Filesystem is implied when not included in spec.",
        priority=1,
    ),
)

STORAGE_CLASS = (
    Column("Name", _class_name, NAME.description, format="name"),
    Column("Provisioner", _at("provisioner"), "provisioner indicates the type of the provisioner."),
    Column(
        "ReclaimPolicy",
        _at("reclaimPolicy"),
        "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. "
        "Defaults to Delete.",
    ),
    Column(
        "VolumeBindingMode",
        _at("volumeBindingMode"),
        "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset, "
        "VolumeBindingImmediate is used. This field is only honored by servers that enable the VolumeScheduling "
        "feature.",
    ),
    Column(
        "AllowVolumeExpansion",
        _at("allowVolumeExpansion", False),
        "allowVolumeExpansion shows whether the storage class allow volume expand.",
    ),
    AGE,
)


def _pod_ready(doc: Document) -> str:
    states = doc.get("status", {}).get("containerStatuses", [])
    ready = sum(1 for state in states if state.get("ready"))
    return f"{ready}/{len(doc['spec'].get('containers', []))}"


def _pod_status(doc: Document) -> str:
    if "deletionTimestamp" in doc["metadata"]:
        return "Terminating"
    status = doc.get("status", {})
    return str(status.get("reason") or status.get("phase", ""))


def _pod_restarts(doc: Document) -> str:
    return str(sum(s.get("restartCount", 0) for s in doc.get("status", {}).get("containerStatuses", [])))


POD = (
    NAME,
    Column("Ready", _pod_ready),
    Column("Status", _pod_status),
    Column("Restarts", _pod_restarts),
    AGE,
    Column("IP", _at("status.podIP", "<none>"), priority=1),
    Column("Node", _at("spec.nodeName", "<none>"), priority=1),
    Column("Nominated Node", _at("status.nominatedNodeName", "<none>"), priority=1),
    Column("Readiness Gates", lambda _: "<none>", priority=1),
)


def _node_status(doc: Document) -> str:
    conditions = {c.get("type"): c.get("status") for c in doc.get("status", {}).get("conditions", [])}
    words = ["Ready" if conditions.get("Ready") == "True" else "NotReady" if "Ready" in conditions else "Unknown"]
    if doc.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_roles(doc: Document) -> str:
    prefix = "node-role.kubernetes.io/"
    roles = [key.removeprefix(prefix) for key in doc["metadata"].get("labels", {}) if key.startswith(prefix)]
    return ",".join(sorted(roles)) or "<none>"


NODE = (
    NAME,
    Column("Status", _node_status),
    Column("Roles", _node_roles),
    AGE,
    Column("Version", _at("status.nodeInfo.kubeletVersion")),
)


def _event_object(doc: Document) -> str:
    about = doc.get("involvedObject") or doc.get("regarding") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _event_last(doc: Document) -> str:
    series = doc.get("series") or {}
    last = series.get("lastObservedTime") or doc.get("lastTimestamp") or doc.get("deprecatedLastTimestamp")
    return age(last or doc.get("eventTime") or doc["metadata"].get("creationTimestamp"))


EVENT = (
    Column("Last Seen", _event_last),
    Column("Type", _at("type")),
    Column("Reason", _at("reason")),
    Column("Object", _event_object),
    Column("Subobject", _at("involvedObject.fieldPath"), priority=1),
    Column("Source", _at("source.component"), priority=1),
    Column("Message", lambda doc: (doc.get("message") or doc.get("note") or "").strip()),
    Column("First Seen", lambda doc: age(doc.get("firstTimestamp") or doc.get("eventTime")), priority=1),
    Column("Count", lambda doc: str(doc.get("count") or 1), priority=1),
    Column("Name", NAME.value, priority=1, format="name"),
)


def _amounts(doc: Document, *, limits: bool) -> str:
    hard, used = doc.get("status", {}).get("hard") or doc["spec"].get("hard", {}), doc.get("status", {}).get("used", {})
    shown = (f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard))
    return ", ".join(text for text in shown if text.startswith("limits.") is limits)


QUOTA = (
    NAME,
    Column("Request", lambda doc: _amounts(doc, limits=False)),
    Column("Limit", lambda doc: _amounts(doc, limits=True)),
    AGE,
)
NAMESPACE = (NAME, Column("Status", _at("status.phase")), AGE)
SECRET = (
    NAME,
    Column("Type", _at("type")),
    Column("Data", lambda doc: len(doc.get("data") or {}), type="integer"),
    AGE,
)
CONFIG_MAP = (NAME, Column("Data", lambda doc: len(doc.get("data") or {}), type="integer"), AGE)
SERVICE_ACCOUNT = (NAME, Column("Secrets", lambda doc: len(doc.get("secrets") or []), type="integer"), AGE)
LEASE = (NAME, Column("Holder", _at("spec.holderIdentity")), AGE)
STATEFUL_SET = (
    NAME,
    Column("Ready", lambda doc: f"{doc.get('status', {}).get('readyReplicas', 0)}/{doc['spec'].get('replicas', 1)}"),
    AGE,
)
CSI_DRIVER = (
    NAME,
    Column("AttachRequired", _at("spec.attachRequired", True), type="boolean"),
    Column("PodInfoOnMount", _at("spec.podInfoOnMount", False), type="boolean"),
    Column("StorageCapacity", _at("spec.storageCapacity", False), type="boolean"),
    Column("TokenRequests", lambda _: "<unset>"),
    Column("RequiresRepublish", _at("spec.requiresRepublish", False), type="boolean"),
    Column("Modes", lambda doc: ",".join(doc["spec"].get("volumeLifecycleModes", []))),
    AGE,
)
CSI_NODE = (NAME, Column("Drivers", lambda doc: len((doc.get("spec") or {}).get("drivers") or []), type="integer"), AGE)
ATTACHMENT = (
    NAME,
    Column("Attacher", _at("spec.attacher"), format="name"),
    Column("PV", _at("spec.source.persistentVolumeName")),
    Column("Node", _at("spec.nodeName")),
    Column("Attached", _at("status.attached", False), type="boolean"),
    AGE,
)
ATTRIBUTES_CLASS = (NAME, Column("DriverName", _at("driverName")), AGE)
ROLE = (NAME, Column("Created At", _at("metadata.creationTimestamp")))
BINDING = (NAME, Column("Role", lambda doc: f"{doc['roleRef'].get('kind')}/{doc['roleRef'].get('name')}"), AGE)
