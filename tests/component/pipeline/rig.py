"""The real pipeline in this process: development API server, scripted drivers on sockets, `app.run_pipeline` between.

Objects are seeded through the API server's own rules, without a request; waiting is for a change in its store, never
for time to pass. Back-off is short unless a test says otherwise. What is logged is in `Rig.logs`.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from resizer.app import run_pipeline
from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.apiserver.engine import DeleteOptions, Target, WriteOptions
from resizer.settings import load_settings
from tests.scripted_driver import Plan, ScriptedDriver

Document = dict[str, Any]
NAMESPACE = "default"
GIB = 1 << 30
RETRY_START = "20ms"
RETRY_MAX = "400ms"


class Rig:
    """One API server, its scripted drivers by name, and the pipeline while it runs."""

    def __init__(self, server: ApiServer, folder: Path, drivers: Sequence[ScriptedDriver]) -> None:
        self.server = server
        self.folder = folder
        self.drivers = list(drivers)
        self.logs: list[structlog.typing.EventDict] = []
        self.http = f"127.0.0.1:{_free_port()}"
        self.changed = asyncio.Event()
        self.last_change_s = 0.0
        self._serving: dict[ScriptedDriver, contextlib.AbstractAsyncContextManager[Path]] = {}
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        for plural in ("persistentvolumeclaims", "persistentvolumes", "events"):
            server.store.named(plural).listeners.add(self._note if plural != "events" else self.changed.set)

    @property
    def driver(self) -> ScriptedDriver:
        return self.drivers[0]

    def socket(self, driver: ScriptedDriver) -> Path:
        return self.folder / f"{self.drivers.index(driver)}.sock"

    async def serve(self, driver: ScriptedDriver) -> None:
        """Have the driver answer on its socket."""
        self._serving[driver] = driver.serve(f"unix://{self.socket(driver)}")
        await self._serving[driver].__aenter__()

    async def withdraw(self, driver: ScriptedDriver) -> None:
        """Have nobody answer on the driver's socket, if it is served."""
        serving = self._serving.pop(driver, None)
        if serving is not None:
            await serving.__aexit__(None, None, None)

    @contextlib.asynccontextmanager
    async def away(self, driver: ScriptedDriver) -> AsyncIterator[None]:
        """Nobody answers on the driver's socket for the block."""
        await self.withdraw(driver)
        yield
        await self.serve(driver)

    def start(self, **settings: Any) -> None:
        """Run the pipeline from now on."""
        self._stop = asyncio.Event()
        chosen = {
            "csi_address": [str(self.socket(driver)) for driver in self.drivers],
            "kubeconfig": str(self.folder / "kubeconfig"),
            "retry_interval_start": RETRY_START,
            "retry_interval_max": RETRY_MAX,
            "http_endpoint": self.http,
            "shutdown_grace": "1s",
        }
        self._task = asyncio.create_task(run_pipeline(load_settings(chosen | settings), stop=self._stop))

    async def stop(self) -> None:
        """End the pipeline cleanly."""
        if self._task is not None:
            self._stop.set()
            task, self._task = self._task, None
            await asyncio.wait_for(task, 20)

    async def kill(self) -> None:
        """Cut the pipeline off wherever it is, as a killed process: what it remembered is lost."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait({task})

    def _note(self) -> None:
        self.last_change_s = asyncio.get_running_loop().time()
        self.changed.set()

    # What stands in the API server.

    def create(self, plural: str, body: Document, *, group: str = "") -> Document:
        return self.server.create(group, plural, body)

    def get(self, plural: str, name: str, *, namespace: str = NAMESPACE) -> Document | None:
        version = self.server.store.named(plural).objects.get((namespace, name))
        return version.document() if version is not None else None

    def claim(self, name: str = "data") -> Document:
        found = self.get("persistentvolumeclaims", name)
        assert found is not None
        return found

    def volume(self, name: str = "data") -> Document:
        found = self.get("persistentvolumes", f"pv-{name}", namespace="")
        assert found is not None
        return found

    def events(self, name: str = "data") -> list[str]:
        """Events about this claim, as type/reason, oldest first; repetitions are one."""
        docs = [version.document() for version in self.server.store.named("events").objects.values()]
        mine = [doc for doc in docs if (doc.get("regarding") or doc["involvedObject"])["name"] == name]
        mine.sort(key=lambda doc: int(doc["metadata"]["resourceVersion"]))
        return [f"{doc['type']}/{doc['reason']}" for doc in mine]

    def event_messages(self, name: str = "data") -> str:
        docs = [version.document() for version in self.server.store.named("events").objects.values()]
        return "\n".join(
            doc.get("message") or doc.get("note") or ""
            for doc in docs
            if (doc.get("regarding") or doc["involvedObject"])["name"] == name
        )

    def patch(
        self, plural: str, name: str, change: Callable[[Document], None], *, subresource: str = "", ns: str = NAMESPACE
    ) -> None:
        """Change an object as a client would, by its rules."""
        resource = self.server.store.named(plural).resource
        target = Target(resource, ns if resource.namespaced else "", name, subresource)

        def apply(doc: Document) -> Document:
            change(doc)
            return doc

        self.server.engine.patch(target, apply, WriteOptions())

    def delete(self, plural: str, name: str, *, group: str = "") -> None:
        """Delete an object for good, finalizers or not."""
        resource = self.server.store.named(plural, group=group).resource
        target = Target(resource, NAMESPACE if resource.namespaced else "", name)
        if self.server.engine.get(target).document()["metadata"].get("finalizers"):
            self.patch(plural, name, lambda doc: doc["metadata"].pop("finalizers"))
        self.server.engine.delete(target, DeleteOptions(grace_s=0))

    def mark_deleted(self, name: str) -> None:
        """Delete a claim that a finalizer holds: it stays, marked."""
        resource = self.server.store.named("persistentvolumeclaims").resource
        self.server.engine.delete(Target(resource, NAMESPACE, name), DeleteOptions())

    def ask(self, size: str, name: str = "data") -> None:
        """The user edits the claim."""

        def edit(doc: Document) -> None:
            doc["spec"]["resources"]["requests"]["storage"] = size

        self.patch("persistentvolumeclaims", name, edit)

    def seed(
        self,
        name: str = "data",
        *,
        requested: str = "5Gi",
        capacity: str = "3Gi",
        driver: str = "",
        volume: bool = True,
        annotations: dict[str, str] | None = None,
        secret: str = "",
    ) -> None:
        """Create a bound claim and its volume `pv-<name>`, as a provisioner would have left them."""
        claim = self.create("persistentvolumeclaims", claim_body(name, requested=requested, annotations=annotations))
        self.set_status(name, {"phase": "Bound", "capacity": {"storage": capacity}, "accessModes": ["ReadWriteOnce"]})
        if volume:
            uid = claim["metadata"]["uid"]
            body = volume_body(name, capacity=capacity, driver=driver or self.driver.plan.name, uid=uid)
            if secret:
                body["spec"]["csi"]["controllerExpandSecretRef"] = {"name": secret, "namespace": NAMESPACE}
            self.create("persistentvolumes", body)

    def set_status(self, name: str, status: Document) -> None:
        self.patch("persistentvolumeclaims", name, lambda doc: doc.update(status=status), subresource="status")

    def run_pod(self, name: str, claim: str = "data") -> None:
        """A running pod that mounts the claim."""
        self.create("pods", pod_body(name, claim))
        self.patch("pods", name, lambda doc: doc["status"].update(phase="Running"), subresource="status")

    def attach(self, name: str, claim: str = "data") -> None:
        """The claim's volume is attached to node-1."""
        spec = {"attacher": "x", "nodeName": "node-1", "source": {"persistentVolumeName": f"pv-{claim}"}}
        self.create("volumeattachments", {"metadata": {"name": name}, "spec": spec}, group="storage.k8s.io")

    # Waiting.

    async def wait(self, holds: Callable[[], bool], *, timeout_s: float = 15.0, why: Callable[[], Any] = str) -> None:
        """Wait until this holds; looked at on every change in the store."""
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self.changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await self.changed.wait()
        except TimeoutError:
            state = why() or self.claim().get("status") if self.get("persistentvolumeclaims", "data") else why()
            raise AssertionError(f"never came true; state {state}; last logged {self.logs[-5:]}") from None

    async def wait_quiet(self, quiet_s: float, *, timeout_s: float = 120.0) -> None:
        """Wait until no claim or volume has been written for so long."""
        clock = asyncio.get_running_loop().time
        async with asyncio.timeout(timeout_s):
            # Silence is what is waited for, and nobody tells of it.
            while (left_s := self.last_change_s + quiet_s - clock()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(left_s)

    async def fetch(self, path: str) -> tuple[int, str]:
        """Ask the program's own HTTP endpoint."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.http}{path}") as answer:
            return answer.status, await answer.text()

    async def debug_state(self) -> Document:
        document: Document = json.loads((await self.fetch("/debug/state"))[1])
        return document

    def logged(self, event: str) -> list[structlog.typing.EventDict]:
        return [entry for entry in self.logs if entry["event"] == event]

    def sizes(self, name: str = "data", driver: ScriptedDriver | None = None) -> list[int]:
        """Bytes of each ControllerExpandVolume for this claim's volume."""
        calls = (driver or self.driver).calls_of("ControllerExpandVolume")
        mine = (call.request for call in calls if call.request["volume_id"] == f"h-{name}")
        return [int(request["capacity_range"]["required_bytes"]) for request in mine]


def is_grown(rig: Rig, size: str = "5Gi", name: str = "data") -> Callable[[], bool]:
    """The claim has this capacity, and nothing of a resize is left on it."""

    def holds() -> bool:
        status = rig.claim(name)["status"]
        over = not status.get("allocatedResourceStatuses") and not status.get("conditions")
        return status["capacity"]["storage"] == size and over

    return holds


def claim_body(name: str, *, requested: str, annotations: dict[str, str] | None = None) -> Document:
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations or {}},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": requested}},
            "volumeName": f"pv-{name}",
            "storageClassName": "fast",
        },
    }


