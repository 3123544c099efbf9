"""The session of docs/development-cluster.md, with the real kubectl."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from resizer.devcluster.apiserver import ApiServer

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

Kubectl = Callable[..., Awaitable[str]]

MANIFEST = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: csi-qcfs}
provisioner: csi-qcfsplugin
allowVolumeExpansion: true
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: qcfs-pvc}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: csi-qcfs
  volumeName: pv-1
  resources: {requests: {storage: 300Gi}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-1}
spec:
  capacity: {storage: 300Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: csi-qcfs
  claimRef: {namespace: default, name: qcfs-pvc}
  csi: {driver: csi-qcfsplugin, volumeHandle: vol-1}
---
apiVersion: v1
kind: Pod
metadata: {name: db}
spec:
  nodeName: node-1
  containers: [{name: mysql, image: "mysql:8", volumeMounts: [{name: data, mountPath: /var/lib/mysql}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: qcfs-pvc}}]
"""
EVENT = """
apiVersion: v1
kind: Event
metadata: {name: qcfs-pvc.1}
involvedObject: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: default, name: qcfs-pvc, uid: UID}
reason: VolumeResizeSuccessful
message: Resize volume succeeded
type: Normal
source: {component: external-resizer csi-qcfsplugin}
firstTimestamp: "2026-01-01T00:00:00Z"
lastTimestamp: "2026-01-01T00:00:00Z"
count: 1
"""


