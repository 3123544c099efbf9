"""The demo's Kubernetes objects, with the names of the article it began from."""

import secrets
from typing import Any, Final

from resizer.model.quantity import format_bytes

Document = dict[str, Any]

NAMESPACE: Final = "default"
CLASS: Final = "csi-qcfs"
SECRET: Final = "orain-test"  # noqa: S105 -- its name
CLAIM: Final = "qcfs-pvc"
NODE: Final = "demo-node"


def claim_names(count: int) -> list[str]:
    """Return `qcfs-pvc` for one claim, `qcfs-pvc-1` and so on for several."""
    return [CLAIM] if count == 1 else [f"{CLAIM}-{number}" for number in range(1, count + 1)]


def pod_name(claim: str) -> str:
    """Return the name of the pod that writes to a claim."""
    return f"{claim}-writer"


def secret() -> Document:
    """Return the secret, with a key made up for this run: nobody else knows it, so nobody else can show it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "type": "Opaque",
        "stringData": {"user": "orain", "key": secrets.token_urlsafe(24)},
    }


def storage_class(*, driver: str, filesystem: str) -> Document:
    """Return the class: expansion allowed, the secret for create and expand."""
    prefix = "csi.storage.k8s.io"
    parameters = {f"{prefix}/fstype": filesystem}
    for role in ("provisioner-secret", "controller-expand-secret"):
        parameters |= {f"{prefix}/{role}-name": SECRET, f"{prefix}/{role}-namespace": NAMESPACE}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS},
        "provisioner": driver,
        "parameters": parameters,
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": True,
        "volumeBindingMode": "Immediate",
    }


def claim(name: str, *, size_bytes: int) -> Document:
    """Return a claim of that size."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": CLASS,
            "resources": {"requests": {"storage": format_bytes(size_bytes)}},
        },
    }


def request(size_bytes: int) -> Document:
    """Return the edit that asks for a new size, as a merge patch."""
    return {"spec": {"resources": {"requests": {"storage": format_bytes(size_bytes)}}}}


def pod(claim_name: str) -> Document:
    """Return the pod that writes to a claim."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod_name(claim_name), "namespace": NAMESPACE, "labels": {"app": "writer"}},
        "spec": {
            "containers": [
                {"name": "writer", "image": "writer:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}],
        },
    }