def volume_body(name: str, *, capacity: str, driver: str, uid: str) -> Document:
    return {
        "metadata": {"name": f"pv-{name}"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": capacity},
            "storageClassName": "fast",
            "csi": {"driver": driver, "volumeHandle": f"h-{name}", "fsType": "ext4"},
            "claimRef": {"kind": "PersistentVolumeClaim", "namespace": NAMESPACE, "name": name, "uid": uid},
        },
    }


def pod_body(name: str, claim: str) -> Document:
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running_rig(folder: Path, *plans: Plan) -> AsyncIterator[Rig]:
    """An API server and scripted drivers; the pipeline is ended with the block if it still runs."""
    drivers = [ScriptedDriver(plan) for plan in plans or (Plan(node_expansion_required=False),)]
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(ApiServer.start())
        server.kubeconfig(folder / "kubeconfig")
        rig = Rig(server, folder, drivers)
        rig.logs = stack.enter_context(structlog.testing.capture_logs())
        for driver in drivers:
            await rig.serve(driver)
            stack.push_async_callback(rig.withdraw, driver)
        stack.push_async_callback(rig.stop)
        fast = {"metadata": {"name": "fast"}, "provisioner": "x", "allowVolumeExpansion": True}
        rig.create("storageclasses", fast, group="storage.k8s.io")
        yield rig
