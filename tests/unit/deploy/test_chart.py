"""The Helm chart, rendered by real helm: valid for every Kubernetes we support, and saying what it should."""

import json
import re

import pytest
import yaml
from tools.render_manifests import CHART, ROOT, HelmError, run_helm

from resizer.cli.go_flags import parse_go_flags
from resizer.csi.rules import load_rules
from resizer.settings import load_settings
from tests.unit.deploy.chart import (
    DRIVER,
    IMAGE,
    NEEDS_HELM,
    SETS,
    VERSIONS,
    controllers,
    mistakes,
    of_kind,
    rendered,
    value_set,
)

pytestmark = NEEDS_HELM
EACH_SET = pytest.mark.parametrize("values", SETS, ids=[path.name.split(".")[0] for path in SETS])


@EACH_SET
def test_each_set_passes_helms_lint(values):
    """`helm lint --strict` has nothing against the chart with any of the six sets."""
    said = run_helm("lint", "--strict", str(CHART), f"--values={values}")
    assert "0 chart(s) failed" in said
    assert "WARNING" not in said


def test_there_are_six_sets_and_they_differ():
    """Each set is there to make something that the others do not."""
    assert len({json.dumps(rendered(values)) for values in SETS}) == 6


def test_every_set_is_valid_on_every_kubernetes_we_support():
    """Every object of every set passes the strict schema, 1.32 to the newest; a kind without a schema is a mistake."""
    everything = [document for values in SETS for document in rendered(values)]
    assert len(everything) > 80
    assert mistakes(everything, VERSIONS) == []


def test_a_mistake_would_be_found():
    """The check itself can fail: an unknown field, an unknown kind."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}}
    assert mistakes([account], VERSIONS[:1]) == []
    assert len(mistakes([{**account, "mispelled": 1}, {**account, "kind": "Mispelled"}], VERSIONS[:1])) == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ((), "image.repository is empty, and no image is published"),
        ((IMAGE,), "drivers is empty: name at least one"),
        ((IMAGE, 'drivers=[{"name": "a"}]'), '"a" must have either container'),
        (
            (
                IMAGE,
                'drivers=[{"name": "a", "container": {"image": "b"}, "hostPath": "/c"}]',
            ),
            '"a" must have either container',
        ),
        (
            (
                IMAGE,
                'drivers=[{"name": "a", "hostPath": "/b"}, {"name": "a", "hostPath": "/c"}]',
            ),
            '"a" is there twice',
        ),
        (
            (IMAGE, DRIVER, 'config={"nudge": false}'),
            '"nudge" is set by the chart: use nudge.enabled',
        ),
        (
            (IMAGE, DRIVER, 'config={"leader_election_namespace": "x"}'),
            "use drivers[].leaseNamespace",
        ),
        (
            (IMAGE, DRIVER, "serviceMonitor.enabled=true", "service.enabled=false"),
            "needs service.enabled",
        ),
        ((IMAGE, DRIVER, "http.debugAuthentication=true"), "needs http.tlsSecret"),
        (
            (IMAGE, DRIVER, 'secrets=[{"namespace": "a", "names": ["b"]}, {"namespace": "a", "names": ["c"]}]'),
            '"a" is there twice',
        ),
        ((IMAGE, DRIVER, "replicsa=3"), "additional properties 'replicsa' not allowed"),
        (
            (IMAGE, DRIVER, 'nudge={"enable": true}'),
            "additional properties 'enable' not allowed",
        ),
        ((IMAGE, DRIVER, 'replicas="two"'), "got string, want integer"),
    ],
)
def test_what_cannot_work_is_refused_in_words(changes, text):
    """Helm renders nothing, and the message names the value and what to do."""
    with pytest.raises(HelmError) as error:
        rendered(None, *changes)
    assert text in str(error.value).replace('\\"', '"')


@EACH_SET
def test_the_program_takes_its_arguments_and_its_configuration(values, tmp_path):
    """Flags and ConfigMap of each set are settings that `resizer run` accepts, and they say what the values say."""
    documents = rendered(values)
    given = yaml.safe_load(values.read_text())
    config = {}
    for config_map in of_kind(documents, "ConfigMap"):
        for name, text in config_map["data"].items():
            (tmp_path / name).write_text(text)
            config[name] = text
    (tmp_path / "rules").mkdir()
    for name in given.get("driverRules", {}):
        (tmp_path / "rules" / name).write_text(config[name])
        assert load_rules(tmp_path / "rules").rules_of("csi-qcfsplugin")
    for deployment, pod, ours in controllers(documents):
        assert ours["args"][0] == "run"
        flags = parse_go_flags([a.replace("/etc/resizer", str(tmp_path)) for a in ours["args"][1:]])
        settings = load_settings(flags.settings, file=flags.config)
        assert settings.leader_election
        assert pod["terminationGracePeriodSeconds"] > settings.shutdown_grace + 3
        assert settings.nudge is given.get("nudge", {}).get("enabled", True)
        assert settings.http_address == f":{given.get('http', {}).get('port', 8080)}"
        assert settings.node_mode == ("agent" if given.get("nodeAgent") else "kubelet")
        assert settings.workers == given.get("config", {}).get("workers", 100)
        mounts = {m["mountPath"] for m in ours["volumeMounts"]}
        assert {address.rpartition("/")[0] for address in settings.csi_address} <= mounts
        assert settings.leader_election_namespace == deployment["metadata"]["labels"]["csi-resizer.dev/leases"]


@EACH_SET
def test_every_volume_is_there_and_mounted_where_the_driver_puts_its_socket(values):
    """No mount without a volume, no volume without a mount; a driver's container shares a volume with ours."""
    for _, pod, ours in controllers(rendered(values)):
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounted = [{m["name"] for m in container.get("volumeMounts", [])} for container in pod["containers"]]
        assert set.union(*mounted) == volumes
        for container in pod["containers"]:
            if container is not ours:
                assert {m["name"] for m in container["volumeMounts"]} & {m["name"] for m in ours["volumeMounts"]}


