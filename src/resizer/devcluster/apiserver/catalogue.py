"""The resources that this server serves. Adding one is a line here, and a `Rules` class if it has habits."""

from __future__ import annotations

from typing import Any

from resizer.devcluster.apiserver import column
from resizer.devcluster.apiserver.kinds.claim import ClaimRules
from resizer.devcluster.apiserver.kinds.plain import (
    AdmissionPolicyRules,
    AttachmentRules,
    AttributesClassRules,
    BindingRules,
    CsiDriverRules,
    EventRules,
    LeaseRules,
    NamespaceRules,
    NodeRules,
    QuotaRules,
    RoleRules,
    SecretRules,
    StorageClassRules,
)
from resizer.devcluster.apiserver.kinds.pod import PodRules, StatefulSetRules
from resizer.devcluster.apiserver.kinds.volume import VolumeRules
from resizer.devcluster.apiserver.resource import Resource

_EVENT_FIELDS = {
    f"involvedObject.{name}": f"involvedObject.{name}"
    for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
} | {"reason": "reason", "reportingComponent": "reportingComponent", "source": "source.component", "type": "type"}
_NEW_EVENT_FIELDS = {
    name.replace("involvedObject", "regarding").replace("Component", "Controller"): name for name in _EVENT_FIELDS
}
"""The selectors of events.k8s.io, and the names under which the stored objects have the same values."""
_POD_FIELDS = {
    name: name
    for name in (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    )
}
_EVENT_TOP = frozenset(
    [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "series",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ]
)
_NEW_EVENT_TOP = frozenset(
    [
        "regarding",
        "reason",
        "note",
        "type",
        "eventTime",
        "series",
        "action",
        "related",
        "reportingController",
        "reportingInstance",
        "deprecatedSource",
        "deprecatedFirstTimestamp",
        "deprecatedLastTimestamp",
        "deprecatedCount",
    ]
)


def _core(kind: str, plural: str, short: str = "", *, namespaced: bool = True, **more: Any) -> Resource:
    return _resource("", kind, plural, short, namespaced=namespaced, **more)


def _storage(kind: str, plural: str, short: str = "", *, namespaced: bool = False, **more: Any) -> Resource:
    return _resource("storage.k8s.io", kind, plural, short, namespaced=namespaced, **more)


def _rights(kind: str, plural: str, *, namespaced: bool, top: str, **more: Any) -> Resource:
    group = "rbac.authorization.k8s.io"
    return _resource(group, kind, plural, "", namespaced=namespaced, fields=frozenset(top.split()), **more)


def _resource(group: str, kind: str, plural: str, short: str, *, namespaced: bool, **more: Any) -> Resource:
    return Resource(
        group=group,
        version=more.pop("version", "v1"),
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        singular=kind.lower(),
        short_names=tuple(short.split()),
        **more,
    )


_STATUS = ("status",)

