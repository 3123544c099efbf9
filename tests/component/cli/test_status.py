"""`resizer status` as a process, on the development API server."""

import json
import shutil
import signal

import pytest
import yaml

from resizer.devcluster.client import CLAIMS, NAMESPACES
from tests.component.cli.stage import IN_PROGRESS, ended, line_of

GIB = 2**30
HOSTILE = "evil\x1b[2Jline\nnext<script>" + "x" * 900


async def test_the_table_shows_what_grows_and_nothing_else(stage):
    """One line a growing claim, in kubectl's form; what is done or only bound is not listed, -A and -l choose."""
    uid = await stage.bound("data-0", to="400Gi", state=IN_PROGRESS, labels={"app": "db"})
    await stage.bound("idle")
    await stage.client.create(NAMESPACES, {"metadata": {"name": "other"}})
    await stage.bound("far", to="310Gi", namespace="other")
    stage.event("data-0", uid, "rpc error: code = Aborted desc = busy", count=3)
    found = await stage.call("status")
    head, *lines = found.out.splitlines()
    assert found.code == 0
    assert head.split() == ["NAMESPACE", "NAME", "DRIVER", "FROM", "TO", "PHASE", "AGE", "RETRIES", "NEXT", "REASON"]
    assert [line.split()[:6] for line in lines] == [
        ["default", "data-0", "csi-qcfsplugin", "300Gi", "400Gi", "Controller"]
    ]
    assert lines[0].split()[7:] == ["3", "-", "transient"]
    everywhere = await stage.call("status", "-A", "-o=name")
    assert everywhere.out.split() == ["persistentvolumeclaim/data-0", "persistentvolumeclaim/far"]
    assert "far" not in (await stage.call("status", "-A", "-l", "app=db", "-owide")).out
    nothing = await stage.call("status", "-n", "kube-system")
    assert (nothing.code, nothing.out) == (0, "")
    assert "Nothing is being resized in namespace kube-system" in nothing.err


async def test_hostile_messages_stay_text(stage):
    """A driver's escape sequences, newlines and length do no harm in any form of output."""
    uid = await stage.bound("data-0", to="400Gi", state=IN_PROGRESS)
    stage.event("data-0", uid, f"rpc error: code = Internal desc = {HOSTILE}")
    for form in ("wide", "json", "yaml"):
        out = (await stage.call("status", "-o", form)).out
        assert "evil" in out
        assert "\x1b" not in out
        assert len(out) < 3000
        if form == "wide":
            assert len(out.splitlines()) == 2
    item = json.loads((await stage.call("status", "-o", "json")).out)["items"][0]
    assert (item["fromBytes"], item["toBytes"], item["class"]) == (300 * GIB, 400 * GIB, "internal")
    assert yaml.safe_load((await stage.call("status", "data-0", "-o", "yaml")).out)["items"][0] == item


async def test_watching_prints_each_change_once(stage):
    """`-w` prints what is there, then each change, and the end of a growth."""
    await stage.bound("data-0", to="400Gi", state=IN_PROGRESS)
    process = await stage.start("status", "-w")
    await line_of(process, "Controller")
    await stage.set_state("data-0", "NodeResizePending", "400Gi")
    await line_of(process, "NodePending")
    await stage.finish("data-0", "400Gi")
    assert "400Gi" in await line_of(process, "Done")


async def test_one_claim_is_waited_for_until_it_has_grown(stage):
    """For one claim: each phase is told, exit 0 when it has what it asks for, and at once when it has it already."""
    await stage.bound("data-0", to="400Gi")
    process = await stage.start("status", "pvc/data-0")
    await line_of(process, "from 300Gi to 400Gi: Asked")
    await stage.set_state("data-0", IN_PROGRESS, "400Gi")
    await line_of(process, "Controller")
    await stage.finish("data-0", "400Gi")
    found = await ended(process)
    assert found.code == 0
    assert 'claim "data-0" has 400Gi' in found.out
    assert (await stage.call("status", "data-0")).code == 0


async def test_a_wait_that_cannot_end_well_exits_with_1(stage):
    """Refused, timed out, deleted and missing all end with exit code 1 and one line that says which."""
    uid = await stage.bound("refused", to="400Gi", state="ControllerResizeInfeasible")
    stage.event("refused", uid, "rpc error: code = OutOfRange desc = at most 350Gi")
    refused = await stage.call("status", "refused")
    assert (refused.code, "at most 350Gi" in refused.err) == (1, True)
    await stage.bound("slow", to="400Gi")
    slow = await stage.call("status", "slow", "--timeout", "300ms")
    assert (slow.code, "has not grown within 0.3s" in slow.err) == (1, True)
    process = await stage.start("status", "slow")
    await line_of(process, "Asked")
    await stage.client.patch(CLAIMS, "slow", {"metadata": {"finalizers": None}}, namespace="default")
    await stage.client.delete(CLAIMS, "slow", namespace="default")
    gone = await ended(process)
    assert (gone.code, "was deleted" in gone.err) == (1, True)
    missing = await stage.call("status", "nobody")
    assert (missing.code, missing.err.count("\n")) == (1, 1)


@pytest.mark.parametrize("arguments", [("-o", "pdf"), ("a", "-A"), ("pod/x",), ("a", "--timeout", "5")])
async def test_wrong_usage_exits_with_2_and_one_line(stage, arguments):
    """What cannot be meant is refused in one line that names it."""
    found = await stage.call("status", *arguments)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)


async def test_no_way_to_the_cluster_is_one_line(stage, tmp_path):
    """A kubeconfig that is not there and a context that it does not have end with exit code 1 and one line."""
    for arguments in (("--kubeconfig", str(tmp_path / "none")), ("--context", "nowhere")):
        found = await stage.call("status", *arguments)
        assert (found.code, found.err.count("\n")) == (1, 1)
        assert arguments[1] in found.err


async def test_few_rights_leave_columns_open(stage):
    """With the right to read claims only, the table stands, and what is not known is said on standard error."""
    await stage.bound("data-0", to="400Gi", state=IN_PROGRESS)
    kubeconfig = await stage.person("jo", ["persistentvolumeclaims"])
    found = await stage.call("status", "--kubeconfig", kubeconfig)
    assert found.code == 0
    assert found.out.splitlines()[1].split()[:3] == ["default", "data-0", "-"]
    assert "drivers are not known" in found.err
    refused = await stage.call("status", "-A", "--kubeconfig", kubeconfig)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "ask for the right to list persistentvolumeclaims" in refused.err


async def test_ctrl_c_ends_a_wait_quietly(stage):
    """Ctrl-C ends a wait with exit code 130 and no traceback."""
    await stage.bound("data-0", to="400Gi")
    process = await stage.start("status", "data-0")
    await line_of(process, "Asked")
    process.send_signal(signal.SIGINT)
    found = await ended(process)
    assert (found.code, found.err) == (130, "")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
async def test_kubectl_finds_the_plugin(stage):
    """`kubectl volume-resize status` runs this very command, flags and exit code included."""
    await stage.bound("data-0", to="400Gi")
    found = await stage.run("volume-resize", "status", "-n", "default", "-o", "name", program=("kubectl",))
    assert (found.code, found.out) == (0, "persistentvolumeclaim/data-0\n")
    failed = await stage.run("volume-resize", "status", "data-0", "--timeout=200ms", program=("kubectl",))
    assert failed.code == 1
    early = await stage.run("-n", "default", "status", program=("kubectl-volume_resize",))
    assert (early.code, "No such option: -n" in early.err) == (2, True)