@pytest.fixture
async def environment(server: ApiServer, tmp_path: Path) -> dict[str, str]:
    await asyncio.to_thread(server.kubeconfig, tmp_path / "kubeconfig")
    # A home of its own: kubectl caches discovery there.
    return {**os.environ, "KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path)}


@pytest.fixture
async def kubectl(environment: dict[str, str]) -> Kubectl:
    async def run(*arguments: str, stdin: str = "", fails: bool = False, **more: str) -> str:
        pipe = asyncio.subprocess.PIPE
        program = await asyncio.create_subprocess_exec(
            "kubectl",
            *arguments,
            env={**environment, **more},
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(30):
            out, _ = await program.communicate(stdin.encode())
        assert (program.returncode != 0) is fails, out.decode()
        return out.decode()

    return run


@pytest.fixture
async def bound(kubectl: Kubectl) -> None:
    """Apply the manifest and play the provisioner."""
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    status = '{"status":{"phase":"Bound","capacity":{"storage":"300Gi"},"accessModes":["ReadWriteOnce"]}}'
    await kubectl("patch", "pvc", "qcfs-pvc", "--subresource=status", "--type=merge", "-p", status)


@pytest.fixture
async def watched(environment: dict[str, str], bound: None) -> AsyncIterator[asyncio.StreamReader]:
    """The output of `kubectl get pvc -w`, begun when the claim is bound."""
    assert bound is None
    program = await asyncio.create_subprocess_exec(
        "kubectl", "get", "pvc", "-w", "--no-headers", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    yield program.stdout
    program.terminate()
    await program.communicate()


GROW = '{"spec":{"resources":{"requests":{"storage":"400Gi"}}}}'


@pytest.mark.usefixtures("bound")
async def test_grow_and_watch(kubectl: Kubectl, watched: asyncio.StreamReader) -> None:
    """A patch and an edit grow the claim; `get -w` shows each change; a shrink is refused in the server's words."""

    async def line() -> list[str]:
        async with asyncio.timeout(20):
            return (await watched.readline()).decode().split()

    assert (await line())[:4] == ["qcfs-pvc", "Bound", "pv-1", "300Gi"]
    assert "patched" in await kubectl("patch", "pvc", "qcfs-pvc", "-p", GROW)
    assert (await line())[3] == "300Gi"
    status = '{"status":{"capacity":{"storage":"400Gi"}}}'
    await kubectl("patch", "pvc", "qcfs-pvc", "--subresource=status", "--type=merge", "-p", status)
    assert (await line())[3] == "400Gi"
    edited = await kubectl("edit", "pvc", "qcfs-pvc", KUBE_EDITOR="sed -i 's/storage: 400Gi$/storage: 500Gi/'")
    assert "edited" in edited
    assert "500Gi" in await kubectl("get", "pvc", "qcfs-pvc", "-o", "jsonpath={.spec.resources.requests.storage}")
    refused = await kubectl("patch", "pvc", "qcfs-pvc", "-p", GROW.replace("400", "100"), fails=True)
    assert "field can not be less than status.capacity" in refused
    condition = "--for=jsonpath={.status.phase}=Bound"
    assert "condition met" in await kubectl("wait", "pvc/qcfs-pvc", condition, "--timeout=10s")


@pytest.mark.usefixtures("bound")
async def test_describe_shows_events_and_users(kubectl: Kubectl) -> None:
    """`kubectl describe pvc` names the pod that uses the claim, and its events."""
    uid = await kubectl("get", "pvc", "qcfs-pvc", "-o", "jsonpath={.metadata.uid}")
    await kubectl("create", "-f", "-", stdin=EVENT.replace("UID", uid))
    shown = await kubectl("describe", "pvc", "qcfs-pvc")
    assert "VolumeResizeSuccessful" in shown
    assert "external-resizer csi-qcfsplugin" in shown
    assert "Used By:       db" in shown
    assert "VolumeResizeSuccessful" in await kubectl("get", "events")


@pytest.mark.usefixtures("bound")
async def test_apply_is_repeatable(kubectl: Kubectl) -> None:
    """Applying the same manifest again changes nothing, by client and by server; a typo is refused."""
    assert (await kubectl("apply", "-f", "-", stdin=MANIFEST)).count("unchanged") == 4
    await kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    version = "jsonpath={.metadata.resourceVersion}"
    before = await kubectl("get", "pvc", "qcfs-pvc", "-o", version)
    await kubectl("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    assert await kubectl("get", "pvc", "qcfs-pvc", "-o", version) == before
    typo = MANIFEST.replace("volumeName: pv-1", "volumeNam: pv-1").replace("qcfs-pvc", "other")
    assert 'unknown field "spec.volumeNam"' in await kubectl("apply", "-f", "-", stdin=typo, fails=True)


@pytest.mark.usefixtures("bound")
async def test_tables_and_names(kubectl: Kubectl) -> None:
    """Short names, wide tables and api-resources work; a missing object is said to be missing."""
    assert "300Gi" in await kubectl("get", "pvc,pv,sc,po", "-o", "wide")
    assert "persistentvolumeclaims" in await kubectl("api-resources")
    assert "not found" in await kubectl("get", "pvc", "nope", fails=True)
    assert "storage: 300Gi" in await kubectl("get", "pvc", "qcfs-pvc", "-o", "yaml")
    assert "PersistentVolumeClaim" in await kubectl("explain", "pvc")
    assert "v1.36.0" in await kubectl("version")


async def test_typed_commands_send_protobuf(kubectl: Kubectl) -> None:
    """Commands that post protobuf are understood: namespaces, secrets, roles, tokens and access reviews."""
    await kubectl("create", "namespace", "t")
    await kubectl("create", "secret", "generic", "s", "-n", "t", "--from-literal=password=p")
    assert await kubectl("get", "secret", "s", "-n", "t", "-o", "jsonpath={.data.password}") == "cA=="
    await kubectl("create", "configmap", "c", "-n", "t", "--from-literal=a=b")
    await kubectl("create", "serviceaccount", "sa", "-n", "t")
    assert (await kubectl("auth", "can-i", "list", "pods")).strip() == "yes"
    assert (await kubectl("auth", "can-i", "list", "pods", "--as", "bob", fails=True)).strip() == "no"
    await kubectl("create", "clusterrole", "r", "--verb=list", "--resource=pods")
    await kubectl("create", "clusterrolebinding", "r", "--clusterrole=r", "--user=bob")
    assert (await kubectl("auth", "can-i", "list", "pods", "--as", "bob")).strip() == "yes"
    assert "pods" in await kubectl("auth", "can-i", "--list", "--as", "bob")
    assert await kubectl("create", "token", "sa", "-n", "t")
    assert "resizer-dev-admin" in await kubectl("auth", "whoami")


@pytest.mark.usefixtures("bound")
async def test_delete_waits_for_finalizers(kubectl: Kubectl) -> None:
    """`kubectl delete` of a claim waits until its protection finalizer is taken away."""
    deleting = asyncio.create_task(kubectl("delete", "pvc", "qcfs-pvc"))
    await kubectl("wait", "pvc/qcfs-pvc", "--for=jsonpath={.metadata.deletionGracePeriodSeconds}=0", "--timeout=20s")
    assert not deleting.done()
    await kubectl("patch", "pvc", "qcfs-pvc", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert "deleted" in await deleting
    await kubectl("delete", "pod", "db", "--force", "--grace-period=0")
    await kubectl("delete", "sc", "csi-qcfs")
