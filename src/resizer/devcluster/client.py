"""A thin client of the Kubernetes API for the guests: provisioner, attacher, kubelet, demo and tests.

Documents are plain dicts, each call is tried once, and every wait has a deadline. Refusals come as one exception
class for each family of HTTP status. The pipeline has a client of its own (`resizer.kube`) and never uses this one.

    async with Client(url, token=token, ca_pem=ca_pem) as client:
        claim = await client.get(CLAIMS, "data", namespace="default")
        async with contextlib.aclosing(client.watch(PODS)) as events:
            async for event in events: ...
"""

from __future__ import annotations

import asyncio
import base64
import io
import random
import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import msgspec
import yaml

from resizer.devcluster.endpoint import (
    ATTACHMENTS,
    ATTRIBUTES_CLASSES,
    CLAIMS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CSI_DRIVERS,
    CSI_NODES,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    QUOTAS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    VOLUMES,
    Endpoint,
)
from resizer.devcluster.refusal import (
    ApiClientError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    NotFoundError,
    ServerError,
    StatusError,
    TooManyRequestsError,
    UnauthorizedError,
    UnreachableError,
    refusal,
)

__all__ = [
    "ATTACHMENTS",
    "ATTRIBUTES_CLASSES",
    "CLAIMS",
    "CLUSTER_ROLES",
    "CLUSTER_ROLE_BINDINGS",
    "CONFIG_MAPS",
    "CSI_DRIVERS",
    "CSI_NODES",
    "EVENTS",
    "LEASES",
    "NAMESPACES",
    "NODES",
    "PODS",
    "QUOTAS",
    "ROLES",
    "ROLE_BINDINGS",
    "SECRETS",
    "SERVICE_ACCOUNTS",
    "STATEFUL_SETS",
    "STORAGE_CLASSES",
    "VOLUMES",
    "ApiClientError",
    "BadRequestError",
    "Client",
    "ConflictError",
    "Document",
    "Endpoint",
    "ForbiddenError",
    "GoneError",
    "InvalidError",
    "Listing",
    "NotFoundError",
    "ServerError",
    "StatusError",
    "TooManyRequestsError",
    "UnauthorizedError",
    "UnreachableError",
    "WatchEvent",
]

Document = dict[str, Any]
PatchKind = Literal["merge", "strategic", "json"]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

