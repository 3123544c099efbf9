"""deploy/install.yaml through the real kubectl: an API server takes it whole, twice, and gives it back.

On a real kube-apiserver (KUBEBUILDER_ASSETS) it is the whole file, and the admission policies are compiled. The
development API server serves no workloads: there it is every object of a kind that it knows.
"""

import asyncio
import os
import shutil

import pytest
import yaml

from resizer.devcluster.client import Endpoint
from tests.control_plane import ON_EACH_PLANE, ControlPlane, control_plane
from tests.unit.deploy.chart import read_all

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
DOCUMENTS = read_all("deploy/install.yaml")
UNKNOWN_TO_DEVELOPMENT = {"Deployment", "PodDisruptionBudget"}


async def _served_kinds(plane: ControlPlane) -> set[tuple[str, str]]:
    """(apiVersion, kind) of everything the server has, by its discovery."""
    found = set()
    for version in {document["apiVersion"] for document in DOCUMENTS}:
        group, _, _ = version.rpartition("/")
        path = f"/apis/{version}" if group else f"/api/{version}"
        listed = (await plane.client.call("GET", "/apis"))["groups"]
        known = {v["groupVersion"] for g in listed for v in g["versions"]}
        if group and version not in known:
            continue
        resources = (await plane.client.call("GET", path))["resources"]
        found |= {(version, r["kind"]) for r in resources}
    return found


async def _kubectl(home, *arguments: str, stdin: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        f"--kubeconfig={home / 'kubeconfig'}",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HOME": str(home)},
    )
    out, _ = await process.communicate(stdin.encode())
    assert process.returncode == 0, out.decode()
    return out.decode()


@ON_EACH_PLANE
async def test_kubectl_applies_the_manifest(tmp_path, plane):
    """Every object is created, a second apply changes nothing, and a policy comes back word for word."""
    async with control_plane(plane, tmp_path) as cluster:
        cluster.write_kubeconfig(tmp_path / "kubeconfig")
        served = await _served_kinds(cluster)
        wanted = [d for d in DOCUMENTS if (d["apiVersion"], d["kind"]) in served]
        missing = {d["kind"] for d in DOCUMENTS} - {d["kind"] for d in wanted}
        assert missing <= (UNKNOWN_TO_DEVELOPMENT if plane == "development" else set())
        text = yaml.safe_dump_all(wanted)
        # The cluster that has this manifest has kube-system: only this bare one may not.
        names = {n["metadata"]["name"] for n in (await cluster.client.list(Endpoint("", "v1", "namespaces"))).items}
        if "kube-system" not in names:
            await cluster.client.call("POST", "/api/v1/namespaces", body={"metadata": {"name": "kube-system"}})

        first = await _kubectl(tmp_path, "apply", "-f", "-", stdin=text)
        again = await _kubectl(tmp_path, "apply", "-f", "-", stdin=text)
        assert first.count(" created") == len(wanted)
        assert again.count(" unchanged") == len(wanted)

        policies = Endpoint("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", namespaced=False)
        [expected] = [
            d for d in wanted if d["kind"] == "ValidatingAdmissionPolicy" and d["metadata"]["name"] == "resizer-pods"
        ]
        stored = await cluster.client.get(policies, "resizer-pods")
        assert stored["spec"]["validations"] == expected["spec"]["validations"]
