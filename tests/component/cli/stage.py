"""A development API server with claims in whatever state a test wants, and the real commands run against it."""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from typer.testing import CliRunner

from resizer.cli.commands import make_app
from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.client import CLAIMS, Client

DRIVER = "csi-qcfsplugin"
STORAGE = "storage.k8s.io"
SINCE = "2026-01-01T00:00:00Z"
IN_PROGRESS = "ControllerResizeInProgress"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@dataclass
class Stage:
    server: ApiServer
    client: Client
    folder: Path
    started: list = field(default_factory=list)

    @property
    def environment(self):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        mine = {"KUBECONFIG": str(self.folder / "kubeconfig"), "HOME": str(self.folder), "PATH": path, "COLUMNS": "100"}
        return {**os.environ, **mine}

    async def start(self, *arguments, program=(sys.executable, "-m", "resizer.cli.main")):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *program, *arguments, stdout=pipe, stderr=pipe, env=self.environment
        )
        self.started.append(process)
        return process

    async def run(self, *arguments, timeout_s=30.0, **more):
        """Run a command as a program of its own."""
        return await ended(await self.start(*arguments, **more), timeout_s=timeout_s)

    async def call(self, *arguments):
        """Run a command in this process, in a thread with an event loop of its own: quicker to start."""
        runner = CliRunner(env={name: self.environment[name] for name in ("KUBECONFIG", "HOME", "COLUMNS")})
        logging_before = structlog.get_config()
        try:
            found = await asyncio.to_thread(runner.invoke, make_app(), arguments)
        finally:
            structlog.configure(**logging_before)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return Outcome(found.exit_code, found.stdout, found.stderr)

    def claim(self, name, *, size="300Gi", namespace="default", labels=None, class_="csi-qcfs", **volume):
        """Create a claim and its volume, behind the socket, the claim still without status."""
        meta = {"name": name, "namespace": namespace, "labels": labels or {}}
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class_,
            "volumeName": f"pv-{name}",
            "resources": {"requests": {"storage": size}},
        }
        made = self.server.create("", "persistentvolumeclaims", {"metadata": meta, "spec": spec})
        source = volume.pop("source", {"csi": {"driver": DRIVER, "volumeHandle": f"h-{name}", **volume}})
        body = {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class_,
            "claimRef": {"namespace": namespace, "name": name, "uid": made["metadata"]["uid"]},
            **source,
        }
        self.server.create("", "persistentvolumes", {"metadata": {"name": f"pv-{name}"}, "spec": body})
        return made["metadata"]["uid"]

    async def bound(self, name, *, to="", state="", capacity="300Gi", namespace="default", **made):
        """Create a bound claim; with `to` it asks for that, and with `state` a controller has taken it up."""
        uid = self.claim(name, size=capacity, namespace=namespace, **made)
        status = {"phase": "Bound", "capacity": {"storage": capacity}, "accessModes": ["ReadWriteOnce"]}
        await self.client.patch_status(CLAIMS, name, status, namespace=namespace)
        if to:
            await self.ask(name, to, namespace=namespace)
        if state:
            await self.set_state(name, state, to, namespace=namespace)
        return uid

    async def ask(self, name, size, *, namespace="default"):
        wish = {"spec": {"resources": {"requests": {"storage": size}}}}
        await self.client.patch(CLAIMS, name, wish, namespace=namespace)

    async def set_state(self, name, state, size, *, namespace="default"):
        condition = {"type": "Resizing", "status": "True", "lastTransitionTime": SINCE}
        status = {
            "allocatedResources": {"storage": size},
            "allocatedResourceStatuses": {"storage": state},
            "conditions": [condition],
        }
        await self.client.patch_status(CLAIMS, name, status, namespace=namespace)

    async def finish(self, name, size, *, namespace="default"):
        status = {"capacity": {"storage": size}, "allocatedResourceStatuses": None, "conditions": None}
        await self.client.patch_status(CLAIMS, name, status, namespace=namespace)

    def event(self, name, uid, message, *, namespace="default", count=1):
        about = {"kind": "PersistentVolumeClaim", "namespace": namespace, "name": name, "uid": uid}
        body = {
            "metadata": {"name": f"{name}.{count}", "namespace": namespace},
            "involvedObject": about,
            "type": "Warning",
            "reason": "VolumeResizeFailed",
            "message": f'resize volume "pv-{name}" by resizer "{DRIVER}" failed: {message}',
            "count": count,
            "firstTimestamp": "2026-11-01T00:00:00Z",
            "lastTimestamp": "2026-11-01T00:00:00Z",
        }
        self.server.create("", "events", body)

    async def person(self, user, resources, *, verbs=("get", "list")):
        """Let somebody do this much in the namespace default; return the path of their kubeconfig."""
        api = "rbac.authorization.k8s.io"
        meta = {"name": user, "namespace": "default"}
        rules = [{"apiGroups": [""], "resources": resources, "verbs": list(verbs)}]
        self.server.create(api, "roles", {"metadata": dict(meta), "rules": rules})
        role, subject = {"apiGroup": api, "kind": "Role", "name": user}, {"kind": "User", "name": user, "apiGroup": api}
        self.server.create(api, "rolebindings", {"metadata": dict(meta), "roleRef": role, "subjects": [subject]})
        path = self.folder / f"kubeconfig-{user}"
        await asyncio.to_thread(self.server.kubeconfig, path, token=self.server.add_token(user))
        return str(path)

    def pod(self, name, claim, *, node="node-1", namespace="default"):
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
        container = {"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
        spec = {"nodeName": node, "containers": [container], "volumes": [volume]}
        self.server.create("", "pods", {"metadata": {"name": name, "namespace": namespace}, "spec": spec})


async def ended(process, *, timeout_s=30.0):
    async with asyncio.timeout(timeout_s):
        out, err = await process.communicate()
    return Outcome(process.returncode, out.decode(), err.decode())


@contextlib.asynccontextmanager
async def staged(folder):
    async with ApiServer.start() as server:
        await asyncio.to_thread(server.kubeconfig, folder / "kubeconfig")
        allowed = {"metadata": {"name": "csi-qcfs"}, "provisioner": DRIVER, "allowVolumeExpansion": True}
        server.create(STORAGE, "storageclasses", allowed)
        server.create(STORAGE, "csidrivers", {"metadata": {"name": DRIVER}, "spec": {"attachRequired": False}})
        async with Client(server.url, token=server.token, ca_pem=server.ca_pem, timeout_s=10) as client:
            stage = Stage(server, client, folder)
            try:
                yield stage
            finally:
                for process in stage.started:
                    if process.returncode is None:
                        process.send_signal(signal.SIGKILL)
                        await process.communicate()


async def line_of(process, text, *, timeout_s=15.0):
    """Read the program's output up to the line that has this text in it."""
    async with asyncio.timeout(timeout_s):
        while line := (await process.stdout.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"the output ended without {text!r}")
