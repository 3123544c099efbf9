import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from resizer.app import StartError
from resizer.core.verdict import classify
from resizer.csi.rules import load_known_rules, load_rules
from tests.component.pipeline.rig import GIB, is_grown, running_rig
from tests.scripted_driver import Answer, Plan

ROOT = Path(__file__).parents[3]
EBS_LIMIT = (
    'Could not resize volume "vol-1": unable to modify AWS volume "vol-1": operation error EC2: ModifyVolume, '
    "api error VolumeModificationRateExceeded: You've reached the maximum modification rate per volume limit."
)
CINDER_QUOTA = (
    'Could not resize volume "v" to size 20: Expected HTTP response code [202] when accessing [POST x], but got 413 '
    'instead: {"overLimit": {"code": 413, "message": "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot'
)
AZURE_ATTACHED = "Cannot resize disk d while it is attached to running VM /subscriptions/x"
LONGHORN_BUSY = "volume v invalid state detaching for controller volume expansion"
VSPHERE_SNAPSHOT = 'volume: 4b1e4fab with existing snapshots [snapshot_id:"4b1e"] cannot be expanded'
MESSAGES = [
    ("ebs.csi.aws.com", "INTERNAL", EBS_LIMIT, "rate-limited", 900),
    ("ebs.csi.aws.com", "INTERNAL", "IncorrectModificationState: it is OPTIMIZING", "rate-limited", 300),
    ("ebs.csi.aws.com", "RESOURCE_EXHAUSTED", "x VolumeModificationSizeLimitExceeded: y", "quota", 0),
    ("ebs.csi.aws.com", "INTERNAL", "api error InternalError: try again", "internal", 0),
    ("pd.csi.storage.gke.io", "RESOURCE_EXHAUSTED", "operation op failed (QUOTA_EXCEEDED): Quota", "quota", 0),
    ("pd.csi.storage.gke.io", "INTERNAL", "failed (RESOURCE_OPERATION_RATE_EXCEEDED): x", "rate-limited", 0),
    ("disk.csi.azure.com", "INTERNAL", AZURE_ATTACHED, "offline-required", 0),
    ("disk.csi.azure.com", "INTERNAL", "Only Disk CachingType 'None' is supported for disk with size", "infeasible", 0),
    ("cinder.csi.openstack.org", "INTERNAL", CINDER_QUOTA, "quota", 0),
    ("cinder.csi.openstack.org", "INTERNAL", "volume cannot be resized, when status is error", "internal", 0),
    ("rook-ceph.rbd.csi.ceph.com", "INTERNAL", "rbd: ret=-122, Disk quota exceeded", "quota", 0),
    ("rbd.csi.ceph.com", "ABORTED", "an operation with the given Volume ID x already exists", "transient", 0),
    ("csi.vsphere.vmware.com", "FAILED_PRECONDITION", VSPHERE_SNAPSHOT, "infeasible", 0),
    ("csi.vsphere.vmware.com", "FAILED_PRECONDITION", "Online expansion is not supported", "offline-required", 0),
    ("driver.longhorn.io", "INTERNAL", "cannot expand volume before replica scheduling success", "quota", 0),
    ("driver.longhorn.io", "FAILED_PRECONDITION", LONGHORN_BUSY, "transient", 0),
    ("topolvm.io", "INTERNAL", "not enough space", "quota", 0),
    ("topolvm.cybozu.com", "RESOURCE_EXHAUSTED", "no enough space left on VG: free=1, requested=2", "quota", 0),
]


@pytest.mark.parametrize(("driver", "code", "message", "class_", "retry_after_s"), MESSAGES)
def test_messages_of_known_drivers(driver, code, message, class_, retry_after_s):
    """What eight common drivers say in the field is understood without any setting."""
    failure = classify(code, message, load_known_rules().rules_of(driver))
    assert (failure.class_, failure.retry_after_s) == (class_, retry_after_s)


def test_each_rule_has_its_source():
    """Nobody has to believe a rule: each names where it is documented."""
    rules = [rule for _, rules in load_known_rules().entries for rule in rules]
    assert len(rules) >= 18
    assert all(rule.source.startswith("https://") for rule in rules)


def test_the_wheel_carries_the_rules(tmp_path):
    """An installed program finds them: the wheel has each file of config/drivers, and none else."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    folder = "resizer/csi/known_drivers/"
    with zipfile.ZipFile(wheel) as files:
        carried = {name.removeprefix(folder) for name in files.namelist() if name.startswith(folder)}
    assert carried == {path.name for path in (ROOT / "config" / "drivers").glob("*.yaml")}
    assert carried


def test_own_rules_go_first(tmp_path):
    """A user's rule for a known driver decides before the one that ships with the program."""
    (tmp_path / "mine.yaml").write_text(
        "driver: ebs.csi.aws.com\nrules: [{match: VolumeModificationRateExceeded, class: quota}]"
    )
    rules = load_rules(tmp_path).before(load_known_rules()).rules_of("ebs.csi.aws.com")
    assert classify("INTERNAL", EBS_LIMIT, rules).class_ == "quota"
    assert classify("INTERNAL", "RequestLimitExceeded", rules).class_ == "rate-limited"


async def test_a_limit_of_the_back_end_is_kept_to_over_a_restart(folder):
    """EBS says "not yet": one call, then 15 minutes of silence, which the next process keeps to as well."""
    answers = {"ControllerExpandVolume": (Answer(code="INTERNAL", message=EBS_LIMIT), Answer())}
    async with running_rig(folder, Plan(name="ebs.csi.aws.com", node_expansion_required=False, answers=answers)) as rig:
        rig.seed()
        rig.start()
        await rig.wait(lambda: "csi-resizer.dev/retry" in rig.claim()["metadata"].get("annotations", {}))
        await rig.wait(lambda: len(rig.logged("claim.looked_at")) == 1)
        assert 800 < rig.logged("claim.looked_at")[0]["retry_in_s"] <= 900
        await rig.stop()
        rig.start()
        await rig.wait(lambda: len(rig.logged("group.started")) == 2)
        await rig.wait_quiet(0.6)
        assert rig.sizes() == [5 * GIB]
        rig.ask("6Gi")
        await rig.wait(is_grown(rig, "6Gi"))
        # A change of the wish ends the wait. The new process does not know how the first attempt ended, so that is
        # settled first.
        assert rig.sizes() == [5 * GIB, 5 * GIB, 6 * GIB]


async def test_a_folder_of_own_rules(folder):
    """`--driver-rules` adds a user's rules for any driver; one that cannot be read stops the start with one line."""
    rules = folder / "rules"
    rules.mkdir()
    (rules / "mine.yaml").write_text("driver: '*.csi.example.com'\nrules: [{match: pool .* is full, class: quota}]")
    answers = {"ControllerExpandVolume": (Answer(code="INTERNAL", message="pool gold is full"),)}
    async with running_rig(folder, Plan(answers=answers)) as rig:
        rig.seed()
        rig.start(driver_rules=str(rules))
        await rig.wait(lambda: bool(rig.logged("claim.looked_at")))
        assert rig.logged("claim.looked_at")[0]["reason"] == "quota"
        await rig.stop()
        (rules / "mine.yaml").write_text("driver: x\nrules: [{match: '(', class: quota}]")
        rig.start(driver_rules=str(rules))
        with pytest.raises(StartError, match=r"mine\.yaml: rules\[0\]\.match") as refused:
            await rig.stop()
        assert refused.value.exit_code == 2
