"""`resizer explain` as a person runs it: the right first blocker, of real objects on the development API server."""

import json
import shutil

import pytest

from resizer.devcluster.client import CLAIMS
from tests.component.cli.stage import DRIVER, IN_PROGRESS, STORAGE

BIG = "y" * 1_000_000
HOSTILE = "evil\x1b[2Jline\nnext<script>" + "x" * 900


async def cause_of(stage, name, *arguments):
    found = await stage.call("explain", name, "-o", "json", *arguments)
    assert found.code == 0, found.err
    return json.loads(found.out)


async def unbound(stage):
    stage.server.create("", "persistentvolumeclaims", {
        "metadata": {"name": "data-0", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "csi-qcfs",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })  # fmt: skip
    return "not-bound", "no volume yet"


async def class_forbids(stage):
    stage.server.create(STORAGE, "storageclasses", {"metadata": {"name": "rigid"}, "provisioner": DRIVER})
    await stage.bound("data-0", class_="rigid")
    return "class-forbids", "allowVolumeExpansion"


async def quota_is_used_up(stage):
    await stage.bound("data-0")
    hard = {"requests.storage": "300Gi"}
    stage.server.create(
        "", "resourcequotas", {"metadata": {"name": "team", "namespace": "default"}, "spec": {"hard": hard}}
    )
    return "quota-exhausted", "300Gi of 300Gi"


async def old_volume(stage):
    source = {"rbd": {"monitors": ["m"], "image": "i"}}
    await stage.bound("data-0", to="400Gi", source=source)
    return "in-tree-unsupported", "rbd"


async def nobody_works(stage):
    await stage.bound("data-0", to="400Gi")
    return "no-controller", "no resizer has taken this claim up"


async def resizer_is_gone(stage):
    await stage.bound("data-0", to="400Gi", state=IN_PROGRESS)
    spec = {"holderIdentity": "resizer-7", "leaseDurationSeconds": 8, "renewTime": "2026-01-01T00:00:00.000000Z"}
    meta = {"name": "external-resizer-csi-qcfsplugin", "namespace": "kube-system"}
    stage.server.create("coordination.k8s.io", "leases", {"metadata": meta, "spec": spec})
    return "controller-away", "resizer-7"


async def secret_is_missing(stage):
    secret = {"name": "orain-test", "namespace": "default"}
    await stage.bound("data-0", to="400Gi", state=IN_PROGRESS, controllerExpandSecretRef=secret)
    return "secret-missing", "default/orain-test"


async def driver_refuses(stage):
    uid = await stage.bound("data-0", to="400Gi", state="ControllerResizeInfeasible")
    stage.event("data-0", uid, f"rpc error: code = OutOfRange desc = {HOSTILE}")
    return "infeasible", "evil"


async def volume_is_in_use(stage):
    uid = await stage.bound("data-0", to="400Gi", state=IN_PROGRESS)
    stage.pod("mysql-0", "data-0")
    stage.event("data-0", uid, "rpc error: code = FailedPrecondition desc = volume is published")
    return "in-use", "used by mysql-0"


async def nobody_mounts_it(stage):
    await stage.bound("data-0", to="400Gi", state="NodeResizePending")
    return "no-pod", "no pod uses the claim"


async def the_node_refuses(stage):
    await stage.bound("data-0", to="400Gi", state="NodeResizeInfeasible")
    stage.pod("mysql-0", "data-0")
    stage.server.create("", "nodes", {"metadata": {"name": "node-1"}})
    csi_node = {
        "metadata": {"name": "node-1"},
        "spec": {"drivers": [{"name": DRIVER, "nodeID": "n", "topologyKeys": []}]},
    }
    stage.server.create(STORAGE, "csinodes", csi_node)
    ready = [{"type": "Ready", "status": "True"}]
    await stage.client.call(
        "PATCH", "/api/v1/nodes/node-1/status", body={"status": {"conditions": ready}}, content_type=MERGE
    )
    running = {"status": {"phase": "Running"}}
    await stage.client.call("PATCH", "/api/v1/namespaces/default/pods/mysql-0/status", body=running, content_type=MERGE)
    condition = {"type": "NodeResizeError", "status": "True", "message": f"bad superblock {HOSTILE}{BIG}"}
    await stage.client.patch_status(CLAIMS, "data-0", {"conditions": [condition]}, namespace="default")
    return "node-refused", "bad superblock"


MERGE = "application/merge-patch+json"


@pytest.mark.parametrize(
    "situation",
    [
        unbound,
        class_forbids,
        quota_is_used_up,
        old_volume,
        nobody_works,
        resizer_is_gone,
        secret_is_missing,
        driver_refuses,
        volume_is_in_use,
        nobody_mounts_it,
        the_node_refuses,
    ],
)
async def test_the_first_blocker_is_named(stage, situation):
    """For each cause: its stable name, words that name the object, a next step, and the same in the text form."""
    cause, words = await situation(stage)
    found = await cause_of(stage, "data-0")
    assert (found["cause"], found["verdict"]) == (cause, "blocked")
    assert words in found["says"]
    shown = (await stage.call("explain", "pvc/data-0")).out
    assert f"Blocked ({cause}): " in shown
    assert found["next_step"] in shown
    assert "\x1b" not in shown
    assert all(len(line) < 1000 for line in shown.splitlines())


async def test_a_megabyte_of_message_is_bounded(stage):
    """A condition of a megabyte leaves `status` and `explain` with a few lines, in every form."""
    await the_node_refuses(stage)
    for command in (("explain", "data-0"), ("explain", "data-0", "-o", "yaml"), ("status", "-o", "wide")):
        found = await stage.call(*command)
        assert found.code == 0
        assert len(found.out) < 6000
        assert "\x1b" not in found.out


async def test_a_service_account_without_rights_is_named(stage):
    """With --service-account the rights that growing needs are asked about, and the missing ones listed."""
    await stage.bound("data-0", to="400Gi", state=IN_PROGRESS)
    found = await cause_of(stage, "data-0", "--service-account", "default/csi-resizer")
    assert found["cause"] == "forbidden"
    assert "patch persistentvolumes" in found["says"]


async def test_few_rights_leave_questions_open(stage):
    """Who may read claims only gets an answer all the same, with what was not seen beside it."""
    await stage.bound("data-0", to="400Gi", state=IN_PROGRESS)
    kubeconfig = await stage.person("jo", ["persistentvolumeclaims"])
    found = await cause_of(stage, "data-0", "--kubeconfig", kubeconfig)
    assert found["cause"] == "unknown"
    assert any("persistentvolumes" in line for line in found["unreadable"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("nobody",), 1), (("a", "-o", "wide"), 2), (("pod/a",), 2), (("a", "--service-account", "x"), 2)],
)
async def test_what_cannot_be_explained_is_one_line(stage, arguments, code):
    """A missing claim is exit code 1, wrong usage 2; one line each."""
    found = await stage.call("explain", *arguments)
    assert (found.code, found.out, found.err.count("\n")) == (code, "", 1)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
async def test_kubectl_finds_it(stage):
    """`kubectl volume-resize explain CLAIM` is this command."""
    await stage.bound("data-0")
    found = await stage.run("volume-resize", "explain", "data-0", program=("kubectl",))
    assert (found.code, "Nothing to do (nothing-asked)" in found.out) == (0, True)
