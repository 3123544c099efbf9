"""What the component tests of kube share: a development API server, a client on it, waiting for conditions."""

import asyncio
import contextlib

import looptime

from resizer.devcluster.apiserver.server import ApiServer
from resizer.devcluster.client import CLAIMS, Client
from resizer.kube.client import KubeClient, KubeOptions
from resizer.kube.telemetry import NullKubeTelemetry


class Telemetry(NullKubeTelemetry):
    """Remembers what it was told."""

    def __init__(self):
        self.restarts = []
        self.malformed = []
        self.dropped = []
        self.leaders = []
        self.requests = []

    def watch_restarted(self, *, resource, reason):
        self.restarts.append((resource, reason))

    def object_malformed(self, *, resource):
        self.malformed.append(resource)

    def event_dropped(self, *, reason):
        self.dropped.append(reason)

    def leader_changed(self, *, name, is_leader):
        self.leaders.append((name, is_leader))

    def request_finished(self, *, verb, resource, code, duration_s):
        self.requests.append((verb, resource, code, duration_s))


async def until(condition, *, timeout_s=10.0):
    """Wait until the condition holds; fails with its source line when it does not."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - any condition, of any object
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(*loops):
    """Run coroutines in the background; they are cancelled at the end, and a failure of one is raised."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@contextlib.asynccontextmanager
async def opened(server, folder, *, token="", name="kubeconfig", telemetry=None, **options):
    """Open a client on the server; its loops are not running."""
    path = folder / name
    server.kubeconfig(path, token=token)
    client = await KubeClient.open(KubeOptions(kubeconfig=path, **options), telemetry=telemetry)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def plain_server(**options):
    async with ApiServer.start(tls=False, **options) as server:
        yield server


def fake_time(test):
    """Run an asynchronous test on a loop whose time jumps over every wait."""

    def run(tmp_path):
        with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
            runner.run(test(tmp_path))

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run


def claim_body(name, *, size="1Gi", namespace="default"):
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            "storageClassName": "fast",
            "volumeName": f"pv-{name}",
        },
    }


def volume_body(name):
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "csi": {"driver": "d.csi", "volumeHandle": "h"},
        },
    }


def add_claims(server, *names):
    for name in names:
        server.create("", "persistentvolumeclaims", claim_body(name))


def grant(server, user, rules, *, namespace=""):
    """Give a user these rules, cluster-wide or in a namespace."""
    kind, plural = ("Role", "roles") if namespace else ("ClusterRole", "clusterroles")
    api = "rbac.authorization.k8s.io"
    place = {"namespace": namespace} if namespace else {}
    name = f"r{abs(hash((user, str(rules))))}"
    server.create(
        api, plural, {"apiVersion": f"{api}/v1", "kind": kind, "metadata": {"name": name, **place}, "rules": rules}
    )
    server.create(
        api,
        "rolebindings" if namespace else "clusterrolebindings",
        {
            "apiVersion": f"{api}/v1",
            "kind": f"{kind}Binding",
            "metadata": {"name": name, **place},
            "roleRef": {"apiGroup": api, "kind": kind, "name": name},
            "subjects": [{"kind": "User", "name": user, "apiGroup": api}],
        },
    )


def person(server):
    """A client of somebody else: what happens on a cluster while we watch."""
    return Client(server.url, token=server.token, ca_pem=server.ca_pem, timeout_s=10)


async def note(client, name, text, *, key="note"):
    """Change a claim."""
    await client.patch(CLAIMS, name, {"metadata": {"annotations": {key: text}}}, namespace="default")


async def remove(client, name):
    """Delete a claim for good."""
    await client.patch(CLAIMS, name, {"metadata": {"finalizers": None}}, namespace="default")
    await client.delete(CLAIMS, name, namespace="default")
