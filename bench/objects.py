"""The objects a benchmark's cluster is filled with: bound claims, their volumes, and pods that use them.

They have what a real cluster's have, labels, annotations, finalizers and managed fields: some 1.5 KB a claim and a
volume, 3 KB a pod. Claim `claim-7` is in namespace `bench-1` if there are two, uses volume `pv-7` with the handle
`vol-7`, and pod `pod-7` mounts it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DRIVER = "scripted.csi.example.com"
CLASS = "fast"
WATCHED = {"bench": "watched"}
"""Label of the claims that a benchmark looks at."""

Document = dict[str, Any]
_BORN = "2026-11-01T08:00:00Z"


@dataclass(frozen=True, slots=True)
class Seed:
    """What a cluster is filled with. Claims in `asking` ask for 2Gi; they and the first `watched` have the label."""

    claims: int
    pods: int = 0
    namespaces: int = 1
    watched: int = 1_000_000_000
    asking: tuple[int, ...] = ()
    claims_a_pod: int = 1

    def namespace(self, number: int) -> str:
        """Return the namespace of a claim; the claims of one pod share it."""
        return f"bench-{number // self.claims_a_pod % self.namespaces}"

    def claim_keys(self, numbers: Iterable[int]) -> list[tuple[str, str]]:
        """Return namespace and name of these claims."""
        return [(self.namespace(number), f"claim-{number}") for number in numbers]


def storage_class() -> Document:
    """Build the class of all claims."""
    return {"metadata": {"name": CLASS}, "provisioner": DRIVER, "allowVolumeExpansion": True}


def claim(seed: Seed, number: int) -> Document:
    """Build a bound claim of 1Gi."""
    meta = _meta(f"claim-{number}", seed.namespace(number))
    meta["labels"] |= WATCHED if number < seed.watched or number in seed.asking else {}
    meta["annotations"] = {
        "pv.kubernetes.io/bind-completed": "yes",
        "pv.kubernetes.io/bound-by-controller": "yes",
        "volume.beta.kubernetes.io/storage-provisioner": DRIVER,
        "volume.kubernetes.io/storage-provisioner": DRIVER,
    }
    meta["finalizers"] = ["kubernetes.io/pvc-protection"]
    return {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "metadata": meta,
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Gi" if number in seed.asking else "1Gi"}},
            "volumeName": f"pv-{number}",
            "storageClassName": CLASS,
            "volumeMode": "Filesystem",
        },
        "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}},
    }


def volume(number: int, bound_to: Document) -> Document:
    """Build the volume of a claim."""
    meta = _meta(f"pv-{number}", "")
    meta["annotations"] = {
        "pv.kubernetes.io/provisioned-by": DRIVER,
        "volume.kubernetes.io/provisioner-deletion-secret-name": "",
        "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
    }
    meta["finalizers"] = ["kubernetes.io/pv-protection", f"external-attacher/{DRIVER.replace('.', '-')}"]
    owner = bound_to["metadata"]
    return {
        "kind": "PersistentVolume",
        "apiVersion": "v1",
        "metadata": meta,
        "spec": {
            "capacity": {"storage": "1Gi"},
            "csi": {
                "driver": DRIVER,
                "volumeHandle": f"vol-{number}",
                "fsType": "ext4",
                "volumeAttributes": {"storage.kubernetes.io/csiProvisionerIdentity": f"1764000000000-1-{DRIVER}"},
            },
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                **{key: owner[key] for key in ("namespace", "name", "uid", "resourceVersion")},
            },
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "volumeMode": "Filesystem",
        },
        "status": {"phase": "Bound"},
    }


def pod(seed: Seed, number: int) -> Document:
    """Build a running pod; it mounts its share of the claims, those from number * claims_a_pod on."""
    first = number * seed.claims_a_pod
    names = [f"claim-{n}" for n in range(first, min(first + seed.claims_a_pod, seed.claims))]
    meta = _meta(f"pod-{number}", seed.namespace(first))
    meta["labels"] |= WATCHED if first < seed.watched and names else {}
    container = {
        "name": "db",
        "image": "registry.example.com/databases/mysql:8.4.3",
        "env": [{"name": f"SETTING_{i}", "value": f"value-{i}"} for i in range(12)],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "volumeMounts": [{"name": name, "mountPath": f"/var/lib/{name}"} for name in names],
        "livenessProbe": {"exec": {"command": ["mysqladmin", "ping"]}, "periodSeconds": 10, "failureThreshold": 3},
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    }
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": meta,
        "spec": {
            "containers": [container],
            "volumes": [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names],
            "nodeName": f"node-{number % 100}",
            "serviceAccountName": "default",
            "restartPolicy": "Always",
        },
        "status": {
            "phase": "Running",
            "startTime": _BORN,
            "podIP": "10.0.0.1",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": _BORN} for kind in kinds],
            "containerStatuses": [
                {
                    "name": "db",
                    "ready": True,
                    "restartCount": 0,
                    "image": container["image"],
                    "imageID": "registry.example.com/databases/mysql@sha256:" + "0" * 64,
                    "containerID": "containerd://" + "0" * 64,
                    "state": {"running": {"startedAt": _BORN}},
                }
            ],
        },
    }


def _meta(name: str, namespace: str) -> Document:
    where = {"namespace": namespace} if namespace else {}
    fields = {"f:metadata": {"f:annotations": {".": {}}}, "f:spec": {"f:accessModes": {}, "f:resources": {}}}
    managed = {"apiVersion": "v1", "time": _BORN, "fieldsType": "FieldsV1", "fieldsV1": fields}
    return {
        "name": name,
        **where,
        "uid": str(uuid.uuid4()),
        "creationTimestamp": _BORN,
        "labels": {"app.kubernetes.io/name": "mysql", "app.kubernetes.io/instance": name},
        "managedFields": [
            {"manager": "kubectl-client-side-apply", "operation": "Update", **managed},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", **managed},
        ],
    }
