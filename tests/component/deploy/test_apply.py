"""deploy/install.yaml through the real kubectl: an API server takes it whole, twice, and gives it back.

On a real kube-apiserver (KUBEBUILDER_ASSETS) it is the whole file, and the admission policies are compiled. The
development API server serves no workloads: there it is every object of a kind that it knows.
"""

import asyncio
import os
import re
import shutil
import subprocess

import pytest
import yaml
from tools.render_manifests import ROOT

from resizer.devcluster.client import Endpoint
from tests.control_plane import ON_EACH_PLANE, ControlPlane, control_plane
from tests.unit.deploy.chart import of_kind, read_all

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
DOCUMENTS = read_all("deploy/install.yaml")
UNKNOWN_TO_DEVELOPMENT = {"Deployment", "PodDisruptionBudget"}
VERSIONS = ("get", "-f", "-", "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.resourceVersion}, {end}")


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
        first = await _kubectl(tmp_path, "apply", "-f", "-", stdin=text)
        versions = await _kubectl(tmp_path, *VERSIONS, stdin=text)
        assert len(versions.split()) == 2 * len(wanted)
        await _kubectl(tmp_path, "apply", "-f", "-", stdin=text)
        assert first.count(" created") == len(wanted)
        # Not what kubectl says: it replaces the selector of a disruption budget by itself, and calls that "configured".
        assert await _kubectl(tmp_path, *VERSIONS, stdin=text) == versions

        policies = Endpoint("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", namespaced=False)
        [expected] = [
            d for d in wanted if d["kind"] == "ValidatingAdmissionPolicy" and d["metadata"]["name"] == "resizer-pods"
        ]
        stored = await cluster.client.get(policies, "resizer-pods")
        assert stored["spec"]["validations"] == expected["spec"]["validations"]


INSTALL_PAGE = (ROOT / "docs/install.md").read_text()


def _is_ready_for(text: str) -> None:
    documents = tuple(yaml.safe_load_all(text))
    assert len(documents) == len(DOCUMENTS)
    [deployment] = of_kind(documents, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.your.org/resizer:0.1.0"
    assert pod["volumes"][0]["hostPath"]["path"] == "/var/lib/kubelet/plugins/your.driver"
    assert "example.com" not in re.sub("(?m)^#.*$", "", text)


def test_the_pages_kustomization_replaces_both_placeholders(tmp_path):
    """What docs/install.md shows goes through `kubectl kustomize`, and leaves no placeholder."""
    [shown] = re.findall(r"```yaml\n(# kustomization.yaml\n.*?)```", INSTALL_PAGE, re.DOTALL)
    (tmp_path / "kustomization.yaml").write_text(shown)
    (tmp_path / "install.yaml").write_text((ROOT / "deploy/install.yaml").read_text())
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _is_ready_for(done.stdout)


def test_the_pages_sed_replaces_both_placeholders():
    """The one-liner of docs/install.md does the same."""
    [script] = re.findall(r"^sed '(.*?)' deploy/install.yaml", INSTALL_PAGE, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        ["sed", script, str(ROOT / "deploy/install.yaml")], capture_output=True, text=True, check=True
    )
    _is_ready_for(done.stdout)