RESOURCES: tuple[Resource, ...] = (
    _core(
        "Namespace",
        "namespaces",
        "ns",
        namespaced=False,
        subresources=("status", "finalize"),
        returns_deleted=True,
        selectable={"status.phase": "status.phase"},
        rules=NamespaceRules(),
        columns=column.NAMESPACE,
    ),
    _core(
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "pvc",
        subresources=_STATUS,
        finalizer="kubernetes.io/pvc-protection",
        bookmark={"spec": {"resources": {}}, "status": {}},
        returns_deleted=True,
        rules=ClaimRules(),
        columns=column.CLAIM,
    ),
    _core(
        "PersistentVolume",
        "persistentvolumes",
        "pv",
        namespaced=False,
        subresources=_STATUS,
        finalizer="kubernetes.io/pv-protection",
        bookmark={"spec": {}, "status": {}},
        returns_deleted=True,
        rules=VolumeRules(),
        columns=column.VOLUME,
    ),
    _core(
        "Pod",
        "pods",
        "po",
        categories=("all",),
        subresources=("status", "binding"),
        generation=True,
        graceful=True,
        returns_deleted=True,
        selectable=_POD_FIELDS,
        bookmark={"spec": {"containers": None}, "status": {}},
        rules=PodRules(),
        columns=column.POD,
    ),
    _core(
        "Node",
        "nodes",
        "no",
        namespaced=False,
        subresources=_STATUS,
        selectable={"spec.unschedulable": "spec.unschedulable"},
        rules=NodeRules(),
        columns=column.NODE,
    ),
    _core(
        "Event", "events", "ev", fields=_EVENT_TOP, selectable=_EVENT_FIELDS, rules=EventRules(), columns=column.EVENT
    ),
    _core(
        "Secret",
        "secrets",
        fields=frozenset({"data", "stringData", "type", "immutable"}),
        selectable={"type": "type"},
        rules=SecretRules(),
        columns=column.SECRET,
    ),
    _core(
        "ConfigMap",
        "configmaps",
        "cm",
        fields=frozenset({"data", "binaryData", "immutable"}),
        columns=column.CONFIG_MAP,
    ),
    _core("Service", "services", "svc", categories=("all",), subresources=_STATUS),
    _core(
        "ServiceAccount",
        "serviceaccounts",
        "sa",
        subresources=("token",),
        fields=frozenset({"secrets", "imagePullSecrets", "automountServiceAccountToken"}),
        columns=column.SERVICE_ACCOUNT,
    ),
    _core("ResourceQuota", "resourcequotas", "quota", subresources=_STATUS, rules=QuotaRules(), columns=column.QUOTA),
    _resource(
        "apps",
        "StatefulSet",
        "statefulsets",
        "sts",
        namespaced=True,
        categories=("all",),
        subresources=_STATUS,
        generation=True,
        rules=StatefulSetRules(),
        columns=column.STATEFUL_SET,
    ),
    _resource(
        "events.k8s.io",
        "Event",
        "events",
        "ev",
        namespaced=True,
        fields=_NEW_EVENT_TOP,
        selectable=_NEW_EVENT_FIELDS,
        stored_as="events",
        columns=column.EVENT,
    ),
    _resource(
        "coordination.k8s.io",
        "Lease",
        "leases",
        "",
        namespaced=True,
        fields=frozenset({"spec"}),
        needs_version=True,
        rules=LeaseRules(),
        columns=column.LEASE,
    ),
    _storage(
        "StorageClass",
        "storageclasses",
        "sc",
        fields=frozenset(
            {
                "provisioner",
                "parameters",
                "reclaimPolicy",
                "mountOptions",
                "allowVolumeExpansion",
                "volumeBindingMode",
                "allowedTopologies",
            }
        ),
        rules=StorageClassRules(),
        columns=column.STORAGE_CLASS,
    ),
    _storage("CSIDriver", "csidrivers", fields=frozenset({"spec"}), rules=CsiDriverRules(), columns=column.CSI_DRIVER),
    _storage("CSINode", "csinodes", fields=frozenset({"spec"}), columns=column.CSI_NODE),
    _storage(
        "CSIStorageCapacity",
        "csistoragecapacities",
        namespaced=True,
        fields=frozenset({"nodeTopology", "storageClassName", "capacity", "maximumVolumeSize"}),
    ),
    _storage(
        "VolumeAttachment",
        "volumeattachments",
        subresources=_STATUS,
        rules=AttachmentRules(),
        columns=column.ATTACHMENT,
    ),
    _storage(
        "VolumeAttributesClass",
        "volumeattributesclasses",
        "vac",
        fields=frozenset({"driverName", "parameters"}),
        finalizer="kubernetes.io/vac-protection",
        rules=AttributesClassRules(),
        columns=column.ATTRIBUTES_CLASS,
    ),
    _rights(
        "ClusterRole",
        "clusterroles",
        namespaced=False,
        top="rules aggregationRule",
        rules=RoleRules(),
        columns=column.ROLE,
    ),
    _rights(
        "ClusterRoleBinding",
        "clusterrolebindings",
        namespaced=False,
        top="roleRef subjects",
        rules=BindingRules(),
        columns=column.BINDING,
    ),
    _rights("Role", "roles", namespaced=True, top="rules", rules=RoleRules(), columns=column.ROLE),
    _rights(
        "RoleBinding",
        "rolebindings",
        namespaced=True,
        top="roleRef subjects",
        rules=BindingRules(),
        columns=column.BINDING,
    ),
    _resource(
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        "",
        namespaced=False,
        subresources=_STATUS,
        rules=AdmissionPolicyRules(),
    ),
    _resource(
        "admissionregistration.k8s.io",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        "",
        namespaced=False,
        fields=frozenset({"spec"}),
    ),
    _resource("flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas", "", namespaced=False, subresources=_STATUS),
    _resource(
        "flowcontrol.apiserver.k8s.io",
        "PriorityLevelConfiguration",
        "prioritylevelconfigurations",
        "",
        namespaced=False,
        subresources=_STATUS,
    ),
)


class Catalogue:
    """The resources by API group, version and plural."""

    def __init__(self, resources: tuple[Resource, ...] = RESOURCES) -> None:
        self.resources = resources
        self._by_path = {(r.group, r.version, r.plural): r for r in resources}
        self.versions = {(r.group, r.version) for r in resources} | {("authorization.k8s.io", "v1")}
        self.versions |= {("authentication.k8s.io", "v1")}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Find a resource by its place in the URL."""
        return self._by_path.get((group, version, plural))

    def of(self, group: str, version: str) -> list[Resource]:
        """List the resources of one API group and version."""
        return [r for r in self.resources if (r.group, r.version) == (group, version)]
