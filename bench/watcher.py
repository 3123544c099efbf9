"""Claims as a benchmark sees them: edits that are sent, and a watch that tells when each is finished."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from bench.objects import WATCHED
from bench.process import BenchError
from resizer.devcluster.client import Client
from resizer.devcluster.endpoint import CLAIMS

Key = tuple[str, str]
"""Namespace and name."""
_STALL_S = 120.0
_LOOK_EVERY_S = 1.0
"""How often it is seen whether the program still runs."""
_SELECTOR = ",".join(f"{key}={value}" for key, value in WATCHED.items())


class Watcher:
    """Follows the watched claims, and tells when each has reached a size."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reached: dict[tuple[str, str, str], float] = {}
        self._changed = asyncio.Event()
        self._listed = asyncio.Event()
        self.on_change: Callable[[dict[str, Any]], None] = lambda _claim: None
        """Called with every claim that has changed."""

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow for the block, from when the first list has arrived."""
        following = asyncio.create_task(self._follow())
        try:
            await self._listed.wait()
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def wait(self, keys: list[Key], size: str, *, check: Callable[[], None] = lambda: None) -> list[float]:
        """Wait until each of these claims has finished at this size; when that was. Progress keeps the wait going."""
        missing, quiet_s = {(*key, size) for key in keys}, 0.0
        while missing := {key for key in missing if key not in self._reached}:
            check()
            if quiet_s > _STALL_S:
                text = f"{len(missing)} of {len(keys)} claims have not grown, {'/'.join(min(missing)[:2])} among them"
                raise BenchError(f"nothing has changed for {_STALL_S:.0f} s: {text}")
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), _LOOK_EVERY_S)
                quiet_s = 0.0
            except TimeoutError:
                quiet_s += _LOOK_EVERY_S
        return [self._reached[(*key, size)] for key in keys]

    async def _follow(self) -> None:
        version_seen = False
        async with contextlib.aclosing(self._client.watch(CLAIMS, label_selector=_SELECTOR)) as events:
            async for event in events:
                self._note(event.object)
                if not version_seen:
                    version_seen = True
                    self._listed.set()

    def _note(self, claim: dict[str, Any]) -> None:
        meta, status = claim["metadata"], claim.get("status", {})
        if not status.get("allocatedResourceStatuses"):
            size = status.get("capacity", {}).get("storage", "")
            self._reached.setdefault((meta["namespace"], meta["name"], size), time.perf_counter())
            self._changed.set()
        self.on_change(claim)


async def edit(client: Client, key: Key, size: str) -> float:
    """Ask for a size; when the request was sent."""
    wish = {"spec": {"resources": {"requests": {"storage": size}}}}
    began = time.perf_counter()
    await client.patch(CLAIMS, key[1], wish, namespace=key[0])
    return began


async def edit_all(client: Client, keys: list[Key], size: str) -> float:
    """Ask for a size of all of them at once; when the first request was sent."""
    return min(await asyncio.gather(*(edit(client, key, size) for key in keys)))
