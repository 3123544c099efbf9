"""One run of the article's experiment: a database is filled and queried while its claim is edited, and edited again.

    begin | half a window | one window before | edit | one window | ... | half a window | one window after

The edits lie two windows apart, so the window after one growth is the window before the next.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from resizer.demo import objects
from resizer.demo.display import Display
from resizer.demo.parts import Parts
from resizer.demo.stage import set_stage
from resizer.demo.workload.curves import Curves, SpaceLog
from resizer.demo.workload.engine import Check, Fill
from resizer.demo.workload.exporter import DriverCalls, serve_pages, workload_page
from resizer.demo.workload.figures import measure_disturbance
from resizer.demo.workload.growth import DatabaseStage, grow, make_class, make_database
from resizer.demo.workload.load import Log
from resizer.demo.workload.options import MysqlOptions
from resizer.demo.workload.outcome import Grown, Rows, Run
from resizer.demo.workload.pods import Database, DatabasePods, MakeEngine
from resizer.demo.workload.prometheus import Prometheus, Target, Watched, run_prometheus

_FILL_MIB_PER_S: Final = 8
_MIB: Final = 1024**2
NO_PROMETHEUS: Final = "prometheus is not installed: nothing was watched by it"


class Measured(msgspec.Struct, frozen=True):
    """A run, what the report draws of it, and what ran."""

    run: Run
    curves: Curves
    label: str
    filesystem: str
    reason: str


@contextlib.asynccontextmanager
async def database_stage(
    options: MysqlOptions, *, parts: Parts, display: Display, make_engine: MakeEngine, calls: DriverCalls
) -> AsyncIterator[DatabaseStage]:
    """A stage with databases in its pods; the watch of warnings beside it."""
    async with set_stage(
        options.base,
        parts=parts,
        display=display,
        make_pods=lambda _, run: DatabasePods(make_engine, run=run),
    ) as stage:

        def on_call(method: str, handle: str) -> None:
            calls.count(method)
            stage.observer.on_driver_call(method, handle)

        parts.on_driver_call(on_call)
        watching = asyncio.create_task(stage.observer.run())
        try:
            await make_class(stage)
            yield stage
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


class Experiment:
    """One database on one claim, loaded, with Prometheus beside it."""

    def __init__(
        self, options: MysqlOptions, *, stage: DatabaseStage, display: Display, prometheus: Prometheus | None
    ) -> None:
        self._options = options
        self._stage = stage
        self._display = display
        self._prometheus = prometheus
        self._database: Database = stage.pods.databases[objects.CLAIM]
        self._space = SpaceLog(self._database.path)

    async def run(self) -> tuple[Run, Curves]:
        """Load, grow, end the loads, and let the database count."""
        engine, database, window_s = self._database.engine, self._database, self._options.window_s
        sampling = asyncio.create_task(self._space.run())
        try:
            queries = await database.start_queries()
            fill = await database.start_filling(self._fill())
            curves = Curves(
                queries=queries.log,
                fill=fill.log,
                space=self._space,
                queries_per_transaction=engine.queries_per_transaction,
            )
            self._display.note(
                f"{engine.label} on {objects.CLAIM} is queried and filled; each window is {window_s:g} s long"
            )
            growths = await self._grow_all(curves)
            await self._reach(curves.edited_s[-1] + 1.5 * window_s + 0.2)
            curves.ended_s = time.monotonic()
            await fill.stop()
            await queries.stop()
        finally:
            sampling.cancel()
        if self._prometheus is not None:
            await curves.ask(self._prometheus)
        return await self._account(curves, growths), curves

    def _fill(self) -> Fill:
        """Never more than a third of the claim, nor than half of what the machine's own disk has left."""
        disk_bytes = shutil.disk_usage(self._stage.run).free // 2
        most_bytes = min(self._options.base.size_bytes // 3, disk_bytes)
        return Fill(mib_per_s=_FILL_MIB_PER_S, max_mib=most_bytes // _MIB)

    async def _grow_all(self, curves: Curves) -> list[Grown]:
        window_s = self._options.window_s
        growths = []
        for number, target_bytes in enumerate(self._options.base.growths_bytes):
            await self._reach(curves.began_s + 2 * window_s * (number + 1))
            curves.edited_s.append(time.monotonic())
            growths.append(await grow(self._stage, objects.CLAIM, target_bytes, display=self._display))
        return growths

    async def _reach(self, at_s: float) -> None:
        """Wait until that moment."""
        await asyncio.sleep(max(0.0, at_s - time.monotonic()))

    async def _account(self, curves: Curves, growths: list[Grown]) -> Run:
        check = await self._database.engine.check()
        queries, fill, per = curves.queries, curves.fill, curves.queries_per_transaction
        disturbed = [
            msgspec.structs.replace(
                grown,
                disturbance=measure_disturbance(
                    queries, edited_s=at, window_s=self._options.window_s, queries_per_transaction=per
                ),
            )
            for grown, at in zip(growths, curves.edited_s, strict=True)
        ]
        count = len(queries.ended_s) * per
        return Run(
            growths=disturbed,
            queries=count,
            qps=round(count / (curves.ended_s - curves.began_s), 1),
            errors=queries.errors + fill.errors,
            error_texts=(queries.error_texts + fill.error_texts)[:5],
            longest_s=max(queries.took_s, default=0.0),
            rows=make_rows(fill, check),
            prometheus=await self._summary(),
            refusal=fill.refusal,
        )

    async def _summary(self) -> Watched:
        return Watched(note=NO_PROMETHEUS) if self._prometheus is None else await self._prometheus.summary()


def make_rows(fill: Log, check: Check) -> Rows:
    """The inserter's account beside the database's."""
    return Rows(
        acknowledged=fill.acknowledged_rows,
        counted=check.rows,
        wrong=check.wrong_rows,
        verdict=check.verdict,
        is_sound=check.is_sound,
    )


@contextlib.asynccontextmanager
async def watched_database(
    options: MysqlOptions, *, parts: Parts, display: Display, make_engine: MakeEngine
) -> AsyncIterator[tuple[DatabaseStage, Prometheus | None]]:
    """The claim with its database, and a Prometheus that scrapes pipeline, driver and workload."""
    calls = DriverCalls()
    async with database_stage(options, parts=parts, display=display, make_engine=make_engine, calls=calls) as stage:
        pages = {"/workload": lambda: workload_page(stage.pods.databases), "/driver": calls.page}
        async with serve_pages(pages) as port:
            targets = [
                Target("resizer", stage.http_port, "/metrics"),
                Target("driver", port, "/driver"),
                Target("workload", port, "/workload"),
            ]
            async with run_prometheus(stage.run / "prometheus", targets) as prometheus:
                await make_database(stage, objects.CLAIM, size_bytes=options.base.size_bytes)
                if prometheus is not None:
                    await prometheus.wait_for_targets()
                    display.note(f"Prometheus at http://127.0.0.1:{prometheus.port} while this runs")
                yield stage, prometheus
