"""Work by key: one handler at a time for each key, again when it was woken meanwhile, later when it failed.

The provisioner, the attacher and the kubelet-like part are made of these, as Kubernetes' own controllers are. A
handler looks at what stands now and does the next thing; it returns None when there is nothing to wait for, or
the seconds after which it wants to look again. An answer of the API server or of the driver that says no
(ApiError, DriverError) is tried again with a back-off; any other exception is a bug and ends the cluster.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from resizer.devcluster.client import ApiClientError
from resizer.model.errors import DriverError

FIRST_BACKOFF_S: Final = 0.2
MAX_BACKOFF_S: Final = 30.0

Handler = Callable[[str], Awaitable[float | None]]
_log = structlog.get_logger(__name__)


class Reconciler:
    """Runs `handle(key)` for every key that is woken. `name` stands in the log."""

    def __init__(
        self,
        name: str,
        handle: Handler,
        *,
        first_backoff_s: float = FIRST_BACKOFF_S,
        max_backoff_s: float = MAX_BACKOFF_S,
    ) -> None:
        self._name = name
        self._handle = handle
        self._first_backoff_s = first_backoff_s
        self._max_backoff_s = max_backoff_s
        self._woken: dict[str, asyncio.Event] = {}
        self._group: asyncio.TaskGroup | None = None
        self._early: set[str] = set()

    def wake(self, key: str) -> None:
        """Look at this key soon; while its handler runs, once more afterwards."""
        if key in self._woken:
            self._woken[key].set()
        elif self._group is None:
            self._early.add(key)
        else:
            self._woken[key] = asyncio.Event()
            self._group.create_task(self._work(key), name=f"{self._name} {key}")

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for key in sorted(self._early):
                self.wake(key)
            self._early.clear()
            await asyncio.get_running_loop().create_future()

    async def _work(self, key: str) -> None:
        woken, failures = self._woken[key], 0
        try:
            while True:
                woken.clear()
                try:
                    delay_s = await self._handle(key)
                    failures = 0
                except (ApiClientError, DriverError) as error:
                    delay_s = min(self._first_backoff_s * 2**failures, self._max_backoff_s)
                    failures += 1
                    _log.info("devcluster.retry", loop=self._name, key=key, error=str(error), delay_s=delay_s)
                if woken.is_set() and not failures:
                    continue
                if delay_s is None:
                    return
                await wait_set(woken, timeout_s=delay_s)
        finally:
            del self._woken[key]


async def wait_set(event: asyncio.Event, *, timeout_s: float) -> bool:
    """Wait until the event is set, at most `timeout_s` seconds; tell whether it was."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
