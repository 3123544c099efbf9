"""Plays the kubelets of a benchmark: grows no filesystem, but reads and writes the API server as a kubelet does.

When a pod's nudge arrives, its claims are read, and those that wait for their node go to NodeResizeInProgress and
are finished. Without nudges (the peer) a claim is taken up as soon as it waits, a minute before a real kubelet would.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from bench.objects import WATCHED
from bench.watcher import Key
from resizer.devcluster.client import Client
from resizer.devcluster.endpoint import CLAIMS, PODS

_NUDGED_AT = "csi-resizer.dev/nudged-at"
_SELECTOR = ",".join(f"{key}={value}" for key, value in WATCHED.items())


class Kubelets:
    """The kubelets of all nodes."""

    def __init__(self, client: Client, *, wait_for_nudge: bool) -> None:
        self._client = client
        self._wait_for_nudge = wait_for_nudge
        self._seen: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the pods of watched claims for the block."""
        following = asyncio.create_task(self._follow())
        try:
            await self._listed.wait()
            yield
        finally:
            for task in (following, *self._tasks):
                task.cancel()
            await asyncio.gather(following, *self._tasks, return_exceptions=True)

    def see(self, claim: dict[str, Any]) -> None:
        """Look at a claim that has changed."""
        if not self._wait_for_nudge and _state(claim) == "NodeResizePending":
            self._begin(self._grow(claim))

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._client.watch(PODS, label_selector=_SELECTOR)) as events:
            async for event in events:
                self._listed.set()
                meta = event.object["metadata"]
                nudged = meta.get("annotations", {}).get(_NUDGED_AT, "")
                if nudged and nudged != self._seen.get(meta["uid"]) and self._wait_for_nudge:
                    self._seen[meta["uid"]] = nudged
                    self._begin(self._sync(event.object))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _sync(self, pod: dict[str, Any]) -> None:
        """Look at all claims of a pod."""
        namespace = pod["metadata"]["namespace"]
        for volume in pod["spec"]["volumes"]:
            name = volume["persistentVolumeClaim"]["claimName"]
            claim = await self._client.get(CLAIMS, name, namespace=namespace)
            if _state(claim) == "NodeResizePending":
                await self._grow(claim)

    async def _grow(self, claim: dict[str, Any]) -> None:
        key = (claim["metadata"]["namespace"], claim["metadata"]["name"])
        await self._write(key, {"allocatedResourceStatuses": {"storage": "NodeResizeInProgress"}})
        capacity = {"storage": claim["status"]["allocatedResources"]["storage"]}
        await self._write(key, {"capacity": capacity, "allocatedResourceStatuses": None, "conditions": []})

    async def _write(self, key: Key, status: dict[str, Any]) -> None:
        await self._client.patch_status(CLAIMS, key[1], status, namespace=key[0])


def _state(claim: dict[str, Any]) -> str:
    return str((claim.get("status", {}).get("allocatedResourceStatuses") or {}).get("storage", ""))
