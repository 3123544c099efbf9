"""One operation on a volume at a time, finished even when its caller has left.

The CSI specification ("Concurrency", "Operation pending for volume") lets a second call be answered ABORTED; the
caller comes again. A caller whose deadline passed does not undo what it began: the operation runs on to its end
under its lock, so that no volume is left half changed by a cancelled call.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from grpc import StatusCode

from resizer.driver.failure import CallError

Result = TypeVar("Result")


class Guard:
    """The operations under way, by the name of what each one changes."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def run(self, key: str, operation: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run the operation on `key` to its end, whether or not the caller stays; ABORTED if one is under way."""
        if key in self._running:
            raise CallError(StatusCode.ABORTED, f"an operation on {key} is under way: try again when it is done")
        task = asyncio.get_running_loop().create_task(operation())
        self._running[key] = task
        task.add_done_callback(functools.partial(self._release, key))
        return await asyncio.shield(task)

    def _release(self, key: str, task: asyncio.Task[Any]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # seen: nobody may be left to take it

    async def wait_idle(self) -> None:
        """Wait until no operation is under way."""
        while self._running:
            await asyncio.wait(self._running.values())
