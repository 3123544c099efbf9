"""What the image's smoke run stands on: the reference driver, the development cluster, and a claim with a pod.

They run outside the image, from this work tree's environment. The driver keeps ext4 images in plain files, so that no
loop device is needed. At the end the cluster goes first: its kubelet unpublishes the volume while the driver is there.
"""

import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

CLAIM: Final = "smoke"
_NODE: Final = "node-1"
_READY_S: Final = 60.0
_CLASS: Final = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "csi-qcfs"},
    "provisioner": "csi-qcfsplugin",
    "allowVolumeExpansion": True,
}
_CLAIM: Final = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": CLAIM},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "csi-qcfs",
        "resources": {"requests": {"storage": "1Gi"}},
    },
}
_POD: Final = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "user-of-smoke"},
    "spec": {
        "containers": [{"name": "db", "image": "db", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
    },
}


class Cluster:
    """The development cluster, as its kubeconfig tells."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._server: str = cluster["server"]
        self._token: str = user["token"]
        # Loopback, to a server that we started ourselves a moment ago.
        self._tls = ssl._create_unverified_context()  # noqa: S323, SLF001 - see above

    def create(self, path: str, document: dict[str, Any]) -> None:
        """Post an object."""
        self._request(path, json.dumps(document).encode())

    def claim(self) -> dict[str, Any]:
        """Read the claim."""
        return self._request(f"/api/v1/namespaces/default/persistentvolumeclaims/{CLAIM}", None)

    def _request(self, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._server + path, data=body, headers=headers)  # noqa: S310 - https, ours
        with urllib.request.urlopen(request, timeout=10, context=self._tls) as answer:  # noqa: S310 - likewise
            document: dict[str, Any] = json.load(answer)
            return document


def wait_until(condition: Callable[[], object], what: str, *, within_s: float = _READY_S) -> float:
    """Wait for a condition of another process; return the seconds it took, or raise TimeoutError with `what`."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > within_s:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - start


@contextmanager
def stage(work: Path, sockets: Path) -> Iterator[Cluster]:
    """Start driver and cluster, create the claim and its pod, and wait until the claim is bound."""
    socket, kubeconfig = sockets / "socket", sockets / "kubeconfig"
    driver = ["--endpoint", f"unix://{socket}", "--state-dir", str(work / "volumes"), "--node-id", _NODE]
    cluster_flags = ["--kubeconfig-out", str(kubeconfig), "--csi-address", str(socket), "--node", _NODE]
    with _program(work, "driver", *driver, "--backend", "image"):
        wait_until(socket.exists, "the driver's socket")
        with _program(work, "dev", *cluster_flags, "--state-dir", str(work / "kubelet")):
            wait_until(kubeconfig.exists, "the development cluster's kubeconfig")
            cluster = Cluster(kubeconfig)
            cluster.create("/apis/storage.k8s.io/v1/storageclasses", _CLASS)
            cluster.create("/api/v1/namespaces/default/persistentvolumeclaims", _CLAIM)
            cluster.create("/api/v1/namespaces/default/pods", _POD)
            wait_until(lambda: cluster.claim()["status"].get("phase") == "Bound", "the claim is bound")
            # Whoever runs as 65532 needs both; the token is that of a cluster that ends with us.
            kubeconfig.chmod(0o644)
            socket.chmod(0o666)
            yield cluster


@contextmanager
def _program(work: Path, name: str, *arguments: str) -> Iterator[None]:
    """Run a command of this work tree beside the block, its output in a file that is shown if the block fails."""
    log = work / f"{name}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "resizer.cli.main", name, *arguments]
        with subprocess.Popen(command, stdout=output, stderr=output) as process:  # noqa: S603 - our own program
            try:
                yield
            except BaseException:
                sys.stderr.write(f"--- {name}\n{log.read_text()[-4000:]}")
                raise
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
