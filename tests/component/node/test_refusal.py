"""What the agent makes of drivers that refuse and of a node where something is wrong.

The reference driver mounts; the agent is led to a scripted one of the same name, which answers NodeExpandVolume.
"""

import asyncio
import contextlib
import json
import shutil

import pytest

from resizer.core.node_label import node_label
from resizer.devcluster.client import PODS, ROLE_BINDINGS, ROLES, SECRETS, STORAGE_CLASSES
from tests.component.node.rig import DRIVER, GIB, NAMESPACE, running_rig
from tests.scripted_driver import Answer, Plan, ScriptedDriver

pytestmark = pytest.mark.skipif(
    shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin") is None, reason="mkfs.ext4 (e2fsprogs) is not here"
)
LABEL = node_label("node-1")


@contextlib.asynccontextmanager
async def scripted(rig, *answers, kubeconfig=None, **plan):
    """A node plugin that answers by plan, and an agent that is led to it."""
    more = {"kubeconfig": kubeconfig} if kubeconfig else {}
    plan = {"node_capabilities": ("EXPAND_VOLUME", "STAGE_UNSTAGE_VOLUME"), **plan}
    driver = ScriptedDriver(
        Plan(name=DRIVER, answers={"NodeExpandVolume": answers, "NodeResizeVolume": answers}, **plan)
    )
    socket = rig.folder / "node.sock"
    async with driver.serve(f"unix://{socket}"), rig.agent(csi_addresses=(str(socket),), **more):
        yield driver


async def test_the_driver_gets_what_a_kubelet_would_send(folder):
    """Handle, both paths, size and capability; no limit, and no secret that nobody named."""
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline(), scripted(rig, Answer()) as driver:
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
        (call,) = driver.calls_of("NodeExpandVolume")
    paths = rig.cluster.kubelets["node-1"].paths
    handle = rig.volume()["spec"]["csi"]["volumeHandle"]
    assert call.request == {
        "volume_id": handle,
        "volume_path": str(rig.published()),
        "staging_target_path": str(paths.staging(DRIVER, handle)),
        "capacity_range": {"required_bytes": str(2 * GIB)},
        "volume_capability": {"mount": {"fs_type": "ext4"}, "access_mode": {"mode": "SINGLE_NODE_WRITER"}},
    }


async def test_a_driver_of_csi_v0_is_reached_by_its_own_call(folder):
    """NodeResizeVolume with handle, published path and size."""
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline(), scripted(rig, Answer(), protocols=("v0",)) as driver:
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
        (call,) = driver.calls_of("NodeResizeVolume")
    assert call.request["volume_path"] == str(rig.published())
    assert call.request["capacity_range"] == {"required_bytes": str(2 * GIB)}


@pytest.mark.parametrize("code", ["INTERNAL", "UNAVAILABLE", "UNIMPLEMENTED"])
async def test_a_passing_failure_is_shown_and_tried_again(folder, code):
    """NodeResizeError while it lasts, the label stays, and the next try ends it all."""
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline(), scripted(rig, Answer(code=code, message="planned"), Answer()) as driver:
            await rig.ask("2Gi")
            await rig.wait(lambda: "desc = planned" in rig.node_error())
            assert (rig.state(), rig.labels()) == ("NodeResizeInProgress", {LABEL})
            await rig.wait(rig.is_grown)
        assert len(driver.calls_of("NodeExpandVolume")) == 2


async def test_a_place_that_is_not_mounted_yet_holds_nothing_up(folder):
    """Of two pods one is just being mounted, or has just left: the other's growth counts, and nothing is refused."""
    async with running_rig(folder) as rig:
        await rig.make(pods=("db", "late"), accessModes=["ReadWriteMany"])
        states = []
        rig.cluster.mirrors.claims.subscribe(lambda _: states.append(rig.state()))
        answers = (Answer(code="NOT_FOUND", message="not mounted"), Answer())
        async with rig.pipeline(), scripted(rig, *answers) as driver:
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
        assert len(driver.calls_of("NodeExpandVolume")) == 2
        assert "NodeResizeInfeasible" not in states


