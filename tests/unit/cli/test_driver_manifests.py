from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from resizer.cli.check_config import shown
from resizer.cli.go_flags import parse_go_flags
from resizer.cli.notices import find_notices
from resizer.settings import SettingsError, load_settings

ROOT = Path(__file__).parents[3]
FILE = ROOT / "tests" / "data" / "driver-manifests.yaml"
SIDECAR = ROOT / "deploy" / "examples" / "sidecar.yaml"
GUIDE = ROOT / "docs" / "migrating-from-external-resizer.md"
MANIFESTS = yaml.safe_load(FILE.read_text())


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["driver"])
def test_the_flags_of_public_drivers_start_resizer_as_they_stand(manifest):
    """A driver's own manifest needs no other change than the image; what we refuse on purpose is refused by name."""
    flags = parse_go_flags(manifest["args"])
    if "refused" in manifest:
        with pytest.raises(SettingsError, match=manifest["refused"]):
            load_settings(flags.settings)
        flags.settings["feature_gates"] = flags.settings["feature_gates"].replace(manifest["refused"], "").strip(",")
    settings = load_settings(flags.settings)
    given = {arg.lstrip("-").partition("=")[0] for arg in manifest["args"]}
    assert {name.replace("_", "-") for name in flags.settings} == given - set(flags.without_effect)
    assert settings.leader_election == ("leader-election" in given)


def test_values_of_a_manifest_arrive():
    """VSphere's and AWS's lines are read to the value: durations in seconds, rates, switches."""
    by_name = {manifest["driver"]: manifest["args"] for manifest in MANIFESTS}
    vsphere = load_settings(parse_go_flags(by_name["vSphere"]).settings)
    assert (vsphere.timeout, vsphere.leader_election_lease_duration, vsphere.leader_election_retry_period) == (
        300,
        120,
        30,
    )
    assert (vsphere.kube_api_qps, vsphere.kube_api_burst, vsphere.v) == (100, 100, 4)
    aws = load_settings(parse_go_flags(by_name["AWS EBS"]).settings)
    assert (aws.retry_interval_max, aws.workers, aws.handle_volume_inuse_error) == (1800, 100, False)


def test_what_has_no_effect_is_said_of_a_manifest():
    """Longhorn turns a gate off that is always on here: one line says so. Its other flags say nothing."""
    flags = parse_go_flags(next(manifest["args"] for manifest in MANIFESTS if manifest["driver"] == "Longhorn"))
    notices = find_notices(load_settings(flags.settings), flags.without_effect, {})
    assert [(notice.event, notice.subject) for notice in notices if not notice.is_warning] == [
        ("gate.without_effect", "RecoverVolumeExpansionFailure=false")
    ]


def test_the_table_holds_at_least_ten_drivers_with_their_sources():
    """Each line names the repository and the file it is from."""
    assert len({manifest["driver"] for manifest in MANIFESTS}) >= 10
    assert all(
        manifest["repository"].count("/") == 1 and manifest["file"] and manifest["copy"] for manifest in MANIFESTS
    )


@pytest.mark.parametrize("version", ["1.32", "1.36"])
def test_the_example_of_a_sidecar_is_valid_and_starts(version):
    """The example is what a cluster takes, its arguments are what we take, and its grace outlasts ours."""
    documents = list(yaml.safe_load_all(SIDECAR.read_text()))
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    deployment, role, binding = documents
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    flags = parse_go_flags([arg.replace("$(ADDRESS)", "/csi/csi.sock") for arg in container["args"]])
    settings = load_settings(flags.settings)
    assert find_notices(settings, flags.without_effect, {}) == []
    assert pod["terminationGracePeriodSeconds"] > settings.shutdown_grace
    assert settings.http_endpoint == f":{container['ports'][0]['containerPort']}"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"][0]["name"] == pod["serviceAccountName"]


def test_the_guide_tells_the_defaults_that_differ_from_the_peers():
    """What the migration guide says of our defaults is what the settings say."""
    rows = [line.split("|") for line in GUIDE.read_text().splitlines() if line.startswith("| `--")]
    ours = {row[1].strip(): row[3].strip() for row in rows}
    defaults = load_settings({})
    election = [f"leader-election-{part}" for part in ("lease-duration", "renew-deadline", "retry-period")]
    for flag in ("workers", "timeout", *election):
        assert ours[f"`--{flag}`"] == shown(flag.replace("-", "_"), getattr(defaults, flag.replace("-", "_")))
