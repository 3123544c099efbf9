"""`resizer grow` as a process, on the development API server; the test plays the controller."""

import asyncio
import json
import shutil
import signal

import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.client import CLAIMS
from tests.component.cli.stage import DRIVER, IN_PROGRESS, STORAGE, ended, line_of

GIB = 2**30


async def requests(stage):
    found = (await stage.client.list(CLAIMS)).items
    return {c["metadata"]["name"]: c["spec"]["resources"]["requests"]["storage"] for c in found}


async def play_controller(stage, refused=()):
    """Grow whatever asks for more, one step a turn."""
    while True:
        for claim in (await stage.client.list(CLAIMS)).items:
            name, status = claim["metadata"]["name"], claim["status"]
            wanted = claim["spec"]["resources"]["requests"]["storage"]
            if status.get("capacity", {}).get("storage", wanted) == wanted or status.get("allocatedResourceStatuses"):
                continue
            if name in refused:
                await stage.set_state(name, "ControllerResizeInfeasible", wanted)
            else:
                await stage.set_state(name, IN_PROGRESS, wanted)
                await stage.finish(name, wanted)
        await asyncio.sleep(0.01)


@pytest.fixture
async def _controller(stage):
    task = asyncio.create_task(play_controller(stage, refused=("bad",)))
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_dry_run_tells_the_cost_in_bytes_and_changes_nothing(stage):
    """The plan has every claim's sizes in bytes and their sum; nothing is written; parts are rounded up to MiB."""
    await stage.bound("data-0", labels={"app": "db"})
    await stage.bound("data-1", capacity="7Gi", labels={"app": "db"})
    found = await stage.call("grow", "-l", "app=db", "--by", "20%", "--dry-run", "-o", "json")
    plan = json.loads(found.out)
    assert found.code == 0
    assert [(item["name"], item["toBytes"]) for item in plan["items"]] == [
        ("data-0", 360 * GIB),
        ("data-1", 8602 * 2**20),
    ]
    assert plan["moreBytes"] == 60 * GIB + 8602 * 2**20 - 7 * GIB
    shown = await stage.call("grow", "data-0", "--by=50Gi", "--dry-run")
    assert str(350 * GIB) in shown.out
    assert await requests(stage) == {"data-0": "300Gi", "data-1": "7Gi"}


async def test_a_plan_with_one_refusal_changes_nothing(stage):
    """Shrinking, a class that forbids, an unbound claim and a quota are refused before anything, one line each."""
    stage.server.create(STORAGE, "storageclasses", {"metadata": {"name": "rigid"}, "provisioner": DRIVER})
    await stage.bound("fine", capacity="100Gi")
    await stage.bound("large", capacity="500Gi")
    await stage.bound("rigid", capacity="100Gi", class_="rigid")
    stage.claim("pending", size="1Gi")
    quota = {"metadata": {"name": "team", "namespace": "default"}, "spec": {"hard": {"requests.storage": "800Gi"}}}
    stage.server.create("", "resourcequotas", quota)
    before = await requests(stage)
    found = await stage.run("grow", "fine", "large", "rigid", "pending", "--to", "400Gi")
    assert found.code == 2
    assert found.out == ""
    for line in (
        "default/large: 400Gi is less than the 500Gi",
        "default/rigid: its StorageClass rigid does not have allowVolumeExpansion",
        "default/pending: it is Pending",
        "quota team: requests.storage leaves 99Gi, and the plan needs 300Gi more",
        "nothing was changed",
    ):
        assert line in found.err
    assert len(found.err.splitlines()) == 5
    assert await requests(stage) == before


@pytest.mark.usefixtures("_controller")
async def test_claims_are_grown_and_waited_for(stage):
    """With --wait it ends with 0 when every claim has its size; a second run finds nothing to do."""
    for name in ("data-0", "data-1", "data-2"):
        await stage.bound(name, labels={"app": "db"})
    found = await stage.run("grow", "-l", "app=db", "--to", "400Gi", "--wait", "--max-parallel", "2")
    assert found.code == 0, found.err
    assert "grown: 3" in found.out
    assert set((await requests(stage)).values()) == {"400Gi"}
    again = await stage.run("grow", "-l", "app=db", "--to", "400Gi", "--wait")
    assert (again.code, "asks already for 400Gi" in again.out) == (0, True)


