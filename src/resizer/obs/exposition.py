"""The text of `/metrics`, written for everybody who waits for it at once, and never for most of the time.

Called by `http`. Writing a few thousand series takes tens of milliseconds of the event loop, on which leases are
renewed and claims are grown; anybody who reaches the port may ask. So requests that arrive while nobody is writing
share the next text, and after a text that took T there is a pause of 3 T: a flood of scrapes has at most a quarter of
the loop. What a client gets was written after it asked: it is never stale. A single scraper never waits.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

PAUSE: Final = 3.0
Encode = Callable[[CollectorRegistry], bytes]


class Exposition:
    """Writes the metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.written = 0
        self._registry = registry
        self._pending: dict[str, asyncio.Task[bytes]] = {}
        self._free_at = 0.0

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that an Accept header asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        task = self._pending.get(content_type)
        if task is None:
            task = asyncio.create_task(self._write(encode, content_type), name="metrics")
            task.add_done_callback(_look_at)
            self._pending[content_type] = task
        # A client that goes away does not take the text from the others.
        return await asyncio.shield(task), content_type

    async def _write(self, encode: Encode, content_type: str) -> bytes:
        # Not the loop's time: that of uvloop stands still within one step, and the step is what is measured.
        while (wait_s := self._free_at - time.monotonic()) > 0:  # noqa: ASYNC110 -- the time passes, nobody sets it
            await asyncio.sleep(wait_s)
        del self._pending[content_type]  # who asks from here on gets a later text
        started = time.monotonic()
        try:
            return encode(self._registry)
        finally:
            self.written += 1
            ended = time.monotonic()
            self._free_at = ended + PAUSE * (ended - started)


def _look_at(task: asyncio.Task[bytes]) -> None:
    """Take notice of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
