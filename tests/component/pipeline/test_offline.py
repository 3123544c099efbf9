import asyncio

import msgspec
import pytest

from tests.component.pipeline.rig import GIB, Rig, is_grown, running_rig
from tests.scripted_driver import Answer, Plan

REFUSED = Answer(code="FAILED_PRECONDITION", message="volume is in use, detach it first")
SLOW = {"retry_interval_start": "2m", "retry_interval_max": "5m"}


def offline_plan(refusals: int) -> Plan:
    return Plan(node_expansion_required=False, answers={"ControllerExpandVolume": (REFUSED,) * refusals + (Answer(),)})


async def wait_refused(rig: Rig, times: int) -> None:
    """The driver has refused so often, and the claim has been put down."""
    await rig.wait(lambda: len(rig.sizes()) == times and len(rig.logged("claim.looked_at")) >= times)


async def test_the_end_of_the_last_pod_wakes_the_claim(folder):
    """A volume that a driver grows offline only is grown within a second of its pod's end, back-off or not.

    Until then: one call, one event, a class of its own. Attachments are not watched before the driver refused, pods
    in this namespace only.
    """
    held = msgspec.structs.replace(REFUSED, hang=True)
    plan = Plan(node_expansion_required=False, answers={"ControllerExpandVolume": (held, Answer())})
    async with running_rig(folder, plan) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.start(**SLOW)
        await rig.wait(lambda: bool(rig.sizes()))
        assert rig.server.audit.count(resource="volumeattachments") == 0
        rig.driver.release("ControllerExpandVolume")
        await wait_refused(rig, 1)
        await rig.wait(lambda: "Warning/VolumeResizeFailed" in rig.events())
        await rig.wait(lambda: rig.server.audit.count(resource="volumeattachments", verb="watch") == 1)
        assert {record.namespace for record in rig.server.audit.select(resource="pods")} == {"default"}
        (state,) = (await rig.debug_state())["claims"]
        assert (state["class"], state["phase"]) == ("offline-required", "controller-resize")
        assert rig.claim()["status"]["conditions"][-1]["type"] == "ControllerResizeError"
        _, metrics = await rig.fetch("/metrics")
        assert 'resizer_stage_failures_total{class="offline-required",driver="scripted.csi.example.com"' in metrics

        ended_s = asyncio.get_running_loop().time()
        rig.delete("pods", "writer")
        await rig.wait(is_grown(rig))
        took_s = asyncio.get_running_loop().time() - ended_s
        await rig.wait(lambda: "Normal/VolumeResizeSuccessful" in rig.events())
        assert rig.sizes() == [5 * GIB, 5 * GIB]
        assert rig.events().count("Warning/VolumeResizeFailed") == 1
        assert took_s < 1.0


async def test_a_pod_that_ends_without_being_deleted_wakes_the_claim(folder):
    """A job's pod that succeeds uses its volume no longer, although it is still there."""
    async with running_rig(folder, offline_plan(1)) as rig:
        rig.seed()
        rig.run_pod("job")
        rig.start(**SLOW)
        await wait_refused(rig, 1)
        rig.patch("pods", "job", lambda doc: doc["status"].update(phase="Succeeded"), subresource="status")
        await rig.wait(is_grown(rig), timeout_s=5)


async def test_the_detach_wakes_the_claim_again(folder):
    """The pod goes first and the attachment some time later: the driver is tried at both, and at neither else."""
    async with running_rig(folder, offline_plan(2)) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.attach("csi-1")
        rig.start(**SLOW)
        await wait_refused(rig, 1)
        rig.delete("pods", "writer")
        await wait_refused(rig, 2)
        rig.delete("volumeattachments", "csi-1", group="storage.k8s.io")
        await rig.wait(is_grown(rig), timeout_s=5)
        await rig.wait(lambda: "Normal/VolumeResizeSuccessful" in rig.events())
        assert rig.sizes() == [5 * GIB] * 3
        assert rig.events().count("Warning/VolumeResizeFailed") == 1