USERS = {
    "container": 65532,
    "minimal": 65532,
    "monitored": 65532,
    "node-agent": 65532,
    "host-path": 0,
    "overrides": 0,
}


@EACH_SET
def test_pods_have_the_least_they_can_do_with(values):
    """Read-only root, no capability, no escalation, seccomp; root only where root bound the socket."""
    for _, pod, ours in controllers(rendered(values)):
        context = ours["securityContext"]
        assert context["runAsUser"] == context["runAsGroup"] == USERS[values.name.split(".")[0]]
        assert context["runAsNonRoot"] is (context["runAsUser"] != 0)
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {p["httpGet"]["path"] for p in (ours["livenessProbe"], ours["readinessProbe"])} == {
            "/healthz",
            "/readyz",
        }
        assert ours["resources"]["requests"]


def test_a_drivers_container_fits_the_restricted_profile():
    """A namespace that enforces Pod Security `restricted` admits the pod, the driver's container included."""
    [(_, pod, _)] = controllers(rendered(value_set("container")))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert all(set(volume) - {"name"} <= {"emptyDir", "configMap", "secret"} for volume in pod["volumes"])
    assert len(pod["containers"]) == 2
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_user_that_is_told_wins():
    """The value runAsUser is taken as it stands, 0 included, for us and for the pod's volumes."""
    changes = (IMAGE, DRIVER)
    [(_, pod, ours)] = controllers(rendered(None, *changes, "runAsUser=1234"))
    assert ours["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1234
    [(_, pod, ours)] = controllers(rendered(None, *changes, "runAsUser=0"))
    assert ours["securityContext"]["runAsUser"] == 0
    assert "fsGroup" not in pod["securityContext"]


@EACH_SET
def test_leases_may_be_written_exactly_where_they_lie(values):
    """One Role for each lease namespace, one Deployment each; the FlowSchema names the same namespaces."""
    documents = rendered(values)
    spaces = {
        args.partition("=")[2] for _, _, ours in controllers(documents) for args in ours["args"] if "on-name" in args
    }
    assert len(spaces) == len(of_kind(documents, "Deployment"))
    if of_kind(documents, "Role"):
        roles = [r for r in of_kind(documents, "Role") if r["rules"][0]["resources"] == ["leases"]]
        assert {role["metadata"]["namespace"] for role in roles} == spaces
    for schema in of_kind(documents, "FlowSchema"):
        [rule] = schema["spec"]["rules"]
        assert set(rule["resourceRules"][0]["namespaces"]) == spaces
        assert schema["spec"]["priorityLevelConfiguration"]["name"] == "leader-election"


@EACH_SET
def test_releases_of_one_name_in_two_namespaces_share_nothing(values):
    """Cluster-scoped objects, and roles and dashboards in other namespaces, are named after the release's own, too."""
    spread = ("dashboards.enabled=true", 'dashboards.namespace="monitoring"')
    one, other = ({_identity(d) for d in rendered(values, *spread, namespace=name)} for name in ("storage", "backup"))
    assert one & other == set()


def test_a_release_named_like_its_namespace_adds_nothing_to_its_names():
    """As in deploy/install.yaml: one word says both, and what is installed keeps its name."""
    [role] = of_kind(rendered(value_set("container"), namespace="resizer"), "ClusterRole")
    assert role["metadata"]["name"] == "resizer"


def _identity(document):
    meta = document["metadata"]
    return document["kind"], meta.get("namespace"), meta["name"]


def test_without_the_nudge_its_right_and_its_policy_are_gone():
    """nudge.enabled=false leaves no right to pods/status, no policy, and tells the program."""
    for values, has in ((value_set("minimal"), False), (value_set("container"), True)):
        documents = rendered(values)
        [role] = of_kind(documents, "ClusterRole")
        assert any("pods/status" in rule["resources"] for rule in role["rules"]) is has
        assert bool(of_kind(documents, "ValidatingAdmissionPolicy")) is has
        assert bool(of_kind(documents, "ValidatingAdmissionPolicyBinding")) is has
        assert all(("--nudge=false" in ours["args"]) is not has for _, _, ours in controllers(documents))


def test_the_policies_bind_each_account_that_writes():
    """Claims are written by the agents as well, pods by the pipeline alone; a release of another name binds its own."""
    ours, agents = (f"'system:serviceaccount:storage:{name}'" for name in ("resizer", "resizer-node"))
    for values, on_claims in ((value_set("container"), [ours]), (value_set("node-agent"), [ours, agents])):
        found = {
            policy["metadata"]["name"]: policy["spec"]["matchConditions"][0]["expression"].partition(" in ")[2]
            for policy in of_kind(rendered(values), "ValidatingAdmissionPolicy")
        }
        assert found == {"resizer.storage-pods": f"[{ours}]", "resizer.storage-claims": f"[{','.join(on_claims)}]"}
    [expression] = {
        condition["expression"]
        for policy in of_kind(rendered(value_set("overrides")), "ValidatingAdmissionPolicy")
        for condition in policy["spec"]["matchConditions"]
    }
    assert expression.endswith("['system:serviceaccount:storage:existing']")


def test_secrets_are_readable_in_the_namespaces_that_are_listed():
    """A Role in each, narrowed to the names given; no right to secrets anywhere else, for us or for the agents."""
    roles = of_kind(rendered(value_set("host-path")), "Role")
    found = {r["metadata"]["namespace"]: r["rules"] for r in roles if r["metadata"]["name"].endswith("-secrets")}
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    assert found == {"vault": [{**rule, "resourceNames": ["credentials"]}], "storage": [rule]}
    agents = rendered(value_set("node-agent"))
    [binding] = [b for b in of_kind(agents, "RoleBinding") if b["metadata"]["name"].endswith("-node-secrets")]
    assert (binding["metadata"]["namespace"], binding["subjects"][0]["name"]) == ("vault", "resizer-node")
    for role in of_kind(agents, "ClusterRole"):
        assert not any("secrets" in rule["resources"] for rule in role["rules"])


def test_what_people_override_arrives():
    """Placement, pull secrets, names, labels, environment and extra flags reach the pod as they stand in the values."""
    values = value_set("overrides")
    given = yaml.safe_load(values.read_text())
    [(deployment, pod, ours)] = controllers(rendered(values))
    for key in ("affinity", "nodeSelector", "tolerations", "topologySpreadConstraints", "priorityClassName"):
        assert pod[key] == given[key]
    assert pod["imagePullSecrets"] == given["imagePullSecrets"]
    assert pod["serviceAccountName"] == "existing"
    assert pod["hostNetwork"] is True
    assert (deployment["metadata"]["name"], deployment["spec"]["replicas"]) == ("volume-grower", 3)
    template = deployment["spec"]["template"]["metadata"]
    assert given["podLabels"].items() <= template["labels"].items()
    assert given["podAnnotations"].items() <= template["annotations"].items()
    assert given["extraEnv"][0] in ours["env"]
    assert ours["args"][-1] == "-v=4"
    assert {"serviceaccounts", "clusterroles"}.isdisjoint(d["kind"].lower() + "s" for d in rendered(values))


def test_the_values_that_the_page_shows_work(tmp_path):
    """The two examples of docs/install.md are values that the chart takes, and the first runs without root."""
    page = (ROOT / "docs/install.md").read_text()
    shown = re.findall(r"```yaml\n((?:# values.yaml\n|drivers:).*?)```", page, re.DOTALL)
    assert len(shown) == 2
    for text, user in zip(shown, (65532, 0), strict=True):
        values = tmp_path / f"as-{user}.values.yaml"
        values.write_text(text)
        documents = rendered(values) if "image" in yaml.safe_load(text) else rendered(values, IMAGE)
        [deployment] = of_kind(documents, "Deployment")
        assert mistakes(list(documents), VERSIONS[-1:]) == []
        ours = deployment["spec"]["template"]["spec"]["containers"][0]
        assert (ours["name"], ours["securityContext"]["runAsUser"]) == ("resizer", user)


def test_a_changed_setting_restarts_the_pods():
    """Settings are read at the start: another content of the ConfigMap is another pod template."""
    base = value_set("overrides")
    templates = [
        next(controllers(rendered(base, *more)))[0]["spec"]["template"] for more in ((), ("config.workers=51",))
    ]
    assert templates[0] != templates[1]


def test_a_driver_added_at_the_end_renames_nothing():
    """A second lease namespace makes a second Deployment; the first keeps its name and its selector."""
    one = rendered(
        value_set("host-path"), 'drivers=[{"name": "one", "hostPath": "/a", "leaseNamespace": "kube-system"}]'
    )
    two = rendered(value_set("host-path"))
    names = [[d["metadata"]["name"] for d in of_kind(documents, "Deployment")] for documents in (one, two)]
    assert names == [["resizer"], ["resizer", "resizer-storage"]]
    selectors = [d["spec"]["selector"] for d in of_kind(two, "Deployment")]
    assert selectors[0] == of_kind(one, "Deployment")[0]["spec"]["selector"] != selectors[1]


def test_a_driver_whose_lease_moves_can_be_upgraded():
    """The lease's namespace is not part of a Deployment's selector, which cannot be changed; nor of its name."""
    moved = [
        of_kind(
            rendered(None, IMAGE, f'drivers=[{{"name": "a", "hostPath": "/a", "leaseNamespace": "{where}"}}]'), kind
        )
        for where in ("kube-system", "elsewhere")
        for kind in ("Deployment", "PodDisruptionBudget")
    ]
    before, after = moved[:2], moved[2:]
    for [old], [new] in zip(before, after, strict=True):
        assert old["metadata"]["name"] == new["metadata"]["name"]
        assert old["spec"]["selector"] == new["spec"]["selector"]
        pods = before[0][0]["spec"]["template"]["metadata"]["labels"]
        assert old["spec"]["selector"]["matchLabels"].items() <= pods.items()


def _described(text: str) -> tuple[set[str], set[str]]:
    """Keys of the first two levels of values.yaml, and those with a comment right above."""
    keys, commented, above, parent = set(), set(), False, ""
    for line in text.splitlines():
        if found := re.match(r"^(  )?([a-zA-Z]+):", line):
            parent = parent if found[1] else found[2]
            name = f"{parent}.{found[2]}" if found[1] else found[2]
            keys.add(name)
            if above:
                commented.add(name)
        above = line.lstrip().startswith("#") and not line.startswith("# ---")
    return keys, commented


AS_IN_A_POD = ("strategy.", "securityContext.", "resources.", "livenessProbe.", "readinessProbe.")


def test_every_value_is_described_and_has_a_schema():
    """Each key has a comment above it, and the strict schema knows it."""
    keys, commented = _described((CHART / "values.yaml").read_text())
    assert {k for k in keys - commented if not k.startswith(AS_IN_A_POD)} == set()
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) == set(schema) - {"global"}
    for key in keys:
        parent, _, child = key.partition(".")
        properties = schema[parent].get("properties")
        assert not child or properties is None or child in properties
