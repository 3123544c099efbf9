"""What kube/ asks of an API server, on every one there is: the development server must not be our only witness."""

import asyncio
import contextlib

import pytest

from resizer.devcluster.client import ATTACHMENTS, CLAIMS, EVENTS, LEASES, PODS, VOLUMES
from resizer.kube.client import KubeClient, KubeOptions
from resizer.model import errors
from resizer.model.objects import NUDGED_AT, RETRY
from tests.component.kube.rig import claim_body, note, remove, running, until, volume_body
from tests.component.kube.test_held import attachment, pod
from tests.control_plane import ON_EACH_PLANE, control_plane

WITHIN_S = 60.0


@contextlib.asynccontextmanager
async def opened(cluster, folder, **options):
    """A client of this control plane; its loops are not running."""
    cluster.write_kubeconfig(folder / "kubeconfig")
    client = await KubeClient.open(KubeOptions(kubeconfig=folder / "kubeconfig", **options))
    try:
        yield client
    finally:
        await client.close()


def names(client):
    return sorted(claim.name for claim in client.store.claims())


@ON_EACH_PLANE
async def test_the_cache_follows_and_writes_are_answered(tmp_path, plane):
    """WatchList and lists in pages, events, patches with their versions, conflicts and what is gone."""
    async with control_plane(plane, tmp_path) as cluster, opened(cluster, tmp_path) as client:
        someone, expected = cluster.client, [f"c{number}" for number in range(7)]
        for name in expected:
            await someone.create(CLAIMS, claim_body(name))
        await someone.create(VOLUMES, volume_body("pv"))
        async with running(client.run_sources()):
            await until(lambda: client.readiness_problems() == [], timeout_s=WITHIN_S)
            assert names(client) == expected
            await note(someone, "c0", "later", key=RETRY)
            await remove(someone, "c6")
            await until(lambda: names(client) == expected[:6], timeout_s=WITHIN_S)
            await until(lambda: client.store.claim("default/c0").retry == "later", timeout_s=WITHIN_S)

            claim, volume = client.store.claim("default/c0"), client.store.volume("pv")
            meta = {"resourceVersion": claim.version, "annotations": {RETRY: "ours"}}
            body = {"metadata": meta, "status": {"phase": "Bound"}}
            written = await client.writer.patch_claim_status(claim, body)
            assert client.store.claim("default/c0") == written
            assert (written.phase, written.retry) == ("Bound", "ours")
            with pytest.raises(errors.ConflictError):
                await client.writer.patch_claim_status(claim, body)
            body = {"metadata": {"resourceVersion": volume.version}, "spec": {"capacity": {"storage": "2Gi"}}}
            assert (await client.writer.patch_volume(volume, body)).capacity == "2Gi"
            assert await client.writer.read_claim("default/c6") is None
            with pytest.raises(errors.NotFoundError):
                await client.secrets.read_secret("default", "nothing")

        async with opened(cluster, tmp_path, page_size=3) as second:
            for reflector in (second.claim_reflector, second.volume_reflector):
                reflector._has_watch_list = reflector._watch_list = False
            async with running(second.run_sources()):
                await until(lambda: names(second) == expected[:6], timeout_s=WITHIN_S)
                await remove(someone, "c5")
                await until(lambda: names(second) == expected[:5], timeout_s=WITHIN_S)


@ON_EACH_PLANE
async def test_a_lease_is_made_renewed_released_and_taken_over(tmp_path, plane):
    """The record as client-go writes it is accepted; a follower that watches takes over what is released at once."""
    async with control_plane(plane, tmp_path) as cluster, contextlib.AsyncExitStack() as stack:
        electors = [
            (await stack.enter_async_context(opened(cluster, tmp_path, identity=name))).elector("d.csi")
            for name in ("one", "two")
        ]
        end = asyncio.Event()
        ended = asyncio.create_task(electors[0].run(end.wait))
        await until(electors[0].is_held, timeout_s=WITHIN_S)

        async def lease():
            return (await cluster.client.get(LEASES, electors[0].name, namespace="default"))["spec"]

        made = await lease()
        async with running(electors[1].run(lambda: asyncio.sleep(3600))):
            async with asyncio.timeout(WITHIN_S):
                while (await lease())["renewTime"] == made["renewTime"]:  # noqa: ASYNC110 - only asking tells
                    await asyncio.sleep(0.05)
            assert not electors[1].is_held()
            end.set()
            await ended
            await until(electors[1].is_held, timeout_s=WITHIN_S)
            taken = await lease()
        assert (made["holderIdentity"], made["leaseTransitions"]) == ("one", 0)
        assert (taken["holderIdentity"], taken["leaseTransitions"]) == ("two", 1)
        assert (await lease())["holderIdentity"] == "", "released at the end"


@ON_EACH_PLANE
async def test_events_pods_and_attachments(tmp_path, plane):
    """Events are made and counted up; pods of a held namespace and attachments come, a nudge is kept."""
    async with control_plane(plane, tmp_path) as cluster, opened(cluster, tmp_path) as client:
        someone = cluster.client
        await someone.create(CLAIMS, claim_body("data"))
        await someone.create(PODS, pod("db", "data"))
        await someone.create(ATTACHMENTS, attachment("at", "pv-data"))
        async with running(client.run_sources(), client.run_events()):
            await client.wait_synced()
            for message in ("same", "same", "other"):
                claim = client.store.claim("default/data")
                client.events.emit(claim, type_="Normal", reason="Resizing", message=message, driver="d.csi")
            pods = client.pods.hold("default")
            client.attachments.hold()
            await pods.wait_synced()
            await client.attachments.wait_synced()
            assert [found.name for found in pods.pods_of("data")] == ["db"]
            assert [found.node for found in client.attachments.attachments_of("pv-data")] == ["n1"]
            patch = {"metadata": {"annotations": {NUDGED_AT: "t"}}}
            assert (await client.writer.patch_pod_status(pods.pod("db"), patch)).nudged_at == "t"
            await someone.delete(PODS, "db", namespace="default", grace_s=0)
            await until(lambda: pods.pods_of("data") == [], timeout_s=WITHIN_S)
            assert await client.events.drain(timeout_s=WITHIN_S) == 0
        events = (await someone.list(EVENTS, namespace="default")).items
    ours = {event["message"]: event["count"] for event in events if event["involvedObject"]["name"] == "data"}
    assert ours == {"same": 2, "other": 1}