async def test_a_pod_of_another_claim_wakes_nobody(folder):
    """Only the end of the claim's own pod is news for it; one of its two pods is not enough."""
    async with running_rig(folder, offline_plan(1)) as rig:
        rig.seed()
        rig.seed("other", capacity="5Gi")
        for name, claim in (("one", "data"), ("two", "data"), ("stranger", "other")):
            rig.run_pod(name, claim)
        rig.start(**SLOW)
        await wait_refused(rig, 1)
        rig.delete("pods", "stranger")
        rig.delete("pods", "one")
        await rig.wait(lambda: len(rig.logged("claim.looked_at")) >= 1)
        await rig.wait_quiet(0.5)
        assert rig.sizes() == [5 * GIB]
        rig.delete("pods", "two")
        await rig.wait(is_grown(rig), timeout_s=5)


REQUIRED = [
    ("", "persistentvolumeclaims", ["get", "list", "watch"]),
    ("", "persistentvolumeclaims/status", ["patch"]),
    ("", "persistentvolumes", ["get", "list", "watch", "patch"]),
    ("", "events", ["create", "patch"]),
]
PODS = ("", "pods", ["get", "list", "watch"])


def limited_kubeconfig(rig: Rig, rules: list[tuple[str, str, list[str]]]) -> str:
    """A kubeconfig of a user with these rights only."""
    rbac = "rbac.authorization.k8s.io"
    listed = [{"apiGroups": [group], "resources": [resource], "verbs": verbs} for group, resource, verbs in rules]
    rig.create("clusterroles", {"metadata": {"name": "limited"}, "rules": listed}, group=rbac)
    role = {"apiGroup": rbac, "kind": "ClusterRole", "name": "limited"}
    subjects = [{"apiGroup": rbac, "kind": "User", "name": "limited"}]
    binding = {"metadata": {"name": "limited"}, "roleRef": role, "subjects": subjects}
    rig.create("clusterrolebindings", binding, group=rbac)
    path = rig.folder / "limited"
    rig.server.kubeconfig(path, token=rig.server.add_token("limited"))
    return str(path)


async def test_the_peers_rights_are_enough_to_be_woken_by_a_pod(folder):
    """Without the right to VolumeAttachments the end of the pod still wakes the claim, and /readyz stays green."""
    async with running_rig(folder, offline_plan(1)) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.attach("csi-1")
        rig.start(kubeconfig=limited_kubeconfig(rig, [*REQUIRED, PODS]), **SLOW)
        await wait_refused(rig, 1)
        assert (await rig.fetch("/readyz"))[0] == 200
        rig.delete("pods", "writer")
        await rig.wait(is_grown(rig), timeout_s=5)


async def test_without_the_right_to_pods_the_back_off_decides(folder):
    """Where nobody can tell who uses the volume, the driver is tried again with the ordinary back-off."""
    async with running_rig(folder, offline_plan(3)) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.start(kubeconfig=limited_kubeconfig(rig, REQUIRED))
        await rig.wait(is_grown(rig), timeout_s=5)
        assert len(rig.sizes()) == 4


@pytest.mark.soak  # the linger is ten seconds
async def test_the_watches_end_with_their_reason(folder):
    """When the claim is grown nobody holds the watch of attachments any longer; it ends after its linger."""
    async with running_rig(folder, offline_plan(1)) as rig:
        rig.seed()
        rig.run_pod("writer")
        rig.start(**SLOW)
        await wait_refused(rig, 1)
        await rig.wait(lambda: rig.server.audit.count(resource="volumeattachments", verb="watch") == 1)
        rig.delete("pods", "writer")
        await rig.wait(is_grown(rig), timeout_s=5)

        async def watched() -> set[str]:
            state = await rig.debug_state()
            return {watch["resource"] for watch in state["kubernetes"]["watches"]}

        assert "volumeattachments" in await watched()
        async with asyncio.timeout(15):
            while {"volumeattachments", "pods"} & await watched():  # noqa: ASYNC110  # asked over HTTP: nobody tells
                await asyncio.sleep(0.2)