@pytest.mark.usefixtures("_controller")
async def test_the_first_failure_stops_what_has_not_begun(stage):
    """After a refusal nothing new is asked for and the exit code is 1; with --keep-going the rest is done."""
    for name in ("bad", "good", "last"):
        await stage.bound(name)
    order = ("grow", "bad", "good", "last", "--to", "400Gi", "--wait", "--max-parallel", "1")
    found = await stage.run(*order)
    assert found.code == 1
    assert "default/bad: it was refused; see kubectl volume-resize explain bad" in found.err
    assert "not begun: 2 (good, last)" in found.err
    assert await requests(stage) == {"bad": "400Gi", "good": "300Gi", "last": "300Gi"}
    found = await stage.run(*order, "--keep-going")
    assert (found.code, "grown: 2 (good, last)" in found.err) == (1, True)


async def test_ctrl_c_tells_what_was_asked_for(stage):
    """Stopped by Ctrl-C it says what was asked for and what was not, and ends with 130; the requests stand."""
    for name in ("data-0", "data-1"):
        await stage.bound(name)
    process = await stage.start("grow", "data-0", "data-1", "--to", "400Gi", "--wait", "--max-parallel", "1")
    await line_of(process, "data-0: asks for 400Gi")
    process.send_signal(signal.SIGINT)
    found = await ended(process)
    assert found.code == 130
    assert "asked for: 1 (data-0)" in found.err
    assert "not begun: 1 (data-1)" in found.err
    assert await requests(stage) == {"data-0": "400Gi", "data-1": "300Gi"}


async def test_a_wait_ends_in_time(stage):
    """With --timeout a run that does not come to its end exits with 1 and says what is still growing."""
    await stage.bound("data-0")
    found = await stage.run("grow", "data-0", "--to", "400Gi", "--wait", "--timeout", "2s")
    assert found.code == 1
    assert "not done within 2s" in found.err
    assert "still growing: 1 (data-0)" in found.err


async def test_a_stateful_sets_claims_are_found(stage):
    """statefulset/NAME means the claims of its templates, in order, those of like-named sets left alone."""
    template = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {}}}
    spec = {
        "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        "volumeClaimTemplates": [template],
    }
    stage.server.create("apps", "statefulsets", {"metadata": {"name": "db", "namespace": "default"}, "spec": spec})
    for name in ("data-db-0", "data-db-1", "data-db-10", "data-db-x-0", "logs-db-0"):
        await stage.bound(name)
    found = await stage.run("grow", "statefulset/db", "--to", "400Gi")
    assert found.code == 0, found.err
    assert "volumeClaimTemplates keep the old size" in found.err
    grown = {name for name, size in (await requests(stage)).items() if size == "400Gi"}
    assert grown == {"data-db-0", "data-db-1", "data-db-10"}


async def held_at_its_patch(stage):
    """Run `grow` up to its write, which is held until it is released."""
    fault = Fault(kind="hold-before", verb="patch", user_agent="resizer/", count=1)
    struck = stage.server.faults.add(fault)
    process = await stage.start("grow", "data-0", "--to", "400Gi")
    await struck.wait_held()
    return process, struck


async def test_a_conflict_is_decided_again(stage):
    """A claim that changes between plan and write is read again and asked once more."""
    await stage.bound("data-0")
    process, struck = await held_at_its_patch(stage)
    await stage.client.patch(CLAIMS, "data-0", {"metadata": {"labels": {"a": "b"}}}, namespace="default")
    stage.server.faults.release(struck.id)
    found = await ended(process)
    assert found.code == 0, found.err
    assert await requests(stage) == {"data-0": "400Gi"}


async def test_a_larger_wish_of_somebody_else_is_left_alone(stage):
    """Who asks for more between plan and write is not overruled: nothing is made smaller."""
    await stage.bound("data-0")
    process, struck = await held_at_its_patch(stage)
    await stage.ask("data-0", "500Gi")
    stage.server.faults.release(struck.id)
    found = await ended(process)
    assert (found.code, "somebody asked for 500Gi meanwhile" in found.err) == (1, True)
    assert await requests(stage) == {"data-0": "500Gi"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("data-0",),
        ("data-0", "--to", "1Gi", "--by", "20%"),
        ("data-0", "-l", "a=b", "--to", "1Gi"),
        ("--to", "1Gi"),
        ("data-0", "--to", "much"),
        ("data-0", "--by", "0%"),
        ("data-0", "--by", "-5Gi"),
        ("data-0", "--to", "1Gi", "-o", "json"),
    ],
)
async def test_wrong_usage_is_one_line_and_2(stage, arguments):
    """What cannot be meant is refused in one line, with exit code 2."""
    found = await stage.call("grow", *arguments)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
async def test_kubectl_finds_it(stage):
    """`kubectl volume-resize grow` is this command, its exit code included."""
    await stage.bound("data-0")
    found = await stage.run("volume-resize", "grow", "data-0", "--to=400Gi", program=("kubectl",))
    assert (found.code, await requests(stage)) == (0, {"data-0": "400Gi"})
