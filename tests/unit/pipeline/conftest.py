"""Small in-memory ports: an API server that keeps versions, a driver that answers as told, telemetry in lists."""

import asyncio

import pytest
from msgspec.structs import replace

from resizer.core.pacing import Limits
from resizer.core.state import Policy
from resizer.model.driver import DriverFacts, Expansion
from resizer.model.objects import NUDGED_AT, Claim, Pod, PodMount, Volume
from resizer.pipeline.claim import ClaimLoop, Stages, Telemetry
from resizer.pipeline.gate import RecoveryGate
from resizer.pipeline.memory import Memories
from resizer.pipeline.queue import ClaimQueue
from resizer.pipeline.stages.breaker import Breaker
from resizer.pipeline.stages.controller_resize import ControllerResize
from resizer.pipeline.stages.node_resize import NodeResize
from resizer.pipeline.stages.status_patch import StatusPatch
from tests.parity.simulation import apply_claim_patch, apply_volume_patch

DRIVER = "d.csi.test"
GI = 1 << 30
CLAIM = Claim("default", "data", "uid-1", "1", phase="Bound", volume_name="pv", requested="5Gi", capacity="3Gi")
VOLUME = Volume(
    "pv",
    "pv-uid",
    "1",
    "3Gi",
    claim_namespace="default",
    claim_name="data",
    claim_uid="uid-1",
    driver=DRIVER,
    handle="h",
)
POD = Pod("default", "db", "pod-1", "1", phase="Running", node="n1", mounts=(PodMount("data"),))


class Silent:
    """Telemetry of every kind; keeps what was said as (name, arguments)."""

    def __init__(self):
        self.said = []

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.said.append((name, args, kwargs))

    def named(self, name):
        return [(args, kwargs) for said, args, kwargs in self.said if said == name]


class Server:
    """Objects and Writer in one: the cache is always current, unless a test makes `fail` raise."""

    def __init__(self, claim=CLAIM, volume=VOLUME, pods=()):
        self.by_key = {claim.key: claim} if claim else {}
        self.volumes = {volume.name: volume} if volume else {}
        self.pods = {pod.key: pod for pod in pods}
        self.fail = lambda *_: None
        self.drops_nudges = False
        self.written = []

    def claim(self, key):
        return self.by_key.get(key)

    def volume(self, name):
        return self.volumes.get(name)

    def claims(self):
        return list(self.by_key.values())

    async def patch_claim_status(self, claim, body):
        await asyncio.sleep(0.001)
        self.fail("patch", "claim")
        self.written.append(body)
        self.by_key[claim.key] = apply_claim_patch(self.by_key[claim.key], body)
        await asyncio.sleep(0.001)  # applied, and the answer is on its way
        return self.by_key[claim.key]

    async def patch_volume(self, volume, body):
        await asyncio.sleep(0.001)
        self.fail("patch", "volume")
        self.written.append(body)
        self.volumes[volume.name] = apply_volume_patch(self.volumes[volume.name], body)
        await asyncio.sleep(0.001)
        return self.volumes[volume.name]

    async def patch_pod_status(self, pod, body):
        await asyncio.sleep(0.001)
        self.fail("patch", "pod")
        self.written.append(body)
        value = body["metadata"]["annotations"][NUDGED_AT]
        self.pods[pod.key] = replace(pod, nudged_at="" if self.drops_nudges else value)
        return self.pods[pod.key]

    async def read_claim(self, key):
        self.fail("get", "claim")
        return self.by_key.get(key)

    async def read_volume(self, name):
        self.fail("get", "volume")
        return self.volumes.get(name)

    def hold(self, namespace=""):
        del namespace
        return self

    def release(self, namespace=""):
        del namespace

    async def wait_synced(self):
        pass

    def pods_of(self, name):
        return [pod for pod in self.pods.values() if any(m.claim_name == name for m in pod.mounts)]

    def attachments_of(self, volume_name):
        del volume_name
        return []

    async def read_secret(self, namespace, name):
        del namespace, name
        return {}


class Plugin:
    """A driver that answers with what `answer` returns or raises."""

    def __init__(self, facts=None):
        self.facts = facts or DriverFacts(DRIVER)
        self.calls = []
        self.answer = lambda size: Expansion(size, node_expansion_required=False)

    async def expand_volume_device(self, volume, *, new_size_bytes, old_size_bytes, secrets):
        del volume, old_size_bytes, secrets
        self.calls.append(new_size_bytes)
        await asyncio.sleep(0.01)
        return self.answer(new_size_bytes)

    async def requires_fs_resize(self, volume):
        del volume
        return True


class Held:
    def is_held(self):
        return True


class Rig:
    """A claim loop around a server and a driver."""

    def __init__(self, server, plugin):
        self.server, self.plugin = server, plugin
        self.events, self.stages, self.resizes = Silent(), Silent(), Silent()
        self.memories = Memories()
        node = NodeResize(server, server, None, driver=DRIVER, telemetry=self.stages, now=self.now)
        self.loop = ClaimLoop(
            lambda: plugin.facts,
            Stages(
                ControllerResize(plugin, secrets=server, lease=Held(), telemetry=self.stages, breaker=Breaker()),
                node,
                StatusPatch(server, driver=DRIVER, telemetry=self.stages),
            ),
            objects=server,
            writer=server,
            telemetry=Telemetry(self.events, self.stages, self.resizes),
            memories=self.memories,
            policy=Policy(Limits()),
            now=self.now,
            gate=RecoveryGate(),
        )

    def now(self):
        return 1_790_000_000.0 + asyncio.get_running_loop().time()

    def reasons(self):
        return [kwargs["reason"] for _, kwargs in self.events.named("emit")]


@pytest.fixture
def server():
    return Server


@pytest.fixture
def rig():
    return lambda server=None, plugin=None: Rig(server or Server(), plugin or Plugin())


@pytest.fixture
def silent():
    return Silent


@pytest.fixture
def new_queue():
    return lambda name=DRIVER: ClaimQueue(name=name, telemetry=Silent())
