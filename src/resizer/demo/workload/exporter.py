"""A small exporter for the run's Prometheus: the workload and the driver's calls, as text, on a free loopback port.

`/workload` and `/driver` answer; everything is read when Prometheus asks. Only GET, only 127.0.0.1.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final

from resizer.demo.workload.engine import ROW_BYTES
from resizer.demo.workload.figures import quantile
from resizer.demo.workload.pods import Database
from resizer.demo.workload.size_watch import read_space

_REQUEST_WITHIN_S: Final = 5.0
_QUANTILES: Final = (0.5, 0.95, 0.99)
_RECENT_S: Final = 1.0

Page = Callable[[], str]


def _metric(name: str, kind: str, help_: str, samples: dict[str, float]) -> list[str]:
    """One metric in the text format; `samples` by labels, as they stand between the braces."""
    lines = [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
    return lines + [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples.items()]


def workload_page(databases: Mapping[str, Database]) -> str:
    """What the database's clients and its mount say now; nothing before there is one."""
    if not databases:
        return ""
    claim, database = next(iter(databases.items()))
    queries, fill = database.log("query"), database.log("fill")
    labels = f'persistentvolumeclaim="{claim}"'
    since, recent = time.monotonic() - _RECENT_S, []
    for position in range(len(queries.ended_s) - 1, -1, -1):
        if queries.ended_s[position] < since:
            break
        recent.append(queries.took_s[position])
    recent.sort()
    per = database.engine.queries_per_transaction
    lines = _metric("demo_queries_total", "counter", "Queries answered", {labels: len(queries.ended_s) * per})
    lines += _metric("demo_query_errors_total", "counter", "Queries refused", {labels: queries.errors})
    quantiles = {f'{labels},quantile="{share}"': quantile(recent, share) for share in _QUANTILES}
    lines += _metric("demo_transaction_seconds", "gauge", "Durations within the last second", quantiles)
    rows = fill.acknowledged_rows
    lines += _metric("demo_rows_acknowledged_total", "counter", "Rows inserted and acknowledged", {labels: rows})
    lines += _metric("demo_inserted_bytes_total", "counter", "Bytes of these rows", {labels: rows * ROW_BYTES})
    with contextlib.suppress(OSError):  # taken down meanwhile
        space = read_space(database.path)
        lines += _metric("demo_data_bytes", "gauge", "Bytes of the database's files", {labels: _used(database.path)})
        lines += _metric("demo_filesystem_size_bytes", "gauge", "Size by statvfs", {labels: space.size_bytes})
        lines += _metric("demo_filesystem_free_bytes", "gauge", "Free by statvfs", {labels: space.free_bytes})
    return "\n".join(lines) + "\n"


def _used(folder: Path) -> int:
    """Bytes that the files below `folder` take up."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                total += os.lstat(os.path.join(where, name)).st_blocks * 512  # noqa: PTH118 -- each second, for all
    return total


class DriverCalls:
    """Counts the driver's good answers."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()

    def count(self, method: str) -> None:
        """Count one."""
        self._calls[method] += 1

    def page(self) -> str:
        """The counts by method."""
        samples = {f'method="{method}"': float(count) for method, count in self._calls.items()}
        return "\n".join(_metric("demo_driver_calls_total", "counter", "Calls the driver answered", samples)) + "\n"


@contextlib.asynccontextmanager
async def serve_pages(pages: dict[str, Page]) -> AsyncIterator[int]:
    """Serve each page at its path for the block; yields the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_REQUEST_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
                method, path = head.split(b" ", 2)[:2]
                page = pages.get(path.decode()) if method == b"GET" else None
                status, text = ("200 OK", page()) if page is not None else ("404 Not Found", "nothing here\n")
                kind = "text/plain; version=0.0.4; charset=utf-8"
                length = len(text.encode())
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
                    f"Connection: close\r\n\r\n{text}".encode()
                )
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
