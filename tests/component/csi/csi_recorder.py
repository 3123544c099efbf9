"""What `csi` reported, kept for tests to look at, and a connection that runs for a block."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from resizer.csi.connection import DriverConnection
from resizer.model.driver import DriverFacts


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.connections: list[tuple[str, str]] = []

    def call_finished(self, *, driver: str, method: str, code: str, duration_s: float) -> None:
        assert duration_s >= 0
        self.calls.append((driver, method.rpartition("/")[2], code))

    def driver_connected(self, *, address: str, facts: DriverFacts) -> None:
        assert address
        self.connections.append(("up", facts.name))

    def driver_disconnected(self, *, address: str, driver: str) -> None:
        assert address
        self.connections.append(("down", driver))


@contextlib.asynccontextmanager
async def connected(
    endpoint: str, *, timeout_s: float = 5.0, recorder: Recorder | None = None
) -> AsyncIterator[DriverConnection]:
    connection = DriverConnection(endpoint, timeout_s=timeout_s, telemetry=recorder or Recorder())
    task = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def wait_until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 -- files and plain attributes cannot wake anybody
            await asyncio.sleep(0.01)


class Changes:
    """Waits for a connection's changes."""

    def __init__(self, connection: DriverConnection) -> None:
        self.seen: asyncio.Queue[str] = asyncio.Queue()
        connection.on_change(lambda driver: self.seen.put_nowait(driver.facts.name if driver else "lost"))

    async def next(self, timeout_s: float = 10.0) -> str:
        async with asyncio.timeout(timeout_s):
            return await self.seen.get()
