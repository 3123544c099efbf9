"""The committed manifests: current, valid without helm at hand, and accepted by an API server through kubectl."""

import pytest
import yaml
from tools.render_manifests import HEADERS, ROOT, render

from resizer.cli.go_flags import parse_go_flags
from resizer.settings import load_settings
from tests.unit.deploy.chart import NEEDS_HELM, VERSIONS, mistakes, of_kind, read_all

INSTALL = "deploy/install.yaml"
AGENT = "deploy/examples/node-agent.yaml"
EACH_FILE = pytest.mark.parametrize("path", sorted(HEADERS))


@NEEDS_HELM
@EACH_FILE
def test_the_committed_file_is_what_the_chart_makes(path):
    """`make manifests` would change nothing: the chart is the one source."""
    assert (ROOT / path).read_text() == render(path), "run `make manifests` and commit what it writes"


@EACH_FILE
def test_the_file_is_valid_on_every_kubernetes_we_support(path):
    """Every object passes the strict schema of 1.32 to the newest, and none is a custom resource."""
    documents = list(read_all(path))
    assert mistakes(documents, VERSIONS) == []
    assert not {"ServiceMonitor", "PrometheusRule"} & {document["kind"] for document in documents}


@EACH_FILE
def test_nothing_of_helm_is_left(path):
    """Who applies the file has no Helm: none of its labels, notes or template leftovers is in it."""
    text = (ROOT / path).read_text()
    assert not {word for word in ("helm.sh", "managed-by", "# Source:", "{{", "<no value>") if word in text}


def test_install_brings_its_namespace_first_and_stays_in_it():
    """The Namespace is the first document; everything else of ours is in it, but for the lease's Role."""
    first, *rest = read_all(INSTALL)
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "resizer")
    elsewhere = {
        (d["kind"], d["metadata"]["namespace"]) for d in rest if d["metadata"].get("namespace", "resizer") != "resizer"
    }
    assert elsewhere == {("Role", "kube-system"), ("RoleBinding", "kube-system")}


def test_install_binds_what_it_names():
    """Each binding points at a role and an account of the file; each Deployment at an account; each policy is bound."""
    documents = read_all(INSTALL)
    there = {(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in documents}
    for binding in of_kind(documents, "RoleBinding") + of_kind(documents, "ClusterRoleBinding"):
        ref, space = binding["roleRef"], binding["metadata"].get("namespace", "")
        assert (ref["kind"], space if ref["kind"] == "Role" else "", ref["name"]) in there
        [subject] = binding["subjects"]
        assert (subject["kind"], subject["namespace"], subject["name"]) in there
    for deployment in of_kind(documents, "Deployment"):
        assert ("ServiceAccount", "resizer", deployment["spec"]["template"]["spec"]["serviceAccountName"]) in there
    bound = {b["spec"]["policyName"] for b in of_kind(documents, "ValidatingAdmissionPolicyBinding")}
    assert bound == {p["metadata"]["name"] for p in of_kind(documents, "ValidatingAdmissionPolicy")}
    assert len(bound) == 2


def test_install_says_what_has_to_be_replaced():
    """Image and socket folder are names at example.com; the header tells both exactly as they stand below it."""
    text = (ROOT / INSTALL).read_text()
    header, _, body = text.partition("---\n")
    [deployment] = of_kind(read_all(INSTALL), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    for placeholder in (pod["containers"][0]["image"], pod["volumes"][0]["hostPath"]["path"]):
        assert "example.com" in placeholder
        assert f"  {placeholder} " in header
    assert body.count("example.com") == 2


def test_install_runs_with_settings_that_are_accepted():
    """The flags of its one container are settings of `resizer run`, with a lease where the peer has it."""
    [deployment] = of_kind(read_all(INSTALL), "Deployment")
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    settings = load_settings(parse_go_flags(args[1:]).settings)
    assert (args[0], settings.leader_election_namespace, settings.leader_election) == ("run", "kube-system", True)
    assert settings.nudge


def test_the_agents_file_has_the_agent_alone():
    """Account, rights, DaemonSet and the Service to scrape it, in kube-system, without a right to secrets."""
    documents = read_all(AGENT)
    kinds = [d["kind"] for d in documents]
    assert kinds == ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Service", "DaemonSet"]
    assert {d["metadata"].get("namespace", "kube-system") for d in documents} == {"kube-system"}
    assert "secrets" not in yaml.safe_dump(of_kind(documents, "ClusterRole"))
