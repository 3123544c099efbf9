import asyncio
import json

import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.client import ATTACHMENTS, PODS
from resizer.model import errors
from resizer.model.objects import NUDGED_AT
from tests.component.kube.rig import fake_time, grant, opened, person, plain_server, running, until


@pytest.fixture
async def server():
    async with plain_server() as server:
        server.create("", "namespaces", {"metadata": {"name": "other"}})
        yield server


def pod(name, claim, *, namespace="default"):
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
    containers = [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]
    meta = {"name": name, "namespace": namespace}
    return {"metadata": meta, "spec": {"nodeName": "n1", "volumes": volumes, "containers": containers}}


def attachment(name, volume):
    spec = {"attacher": "d.csi", "nodeName": "n1", "source": {"persistentVolumeName": volume}}
    return {"metadata": {"name": name}, "spec": spec}


async def test_pods_are_watched_in_held_namespaces_only(server, tmp_path):
    """What mounts a claim is found while its namespace is held; no other namespace is asked for."""
    server.create("", "pods", pod("db-0", "data"))
    server.create("", "pods", pod("db-9", "data", namespace="other"))
    without = pod("web-0", "data")
    del without["spec"]["volumes"]
    server.create("", "pods", without)
    async with opened(server, tmp_path) as client, running(client.run_sources()), person(server) as someone:
        pods, heard = client.pods.hold("default"), []
        client.pods.subscribe(lambda old, new: heard.append((old and old.name, new and new.name)))
        await pods.wait_synced()
        assert [found.name for found in pods.pods_of("data")] == ["db-0"]
        assert client.cache_objects()["pods"] == 1, "a pod without claims is not kept"
        assert pods.pod("db-0").node == "n1"
        server.create("", "pods", pod("db-1", "data"))
        await until(lambda: [found.name for found in pods.pods_of("data")] == ["db-0", "db-1"])
        await someone.delete(PODS, "db-0", namespace="default", grace_s=0)
        await until(lambda: [found.name for found in pods.pods_of("data")] == ["db-1"])
        assert heard[-1] == ("db-0", None)
        assert pods.pods_of("nothing") == []
        nudged = await client.writer.patch_pod_status(pods.pod("db-1"), {"metadata": {"annotations": {NUDGED_AT: "t"}}})
        assert pods.pod("db-1") == nudged, "the answer of the nudge is there at once"
    asked = {(record.verb, record.namespace) for record in server.audit.select(resource="pods", verb="watch")}
    assert asked == {("watch", "default")}


@fake_time
async def test_the_last_release_ends_the_watch_after_a_linger(tmp_path):
    """Two holders share one watch; it ends ten seconds after the last let go, unless somebody holds again."""
    async with plain_server() as server, opened(server, tmp_path) as client, running(client.run_sources()):
        await client.wait_synced()
        others = server.statistics()["watches"]
        first, second = client.pods.hold("default"), client.pods.hold("default")
        assert first is second
        await first.wait_synced()
        client.pods.release("default")
        await asyncio.sleep(60)
        assert server.statistics()["watches"] == others + 1
        client.pods.release("default")
        await asyncio.sleep(5)
        assert client.pods.hold("default") is first
        await asyncio.sleep(60)
        assert first.synced
        client.pods.release("default")
        # The server notices a closed connection when it sends its next bookmark.
        await asyncio.sleep(11 + 60)
        assert server.statistics()["watches"] == others
        assert client.pods.hold("default") is not first
        assert client.cache_objects()["pods"] == 0


async def test_without_the_right_to_pods_the_waiter_is_told(server, tmp_path):
    """403: wait_synced raises at once for everyone, it stands in the state, readiness stays; later it may come."""
    everything = ["get", "list", "watch"]
    rules = [{"apiGroups": [""], "resources": ["persistentvolumeclaims", "persistentvolumes"], "verbs": everything}]
    grant(server, "resizer", rules)
    token = server.add_token("resizer")
    async with opened(server, tmp_path, token=token) as client, running(client.run_sources()):
        await client.wait_synced()
        pods = client.pods.hold("default")
        for _ in range(2):
            with pytest.raises(errors.ForbiddenError):
                await pods.wait_synced()
        assert (client.rights.is_missing("watch", "pods"), client.readiness_problems()) == (True, [])
        grant(server, "resizer", [{"apiGroups": [""], "resources": ["pods"], "verbs": everything}])
        await until(lambda: pods.synced)


