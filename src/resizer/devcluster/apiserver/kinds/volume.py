"""PersistentVolumes: a source that stands still, a capacity that anyone with the right may set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.resource import Document, Rules
from resizer.model.quantity import parse_quantity

_NOT_THE_SOURCE = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)


class VolumeRules(Rules):
    """See the module."""

    quantities = ("spec.capacity.*",)
    known: ClassVar[Mapping[str, str]] = {
        "spec": " ".join(sorted(_NOT_THE_SOURCE))
        + " awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk "
        "glusterfs hostPath iscsi local nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos "
        "vsphereVolume",
        "spec.csi": "controllerExpandSecretRef controllerPublishSecretRef driver fsType nodeExpandSecretRef "
        "nodePublishSecretRef nodeStageSecretRef readOnly volumeAttributes volumeHandle",
        "status": "lastPhaseTransitionTime message phase reason",
    }

    def default(self, doc: Document) -> None:
        """Default the reclaim policy and the volume mode."""
        spec = doc.setdefault("spec", {})
        spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
        spec.setdefault("volumeMode", "Filesystem")

    def prepare_create(self, doc: Document, now: str) -> None:
        """Start as Pending."""
        doc["status"] = {"phase": "Pending", "lastPhaseTransitionTime": now}

    def prepare_status(self, new: Document, old: Document, now: str) -> None:
        """Note when the phase changed, unless the client did."""
        after, before = new.setdefault("status", {}), old.get("status", {})
        told = "lastPhaseTransitionTime"
        if after.get("phase") != before.get("phase") and after.get(told) == before.get(told):
            after[told] = now

    def validate(self, doc: Document) -> list[Cause]:
        """Ask for access modes, a capacity and exactly one source."""
        spec = doc["spec"]
        causes = []
        if not spec.get("accessModes"):
            causes.append(Cause.required("spec.accessModes"))
        storage = spec.get("capacity", {}).get("storage")
        if storage is None:
            causes.append(Cause.required("spec.capacity"))
        elif not parse_quantity(storage) > parse_quantity("0"):
            causes.append(Cause.invalid("spec.capacity[storage]", f'"{storage}"', "must be greater than zero"))
        if not source_of(spec):
            causes.append(Cause.required("spec", "must specify a volume type"))
        return causes

    def validate_update(self, new: Document, old: Document) -> list[Cause]:
        """Hold the source still, except that a secret for expansion may be added."""
        after, before = source_of(new["spec"]), source_of(old["spec"])
        if after == before:
            return []
        if "csi" in after and "csi" in before:
            if "controllerExpandSecretRef" not in before["csi"]:
                after["csi"].pop("controllerExpandSecretRef", None)
            if after == before:
                return []
        field = "spec.persistentvolumesource"
        shown = json.dumps({"was": before, "is": after}, indent=1, sort_keys=True)
        return [Cause.forbidden(field, f"spec.persistentvolumesource is immutable after creation\n{shown}\n")]


def source_of(spec: Document) -> Document:
    """Return a copy of what a volume is made of: every part of spec that is not about its use."""
    source = {key: value for key, value in spec.items() if key not in _NOT_THE_SOURCE}
    return {key: dict(value) if isinstance(value, dict) else value for key, value in source.items()}
