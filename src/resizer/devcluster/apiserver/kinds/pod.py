"""Pods and stateful sets: their defaults, and which parts of a running pod may still change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.resource import Document, Rules

_FROZEN_POD = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_MUTABLE_SET = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_FROZEN_SET = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


class PodRules(Rules):
    """See the module."""

    quantities = (
        "spec.containers.[].resources.requests.*",
        "spec.containers.[].resources.limits.*",
        "spec.volumes.[].ephemeral.volumeClaimTemplate.spec.resources.requests.*",
    )
    conditions = ("status.conditions",)
    known: ClassVar[Mapping[str, str]] = {
        "spec": "activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy "
        "enableServiceLinks ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname "
        "hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority "
        "priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName "
        "schedulingGates securityContext serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace "
        "subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes"
    }

    def default(self, doc: Document) -> None:
        """Fill in what a pod's spec defaults to."""
        spec = doc.setdefault("spec", {})
        default_pod_spec(spec)
        spec.setdefault("enableServiceLinks", True)

    def prepare_create(self, doc: Document, now: str) -> None:
        """Start as Pending, with the tolerations and priority that admission adds."""
        del now
        spec = doc.setdefault("spec", {})
        _admit(spec)
        doc["status"] = {"phase": "Pending", "qosClass": _quality(spec)}

    def prepare_update(self, new: Document, old: Document) -> None:
        """Add the same again: who replaces a pod sends it without."""
        del old
        _admit(new.setdefault("spec", {}))

    def prepare_status(self, new: Document, old: Document, now: str) -> None:
        """Keep the owners and the quality class."""
        del now
        owners = old["metadata"].get("ownerReferences")
        new["metadata"].pop("ownerReferences", None)
        if owners:
            new["metadata"]["ownerReferences"] = owners
        quality = old.get("status", {}).get("qosClass")
        if quality:
            new.setdefault("status", {})["qosClass"] = quality

    def validate(self, doc: Document) -> list[Cause]:
        """Ask for at least one container, each with a name and an image."""
        containers = doc["spec"].get("containers", [])
        if not containers:
            return [Cause.required("spec.containers")]
        causes = []
        for index, container in enumerate(containers):
            causes += [
                Cause.required(f"spec.containers[{index}].{name}")
                for name in ("name", "image")
                if not container.get(name)
            ]
        return causes

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Refuse all but the few changes that a pod allows."""
        if _frozen_part(new["spec"]) == _frozen_part(old["spec"]):
            return []
        return [Cause.forbidden("spec", _FROZEN_POD + "\n")]


class StatefulSetRules(Rules):
    """A stateful set: its claim templates stand still."""

    known: ClassVar[Mapping[str, str]] = {
        "spec": "minReadySeconds ordinals persistentVolumeClaimRetentionPolicy podManagementPolicy replicas "
        "revisionHistoryLimit selector serviceName template updateStrategy volumeClaimTemplates"
    }

    quantities = (
        "spec.volumeClaimTemplates.[].spec.resources.requests.*",
        "spec.template.spec.containers.[].resources.requests.*",
        "spec.template.spec.containers.[].resources.limits.*",
    )

    def default(self, doc: Document) -> None:
        """Fill in what a stateful set defaults to, its pod template and claim templates included."""
        spec = doc.setdefault("spec", {})
        spec.setdefault("replicas", 1)
        spec.setdefault("podManagementPolicy", "OrderedReady")
        strategy = spec.setdefault("updateStrategy", {"type": "RollingUpdate"})
        if strategy.get("type") == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {"partition": 0})
        spec.setdefault("revisionHistoryLimit", 10)
        keep = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        keep.setdefault("whenDeleted", "Retain")
        keep.setdefault("whenScaled", "Retain")
        default_pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
        for template in spec.get("volumeClaimTemplates", []):
            template.update({"kind": "PersistentVolumeClaim", "apiVersion": "v1"})
            template.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
            template.setdefault("status", {"phase": "Pending"})

    def prepare_create(self, doc: Document, now: str) -> None:
        """Start with nothing running."""
        del now
        doc["status"] = {"replicas": 0, "availableReplicas": 0}

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Refuse changes outside the few fields that may change."""
        after, before = ({k: v for k, v in d["spec"].items() if k not in _MUTABLE_SET} for d in (new, old))
        return [] if after == before else [Cause.forbidden("spec", _FROZEN_SET)]


def _admit(spec: Document) -> None:
    """Add the tolerations and the priority that admission adds to every pod."""
    have = spec.setdefault("tolerations", [])
    for trouble in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{trouble}"
        if not any(toleration.get("key") in {key, None} for toleration in have):
            have.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def default_pod_spec(spec: Document) -> None:
    """Fill in the defaults that a pod and a pod template share."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        image = str(container.get("image", ""))
        pinned = ":" in image.rpartition("/")[2] and not image.endswith(":latest")
        container.setdefault("imagePullPolicy", "IfNotPresent" if pinned else "Always")


def _quality(spec: Document) -> str:
    """Classify by requests and limits; only the two clear ends are told apart from Burstable."""
    resources = [container.get("resources", {}) for container in spec.get("containers", [])]
    if not any(part.get("requests") or part.get("limits") for part in resources):
        return "BestEffort"
    full = all({"cpu", "memory"} <= set(part.get("limits", {})) for part in resources)
    equal = all(part.get("requests", part.get("limits")) == part.get("limits") for part in resources)
    return "Guaranteed" if full and equal else "Burstable"


def _frozen_part(spec: Document) -> Document:
    frozen = {k: v for k, v in spec.items() if k not in {"activeDeadlineSeconds", "tolerations"}}
    for name in ("containers", "initContainers"):
        if name in frozen:
            frozen[name] = [{k: v for k, v in item.items() if k != "image"} for item in frozen[name]]
    return frozen
