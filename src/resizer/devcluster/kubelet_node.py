"""What a kubelet says of itself: the Node, the CSINode, and the status of the pods it runs."""

import contextlib
import platform
from typing import Final

from resizer.devcluster.client import (
    CSI_DRIVERS,
    CSI_NODES,
    NODES,
    PODS,
    Client,
    ConflictError,
    Document,
    Endpoint,
    NotFoundError,
)
from resizer.devcluster.event import timestamp

KUBELET_VERSION: Final = "v1.36.0"


async def register(client: Client, *, node: str, node_ids: dict[str, str]) -> None:
    """Write Node, CSINode and the CSIDriver objects of the drivers, which `node_ids` names; what is there stays."""
    meta = {
        "name": node,
        "labels": {"kubernetes.io/hostname": node, "kubernetes.io/os": "linux"},
    }
    await _create(client, NODES, {"apiVersion": "v1", "kind": "Node", "metadata": meta})
    await client.patch_status(NODES, node, _node_status())
    drivers = [{"name": name, "nodeID": node_id, "topologyKeys": []} for name, node_id in node_ids.items()]
    body = {"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": node}}
    await _create(client, CSI_NODES, {**body, "spec": {"drivers": drivers}})
    for name in node_ids:
        spec = {"attachRequired": True, "podInfoOnMount": False}
        driver = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": name}}
        await _create(client, CSI_DRIVERS, {**driver, "spec": spec})


async def _create(client: Client, endpoint: Endpoint, body: Document) -> None:
    with contextlib.suppress(ConflictError):
        await client.create(endpoint, body)


def _node_status() -> Document:
    now = timestamp()
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "conditions": [ready],
        "nodeInfo": {
            "kubeletVersion": KUBELET_VERSION,
            "operatingSystem": "linux",
            "architecture": platform.machine(),
            "kernelVersion": platform.release(),
            "osImage": "development cluster",
            "containerRuntimeVersion": "none://0",
            "kubeProxyVersion": "",
            "bootID": "",
            "machineID": "",
            "systemUUID": "",
        },
        "capacity": {"cpu": "2", "memory": "4Gi", "pods": "110"},
        "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"},
    }


async def report_running(client: Client, pod: Document) -> None:
    """Set a pod's status to Running and ready."""
    now = timestamp()
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    status = {
        "phase": "Running",
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "startTime": now,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ],
    }
    meta = pod["metadata"]
    with contextlib.suppress(NotFoundError):
        await client.patch_status(PODS, meta["name"], status, namespace=meta["namespace"])


async def report_gone(client: Client, pod: Document) -> None:
    """Delete the pod object for good: its volumes have been let go."""
    meta = pod["metadata"]
    with contextlib.suppress(NotFoundError, ConflictError):
        await client.delete(PODS, meta["name"], namespace=meta["namespace"], grace_s=0, uid=meta["uid"])