_PATCH_TYPES: dict[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
_decode = msgspec.json.decode
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of a list and the version at which they were read."""

    items: list[Document]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. After a relist, what vanished meanwhile comes as DELETED with its last known state."""

    type: EventType
    object: Document


class Client:
    """Talks to one API server; an async context manager that owns its connections."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        ca_pem: bytes = b"",
        timeout_s: float = 30.0,
        user_agent: str = "resizer-dev",
        connections: int = 100,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", **(headers or {})}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._ca_pem = ca_pem
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connections = connections
        self._opened: aiohttp.ClientSession | None = None

    @classmethod
    def from_kubeconfig(cls, path: Path, **more: Any) -> Self:
        """Read server, CA and token from the current context of a kubeconfig that `resizer dev` wrote."""
        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        ca_pem = base64.b64decode(cluster.get("certificate-authority-data", ""))
        return cls(cluster["server"], token=user.get("token", ""), ca_pem=ca_pem, **more)

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cadata=self._ca_pem.decode()) if self._ca_pem else None
        connector = aiohttp.TCPConnector(limit=self._connections, ssl=context if context is not None else True)
        self._opened = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def get(self, endpoint: Endpoint, name: str, *, namespace: str = "") -> Document:
        """Read one object."""
        return await self.call("GET", endpoint.path(namespace, name))

    async def list(
        self,
        endpoint: Endpoint,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = 0,
    ) -> Listing:
        """Read all objects of a resource, in pages if a page size is given.

        The items of a list do not say what they are; here they do, as everywhere else.
        """
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, limit=str(page_size or ""))
        items: list[Document] = []
        while True:
            page = await self.call("GET", endpoint.path(namespace), query=query)
            what = {"kind": page["kind"].removesuffix("List"), "apiVersion": page["apiVersion"]}
            items += [what | item for item in page["items"]]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return Listing(items, page["metadata"]["resourceVersion"])

    async def create(self, endpoint: Endpoint, body: Document, *, namespace: str = "") -> Document:
        """Create an object; the namespace may stand in its metadata."""
        namespace = namespace or body.get("metadata", {}).get("namespace", "")
        return await self.call("POST", endpoint.path(namespace), body=body)

    async def update(self, endpoint: Endpoint, body: Document, *, subresource: str = "") -> Document:
        """Replace an object; a resourceVersion in it makes the server check that nobody was faster."""
        meta = body["metadata"]
        path = endpoint.path(meta.get("namespace", ""), meta["name"], subresource)
        return await self.call("PUT", path, body=body)

    async def patch(
        self,
        endpoint: Endpoint,
        name: str,
        patch: Any,
        *,
        namespace: str = "",
        subresource: str = "",
        kind: PatchKind = "merge",
    ) -> Document:
        """Change an object by a patch."""
        path = endpoint.path(namespace, name, subresource)
        return await self.call("PATCH", path, body=patch, content_type=_PATCH_TYPES[kind])

    async def patch_status(
        self, endpoint: Endpoint, name: str, status: Document, *, namespace: str = "", resource_version: str = ""
    ) -> Document:
        """Merge into an object's status, at the given version if there is one."""
        body: Document = {"status": status}
        if resource_version:
            body["metadata"] = {"resourceVersion": resource_version}
        return await self.patch(endpoint, name, body, namespace=namespace, subresource="status")

    async def delete(
        self, endpoint: Endpoint, name: str, *, namespace: str = "", grace_s: int | None = None, uid: str = ""
    ) -> Document:
        """Delete an object; finalizers may keep it for a while."""
        body: Document = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        if uid:
            body["preconditions"] = {"uid": uid}
        return await self.call("DELETE", endpoint.path(namespace, name), body=body)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Document:
        """Send one request and decode its answer; for what has no method of its own."""
        headers = {"Content-Type": content_type} if body is not None else {}
        # aiohttp wants large bodies as files.
        data = None if body is None else io.BytesIO(_encode(body))
        url = self._url + path
        try:
            async with self._session.request(
                method, url, params=query or None, data=data, headers=headers, timeout=self._timeout
            ) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{method} {path}: {str(error) or type(error).__name__}") from error
        if response.status >= 400:
            raise refusal(response.status, raw, response.headers.get("Retry-After"))
        return _document(raw)

    async def watch(
        self,
        endpoint: Endpoint,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        idle_s: float = 90.0,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Yield what is there as ADDED, then every change, for ever.

        Ends of the stream, lost connections and 410 are survived: by going on, or by a new list whose differences
        come as events. A stream that says nothing for `idle_s` is given up (bookmarks come once a minute). Refusals
        (403, 404, 422) are raised; objects without a uid are passed over. Use it in `contextlib.aclosing`.
        """
        known: dict[str, Document] = {}
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        version, delay_s = "", 0.0
        while True:
            try:
                if not version:
                    listing = await self.list(
                        endpoint, namespace=namespace, label_selector=label_selector, field_selector=field_selector
                    )
                    for event in _differences(known, listing.items):
                        yield event
                    version, delay_s = listing.resource_version, 0.0
                async for line in self._stream(endpoint.path(namespace), {**query, "resourceVersion": version}, idle_s):
                    kind, doc, delay_s = line["type"], line["object"], 0.0
                    if kind == "ERROR":
                        raise refusal(int(doc.get("code", 500)), _encode(doc), None)
                    version = _version(doc) or version
                    if kind != "BOOKMARK" and _uid(doc):
                        yield _noted(known, kind, doc)
            except GoneError:
                version = ""
            except (UnreachableError, ServerError, TooManyRequestsError, UnauthorizedError):
                delay_s = min(max(0.1, delay_s * 2), 5.0)
                await asyncio.sleep(delay_s * random.uniform(0.5, 1))  # noqa: S311 - spreads retries

    async def _stream(self, path: str, query: Mapping[str, str], idle_s: float) -> AsyncGenerator[Document, None]:
        """Yield the lines of one watch until it ends."""
        params = {**query, "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "300"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=idle_s)
        try:
            async with self._session.get(self._url + path, params=params, timeout=timeout) as response:
                if response.status >= 400:
                    raise refusal(response.status, await response.read(), response.headers.get("Retry-After"))
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line:
                            yield _document(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"watch of {path}: {str(error) or type(error).__name__}") from error

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            raise RuntimeError("the client is used outside its `async with` block")
        return self._opened


def _named(entries: list[Document], name: str) -> Document:
    return next(entry for entry in entries if entry["name"] == name)


def _query(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _document(raw: bytes) -> Document:
    try:
        found: Document = _decode(raw, type=dict[str, Any]) if raw else {}
    except msgspec.DecodeError as error:
        raise UnreachableError(f"the server sent no JSON object: {error}") from error
    return found


def _uid(doc: Document) -> str:
    meta = doc.get("metadata")
    return str(meta.get("uid", "")) if isinstance(meta, dict) else ""


def _version(doc: Document) -> str:
    meta = doc.get("metadata")
    return str(meta.get("resourceVersion", "")) if isinstance(meta, dict) else ""


def _noted(known: dict[str, Document], kind: EventType, doc: Document) -> WatchEvent:
    if kind == "DELETED":
        known.pop(_uid(doc), None)
    else:
        known[_uid(doc)] = doc
    return WatchEvent(kind, doc)


def _differences(known: dict[str, Document], items: list[Document]) -> list[WatchEvent]:
    """Compare what was known with a new list, and take the list over."""
    now = {_uid(doc): doc for doc in items if _uid(doc)}
    gone = [WatchEvent("DELETED", doc) for uid, doc in known.items() if uid not in now]
    events = gone + [WatchEvent("MODIFIED" if uid in known else "ADDED", doc) for uid, doc in now.items()]
    known.clear()
    known.update(now)
    return events
