"""The API server on a socket: what other code starts, points clients at, and looks into.

    async with ApiServer.start() as server:
        server.url, server.token, server.ca_pem

Tests reach behind the socket: `faults`, `audit`, `store`, `inject`, `compact`. People use `/admin/...`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from resizer.devcluster.apiserver.audit import Audit
from resizer.devcluster.apiserver.catalogue import Catalogue
from resizer.devcluster.apiserver.certificate import Authority
from resizer.devcluster.apiserver.discovery import Discovery
from resizer.devcluster.apiserver.edge import Edge
from resizer.devcluster.apiserver.engine import Engine
from resizer.devcluster.apiserver.faults import Faults
from resizer.devcluster.apiserver.handler import Handler
from resizer.devcluster.apiserver.identity import ADMIN_GROUP, AUTHENTICATED, Tokens, User
from resizer.devcluster.apiserver.rbac import BOOTSTRAP, Authorizer
from resizer.devcluster.apiserver.resource import Document
from resizer.devcluster.apiserver.review import Reviews
from resizer.devcluster.apiserver.store import Store, encode
from resizer.devcluster.apiserver.stream import Limits
from resizer.devcluster.apiserver.target import Target, WriteOptions

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
_MOST_BODY_BYTES = 3 * 1024 * 1024
_EVENT_LIFETIME = dt.timedelta(hours=1)
_SWEEP_EVERY_S = 60.0
_RBAC = "rbac.authorization.k8s.io"


class ApiServer:
    """A running API server. `start` makes one; it ends with its `async with` block."""

    def __init__(self, *, history: int, audit_limit: int, limits: Limits, token: str) -> None:
        self.catalogue = Catalogue()
        self.store = Store(self.catalogue.resources, history=history)
        self.tokens = Tokens(clock=time.monotonic)
        self.faults = Faults()
        self.audit = Audit(limit=audit_limit)
        self.engine = Engine(self.store, now=_now)
        self.token = self.tokens.issue(User("resizer-dev-admin", (ADMIN_GROUP, AUTHENTICATED)), token=token)
        self.ca_pem = b""
        self.url = ""
        self._stop_sweeping: Callable[[], None] = lambda: None
        authorizer = Authorizer(self.store)
        self._authority: Authority | None = None
        self._runner: web.ServerRunner | None = None
        self._reopen: Callable[[], web.TCPSite]
        self._edge = Edge(
            catalogue=self.catalogue,
            store=self.store,
            handler=Handler(self.catalogue, self.engine, Reviews(authorizer, self.tokens, now=_now)),
            authorizer=authorizer,
            tokens=self.tokens,
            faults=self.faults,
            audit=self.audit,
            limits=limits,
        )
        self._bootstrap()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: bool = True,
        token: str = "",
        history: int = 10_000,
        audit_limit: int = 100_000,
        bookmark_every_s: float = 60.0,
    ) -> AsyncIterator[Self]:
        """Serve until the block is left. Port 0 takes a free one. Raises OSError if the port is taken.

        `history` is how many changes each resource remembers (older versions get 410), `audit_limit` how many
        requests `audit` keeps.
        """
        limits = Limits(bookmark_every_s=bookmark_every_s)
        server = cls(history=history, audit_limit=audit_limit, limits=limits, token=token)
        runner = web.ServerRunner(
            web.Server(server._edge.handle, request_factory=_request, access_log=None),
            handle_signals=False,
            shutdown_timeout=2.0,
        )
        await runner.setup()
        try:
            await server._listen(runner, host, port, tls=tls)
            server._sweep()
            yield server
        finally:
            server._stop_sweeping()
            server.faults.clear()
            server._edge.streams.end()
            await runner.cleanup()

    async def _listen(self, runner: web.ServerRunner, host: str, port: int, *, tls: bool) -> None:
        context = None
        if tls:
            hosts = list(dict.fromkeys([host, "127.0.0.1", "::1", "localhost"]))
            self._authority = Authority([name for name in hosts if name not in _EVERYWHERE], now=_now())
            self.ca_pem = self._authority.ca_pem
            context = self._authority.server_context()
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        bound = runner.addresses[0]
        self._reopen = lambda: web.TCPSite(runner, host, bound[1], ssl_context=context)
        self._runner = runner
        shown = "127.0.0.1" if host in _EVERYWHERE else host
        shown = f"[{shown}]" if ":" in shown else shown
        self.url = f"{'https' if tls else 'http'}://{shown}:{bound[1]}"
        self._edge.discovery = Discovery(self.catalogue, address=f"{shown}:{bound[1]}")

    def add_token(
        self, user: str, groups: Sequence[str] = (), *, token: str = "", lifetime_s: float | None = None
    ) -> str:
        """Issue a token for a user; what it may do is said by RBAC objects in the store."""
        everyone = tuple(dict.fromkeys([*groups, AUTHENTICATED]))
        return self.tokens.issue(User(user, everyone), token=token, lifetime_s=lifetime_s)

    def kubeconfig(self, path: Path, *, token: str = "", namespace: str = "default") -> None:
        """Write a kubeconfig, all at once and readable by its owner only."""
        write_privately(path, kubeconfig_text(self.url, self.ca_pem, token or self.token, namespace))

    def create(self, group: str, plural: str, body: Document) -> Document:
        """Create an object without a request (for seeding): same rules, no audit record."""
        resource = self.store.named(plural, group=group).resource
        namespace = str(body.get("metadata", {}).get("namespace", "")) if resource.namespaced else ""
        written = self.engine.create(Target(resource, namespace), body, WriteOptions())
        result: Document = json.loads(written.raw)
        return result

    def inject(self, group: str, plural: str, name: str, raw: bytes, *, namespace: str = "") -> None:
        """Store bytes as an object, whatever they are: what no sane server sends, for tests of clients."""
        self.store.put_raw(self.store.named(plural, group=group), (namespace, name), raw)

    def compact(self) -> None:
        """Forget all history: older resource versions and continue tokens are answered with 410."""
        self.store.compact()

    def end_watches(self) -> None:
        """Close every open watch, as a server does now and then."""
        self._edge.streams.end()

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Be gone for a while: connections break, new ones are refused; afterwards everything is as it was."""
        assert self._runner is not None
        for site in list(self._runner.sites):
            await site.stop()
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()
        try:
            yield
        finally:
            await self._reopen().start()

    def statistics(self) -> Document:
        """Say how much is held and served."""
        return {**self.store.statistics(), "watches": len(self._edge.streams), "requests": self.audit.total}

    def _sweep(self) -> None:
        self.engine.expire_events(older_than=_EVENT_LIFETIME)
        timer = asyncio.get_running_loop().call_later(_SWEEP_EVERY_S, self._sweep)
        self._stop_sweeping = timer.cancel

    def _bootstrap(self) -> None:
        for name in _NAMESPACES:
            self.create("", "namespaces", {"metadata": {"name": name}})
            self.create("", "serviceaccounts", {"metadata": {"name": "default", "namespace": name}})
        for plural, body in BOOTSTRAP:
            self.create(_RBAC, plural, json.loads(encode(body)))


def kubeconfig_text(url: str, ca_pem: bytes, token: str, namespace: str) -> bytes:
    """Build a kubeconfig with one cluster, user and context, all called `resizer-dev`. JSON is YAML, too."""
    cluster: Document = {"server": url}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem).decode()
    name = "resizer-dev"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
    }
    return json.dumps(config, indent=2).encode() + b"\n"


def write_privately(path: Path, data: bytes) -> None:
    """Write a file under a name of its own and move it into place, mode 0600."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """Make a request object as aiohttp's own factory does, with a real server's bound on bodies."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_MOST_BODY_BYTES)