async def test_attachments_are_known_while_held(server, tmp_path):
    """None before the first list; then those of the volume; None again when nobody holds them."""
    server.create("storage.k8s.io", "volumeattachments", attachment("one", "pv1"))
    async with opened(server, tmp_path) as client, running(client.run_sources()), person(server) as someone:
        assert client.attachments.attachments_of("pv1") is None
        heard = []
        client.attachments.subscribe(lambda old, new: heard.append((old and old.name, new and new.name)))
        client.attachments.hold()
        await until(lambda: client.attachments.attachments_of("pv1") is not None)
        assert [found.node for found in client.attachments.attachments_of("pv1")] == ["n1"]
        assert client.attachments.attachments_of("pv2") == []
        await someone.delete(ATTACHMENTS, "one")
        await until(lambda: client.attachments.attachments_of("pv1") == [])
        assert heard == [(None, "one"), ("one", None)]
        client.attachments.release()


async def test_held_before_the_loops_run_is_watched_once_they_do(server, tmp_path):
    """The order of starting does not matter, and a release too many does no harm."""
    async with opened(server, tmp_path) as client:
        client.pods.release("default")
        pods = client.pods.hold("default")
        async with running(client.run_sources()):
            await pods.wait_synced()


async def test_a_pod_watch_in_trouble_recovers_like_any_other(server, tmp_path):
    """410 under the watch of a namespace: listed afresh, nothing is missed."""
    async with opened(server, tmp_path) as client, running(client.run_sources()):
        pods = client.pods.hold("default")
        await pods.wait_synced()
        gone = server.faults.add(Fault(kind="gone", verb="watch", resource="pods", count=1))
        server.create("", "pods", pod("db-0", "data"))
        await until(lambda: pods.pod("db-0") is not None)
        assert gone.hits == 1


PEERS_RULES = [
    {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["get", "list", "watch", "patch"]},
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["persistentvolumeclaims/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch", "create", "update", "patch"]},
]


async def test_the_peers_rights_are_enough_to_be_ready(server, tmp_path):
    """Exactly the peer's ClusterRole: ready; what it lacks (attachments, pods/status) only turns features off."""
    grant(server, "resizer", PEERS_RULES)
    server.create("", "pods", pod("db-0", "data"))
    token = server.add_token("resizer")
    async with opened(server, tmp_path, token=token) as client, running(client.run_sources(), client.run_events()):
        await client.wait_synced()
        client.attachments.hold()
        pods = client.pods.hold("default")
        await pods.wait_synced()
        with pytest.raises(errors.ForbiddenError):
            await client.writer.patch_pod_status(pods.pod("db-0"), {"metadata": {"annotations": {NUDGED_AT: "t"}}})
        await until(lambda: client.rights.is_missing("watch", "volumeattachments"))
        assert client.readiness_problems() == []
        assert {right["resource"] for right in client.statistics()["missing_rights"]} == {
            "pods/status",
            "volumeattachments",
        }


def pod_event(version, volumes):
    meta = {"name": "db-0", "namespace": "default", "uid": "u", "resourceVersion": version}
    return json.dumps({"type": "MODIFIED", "object": {"metadata": meta, "spec": {"volumes": volumes}}}).encode()


DATA = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
TOO_DEEP = b"[" * 2000 + b"]" * 2000


@pytest.mark.parametrize(
    "unreadable",
    [
        pod_event("6", [{**DATA, "name": 5}]),
        pod_event("6", [DATA]).replace(b'"spec":', b'"x":' + TOO_DEEP + b',"spec":'),
    ],
)
async def test_a_pod_that_can_no_longer_be_read_is_forgotten(unreadable, server, tmp_path):
    """Whoever went on with its last readable state would act on what is no longer so."""
    async with opened(server, tmp_path) as client, running(client.run_sources()):
        pods = client.pods.hold("default")
        await pods.wait_synced()
        pods.reflector._take_line(pod_event("5", [DATA]), floor=0)
        assert [found.name for found in pods.pods_of("data")] == ["db-0"]
        pods.reflector._take_line(unreadable, floor=0)
        assert pods.pods_of("data") == []
