"""The workers of one driver: each takes a key, has the claim loop look at it, and puts it back as the result says.

The one `except Exception` of the program stands here: a bug in deciding or acting on one claim becomes a logged,
counted, backed-off retry of that claim, and no other claim notices.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from resizer.pipeline.queue import ClaimQueue
from resizer.pipeline.result import Result

BUG_DELAY_START_S: Final = 1.0
BUG_DELAY_MAX_S: Final = 300.0

Look = Callable[[str], Awaitable[Result]]
OnBug = Callable[[str], None]

log = structlog.get_logger()


class Workers:
    """A fixed number of workers on one queue. `run` returns when the queue is closed and all are done."""

    def __init__(self, queue: ClaimQueue, look: Look, *, count: int, on_bug: OnBug) -> None:
        self._queue = queue
        self._look = look
        self._count = count
        self._on_bug = on_bug
        self._bugs: dict[str, int] = {}

    async def run(self) -> None:
        """Work until the queue is closed; cancelled, it stops at once."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._work(), name=f"worker-{self._queue.name}-{number}")

    async def _work(self) -> None:
        while (key := await self._queue.take()) is not None:
            try:
                result = await self._look(key)
                self._bugs.pop(key, None)
            except Exception as error:  # noqa: BLE001  # a bug in one claim's work must not end the others'
                result = self._after_bug(key, error)
            finally:
                self._queue.done(key)
            if result.requeue_after_s is None:
                self._queue.cancel_delay(key)
            else:
                self._queue.add_after(key, result.requeue_after_s)

    def _after_bug(self, key: str, error: Exception) -> Result:
        bugs = self._bugs[key] = self._bugs.get(key, 0) + 1
        delay_s = min(BUG_DELAY_START_S * 2 ** min(bugs - 1, 16), BUG_DELAY_MAX_S)
        self._on_bug(key)
        log.error("worker.bug", claim=key, queue=self._queue.name, retry_in_s=delay_s, exc_info=error)
        return Result("bug", delay_s)
