"""What the report draws: raw, in monotonic time. Held beside the figures, and never part of the JSON object."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final

from resizer.demo.workload.load import Log
from resizer.demo.workload.prometheus import Prometheus, Series
from resizer.demo.workload.size_watch import Space, read_space

_SAMPLE_EVERY_S: Final = 0.1


class SpaceLog:
    """statvfs of a mount, ten times a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.samples: list[tuple[float, Space]] = []

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_EVERY_S)

    def sample(self) -> Space | None:
        """Take one sample, which is returned; None when nothing is mounted any more."""
        with contextlib.suppress(OSError):
            space = read_space(self._path)
            self.samples.append((time.monotonic(), space))
            return space
        return None

    @property
    def most_used_share(self) -> float:
        """How full it was at most."""
        return max((space.used_share for _, space in self.samples), default=0.0)


class Curves:
    """One run. `watched` are Prometheus's own series by name, empty where there was none."""

    def __init__(self, *, queries: Log, fill: Log, space: SpaceLog, queries_per_transaction: int) -> None:
        self.queries = queries
        self.fill = fill
        self.space = space
        self.queries_per_transaction = queries_per_transaction
        self.began_s = time.monotonic()
        self.ended_s = self.began_s
        self.edited_s: list[float] = []
        self.watched: dict[str, Series] = {}

    async def ask(self, prometheus: Prometheus) -> None:
        """Take over the curves that Prometheus has of this run."""
        for name, query in WATCHED.items():
            self.watched[name] = await prometheus.series(query, begin_s=self.began_s, end_s=self.ended_s)


WATCHED: Final = {
    "inserted": "demo_inserted_bytes_total",
    "data": "demo_data_bytes",
    "size": "demo_filesystem_size_bytes",
    "free": "demo_filesystem_free_bytes",
}