async def test_an_infeasible_answer_goes_back_to_the_controller(folder):
    """NodeResizeInfeasible without the label; the controller confirms the size, labels again, and it is tried again."""
    async with running_rig(folder) as rig:
        await rig.make()
        seen = []
        rig.cluster.mirrors.claims.subscribe(
            lambda _: seen.append((rig.state(), bool(rig.labels()), bool(rig.node_error())))
        )
        async with rig.pipeline(), scripted(rig, Answer(code="OUT_OF_RANGE", message="no"), Answer()) as driver:
            await rig.ask("2Gi")
            await rig.wait(rig.is_grown)
        assert ("NodeResizeInfeasible", False, True) in seen
        assert len(driver.calls_of("NodeExpandVolume")) == 2


async def test_a_volume_in_use_waits_until_its_pod_goes(folder, monkeypatch):
    """After FAILED_PRECONDITION the driver is not asked again while the pod stays; the next mount grows it."""
    monkeypatch.setattr("resizer.node.agent.LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr("resizer.pipeline.stages.node_resize.LABELS_CHECKED_AFTER_S", 0.1)
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline(), scripted(rig, Answer(code="FAILED_PRECONDITION", message="in use")) as driver:
            await rig.ask("2Gi")
            await rig.wait(lambda: "FailedPrecondition desc = in use" in rig.node_error())
            await rig.make("other", pods=("other",))  # takes longer than many looks
            assert len(driver.calls_of("NodeExpandVolume")) == 1
            await rig.client.delete(PODS, "db", namespace=NAMESPACE)
            await rig.wait(lambda: rig.pod("db") is None)
            await rig.start_pod("db", "data")
            await rig.wait(rig.is_grown)
            assert rig.filesystem_bytes() == 2 * GIB


async def test_a_plugin_without_expansion_is_explained(folder):
    """The claim says which driver lacks EXPAND_VOLUME; nothing is called, and the state stays NodeResizePending."""
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline(), scripted(rig, node_capabilities=("STAGE_UNSTAGE_VOLUME",)) as driver:
            await rig.ask("2Gi")
            await rig.wait(lambda: f"driver {DRIVER} has no EXPAND_VOLUME" in rig.node_error())
            assert rig.state() == "NodeResizePending"
        assert driver.calls_of("NodeExpandVolume") == []


async def test_a_socket_that_is_not_there_is_explained_and_waited_for(folder):
    """The claim says where was looked; once the plugin answers, the claim is grown without a restart."""
    async with running_rig(folder) as rig:
        await rig.make()
        late = rig.folder / "late.sock"
        async with rig.pipeline(), rig.agent(csi_addresses=(str(late),)):
            await rig.ask("2Gi")
            await rig.wait(lambda: f"no node plugin of driver {DRIVER} answers" in rig.node_error())
            assert str(late) in rig.node_error()
            plan = Plan(name=DRIVER, node_capabilities=("EXPAND_VOLUME",))
            async with ScriptedDriver(plan).serve(f"unix://{late}"):
                await rig.wait(rig.is_grown)


def cut_short(note):
    note.write_bytes(note.read_bytes()[:20])
    return "cannot be read"


def name_another_driver(note):
    note.write_text(json.dumps({**json.loads(note.read_text()), "driverName": "other.csi"}))
    return "names driver 'other.csi'"


def lead_away(note):
    place = note.with_name("mount")
    place.rename(note.with_name("moved"))
    place.symlink_to("/etc")
    return "a link on the way leads out of the kubelet's directory"


def undo(note, before):
    moved = note.with_name("moved")
    if moved.exists():
        note.with_name("mount").unlink()
        moved.rename(note.with_name("mount"))
    note.write_bytes(before)


@pytest.mark.parametrize("damage", [cut_short, name_another_driver, lead_away])
async def test_what_lies_wrong_in_the_kubelets_folder_is_explained(folder, damage):
    """The claim names the path and the cause, no driver is called for it, and another claim grows as ever."""
    async with running_rig(folder) as rig:
        await rig.make()
        await rig.make("sound", pods=("sound",))
        note = rig.published().with_name("vol_data.json")
        before = note.read_bytes()
        words = damage(note)
        try:
            async with rig.pipeline(), rig.agent():
                await rig.ask("2Gi")
                await rig.ask("2Gi", "sound")
                await rig.wait(lambda: words in rig.node_error())
                await rig.wait(lambda: rig.is_grown(name="sound"))
                assert str(rig.kubelet_dir()) in rig.node_error()
                assert rig.state() == "NodeResizePending"
                handles = {call["volume_id"] for call in rig.calls()}
                assert handles == {rig.volume("sound")["spec"]["csi"]["volumeHandle"]}
        finally:
            undo(note, before)


async def test_the_agent_ends_cleanly_during_a_call(folder):
    """Stopped while a driver hangs, it ends within its grace time, and the next one finishes the growth."""
    async with running_rig(folder) as rig:
        await rig.make()
        async with rig.pipeline():
            async with scripted(rig, Answer(hang=True)) as driver:
                await rig.ask("2Gi")
                await driver.wait_calls("NodeExpandVolume", 1)
                stopped_s = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - stopped_s < 5
            assert rig.state() == "NodeResizeInProgress"
            async with rig.agent():
                await rig.wait(rig.is_grown)
        assert rig.filesystem_bytes() == 2 * GIB


async def test_a_device_that_did_not_grow_is_explained(folder):
    """The controller said yes and did nothing: the node's refusal stands in the claim, the filesystem is as it was."""
    async with running_rig(folder) as rig:
        await rig.make()
        liar = ScriptedDriver(Plan(name=DRIVER))
        socket = rig.folder / "liar.sock"
        async with liar.serve(f"unix://{socket}"), rig.pipeline(csi_address=[str(socket)]), rig.agent():
            await rig.ask("2Gi")
            await rig.wait(lambda: "call ControllerExpandVolume first" in rig.node_error())
            await rig.wait(lambda: len(rig.logged("agent.refused")) >= 1)
        assert rig.claim()["status"]["capacity"] == {"storage": "1Gi"}
        assert rig.filesystem_bytes() == GIB


async def test_a_secret_without_the_right_is_explained_and_never_shown(folder):
    """The claim names the right to add; with it the driver gets the secret, and no log or condition has it."""
    async with running_rig(folder) as rig:
        await rig.client.create(
            SECRETS, {"metadata": {"name": "s", "namespace": NAMESPACE}, "stringData": {"key": "very-secret"}}
        )
        prefix = "csi.storage.k8s.io/"
        parameters = {f"{prefix}fstype": "ext4", f"{prefix}node-expand-secret-name": "s"}
        parameters[f"{prefix}node-expand-secret-namespace"] = NAMESPACE
        kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "guarded"}}
        body = {**kind, "provisioner": DRIVER, "parameters": parameters, "allowVolumeExpansion": True}
        await rig.client.create(STORAGE_CLASSES, body)
        await rig.make(fs="guarded")
        kubeconfig = await rig.rights_of_the_manifest()
        async with rig.pipeline(), scripted(rig, Answer(), kubeconfig=kubeconfig) as driver:
            await rig.ask("2Gi")
            await rig.wait(lambda: "the right to get secrets in namespace default" in rig.node_error())
            assert rig.state() == "NodeResizePending"
            rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
            meta = {"name": "s", "namespace": NAMESPACE}
            await rig.client.create(ROLES, {"metadata": meta, "rules": [rule]})
            account = {"kind": "ServiceAccount", "name": "resizer-node", "namespace": "kube-system"}
            role = {"kind": "Role", "name": "s"}
            await rig.client.create(ROLE_BINDINGS, {"metadata": meta, "roleRef": role, "subjects": [account]})
            await rig.wait(rig.is_grown)
        (call,) = driver.calls_of("NodeExpandVolume")
        assert call.request["secrets"] == {"key": "very-secret"}
        assert "very-secret" not in str(rig.logs)
