"""Watches that run only while somebody holds them: pods by namespace, attachments.

`hold` and `release` count; the first starts the watch, the last ends it after a linger, so that a claim that comes
back in a moment finds the list ready. All watches run in one task group, that of `HeldWatches.run`.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

LINGER_S: Final = 10.0


class Runs(Protocol):
    """What is held: something with a loop that ends by cancellation."""

    async def run(self) -> None:
        """Run until cancelled."""


W = TypeVar("W", bound=Runs)


class _Held(Generic[W]):
    def __init__(self, watch: W) -> None:
        self.watch = watch
        self.holders = 0
        self.task: asyncio.Task[None] | None = None
        self.end: asyncio.TimerHandle | None = None


class HeldWatches(Generic[W]):
    """Watches by key, each made by `make(key)` when first held."""

    def __init__(self, make: Callable[[str], W], *, linger_s: float = LINGER_S) -> None:
        self._make = make
        self._linger_s = linger_s
        self._held: dict[str, _Held[W]] = {}
        self._group: asyncio.TaskGroup | None = None

    def hold(self, key: str) -> W:
        """Start or join the watch of this key."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held(self._make(key))
            self._start(held)
        if held.end is not None:
            held.end.cancel()
            held.end = None
        held.holders += 1
        return held.watch

    def release(self, key: str) -> None:
        """Give one `hold` back."""
        held = self._held.get(key)
        if held is None or held.holders == 0:
            return
        held.holders -= 1
        if held.holders == 0:
            held.end = asyncio.get_running_loop().call_later(self._linger_s, self._end, key)

    def get(self, key: str) -> W | None:
        """Return the watch of this key, if it runs."""
        held = self._held.get(key)
        return held.watch if held is not None else None

    def values(self) -> list[W]:
        """Return all watches that run."""
        return [held.watch for held in self._held.values()]

    async def run(self) -> None:
        """Run whatever is held until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for held in self._held.values():
                    self._start(held)
                await asyncio.get_running_loop().create_future()
        finally:
            self._group = None
            for held in self._held.values():
                held.task = None

    def _start(self, held: _Held[W]) -> None:
        if self._group is not None:
            held.task = self._group.create_task(held.watch.run())

    def _end(self, key: str) -> None:
        held = self._held.pop(key)
        if held.task is not None:
            held.task.cancel()
