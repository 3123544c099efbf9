"""The CSI drivers of a curve: as many as asked for, each on a socket of its own, in one process.

They answer at once and need no node, so that what is measured is the resizer and not the storage behind it. One
process, so that twenty drivers cost this machine no more than their calls.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from bench.curves.world import driver_name
from tests.scripted_driver import Plan, ScriptedDriver


def socket_path(folder: Path, number: int) -> Path:
    """Where the n-th driver listens."""
    return folder / f"driver-{number}.sock"


def ready_path(folder: Path) -> Path:
    """The file that is there when all of them listen."""
    return folder / "drivers-ready"


async def serve(folder: Path, count: int) -> None:
    """Serve until a signal."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            driver = ScriptedDriver(Plan(name=driver_name(number), node_expansion_required=False))
            await stack.enter_async_context(driver.serve(f"unix://{socket_path(folder, number)}"))
        ready_path(folder).touch()
        await stop.wait()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="CSI drivers for bench.curves")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(serve(options.folder, options.count))


if __name__ == "__main__":
    main()
