"""The run that would have died: the same load on a filesystem that is too small, left alone and grown in time.

Two claims side by side, each with a database, both filled as fast as goes within the same limit. The one claim
nobody edits: the inserts end with "disk full". The other is edited when its filesystem is four fifths full: the
inserts go on past the old size. Afterwards each database counts and examines what it holds, and the count is held
against the inserter's own.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from resizer.demo.display import Display
from resizer.demo.parts import DemoError
from resizer.demo.workload.curves import Curves, SpaceLog
from resizer.demo.workload.engine import Fill, Scale
from resizer.demo.workload.growth import DatabaseStage, grow, make_database
from resizer.demo.workload.load import Load
from resizer.demo.workload.outcome import Comparison, Grown, Side
from resizer.demo.workload.pods import Database
from resizer.demo.workload.run import make_rows
from resizer.demo.workload.size_watch import read_space

LEFT_ALONE: Final = "qcfs-pvc-left-alone"
GROWN_IN_TIME: Final = "qcfs-pvc-grown"
SIZE_BYTES: Final = 512 * 1024**2
GROWN_BYTES: Final = 1024**3
EDIT_AT_SHARE: Final = 0.8
SCALE: Final = Scale(cache_mib=64, log_mib=32, tables=1, table_rows=5_000, threads=1)
_FILL_MIB_PER_S: Final = 40
_GO_ON_BYTES: Final = 64 * 1024**2
_WITHIN_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.02

T = TypeVar("T")


class _Side:
    """One of the two while it runs."""

    def __init__(self, claim: str, database: Database, *, stage: DatabaseStage, display: Display) -> None:
        self.claim = claim
        self.database = database
        self.space = SpaceLog(database.path)
        self.edited_at_share = 0.0
        self._stage = stage
        self._display = display
        self._first_bytes = read_space(database.path).size_bytes

    async def load(self, *, is_grown: bool) -> tuple[Side, Curves]:
        """Load it until it is refused, or well past its old size."""
        engine, sampling = self.database.engine, asyncio.create_task(self.space.run())
        queries = await self.database.start_queries()
        fill = await self.database.start_filling(Fill(mib_per_s=_FILL_MIB_PER_S, max_mib=0))
        per = engine.queries_per_transaction
        curves = Curves(queries=queries.log, fill=fill.log, space=self.space, queries_per_transaction=per)
        grown: Grown | None = None
        try:
            async with asyncio.timeout(_WITHIN_S):
                if is_grown:
                    grown = await self._grow_in_time(fill, curves)
                await self._fill_up(fill, self._first_bytes + _GO_ON_BYTES)
        except TimeoutError as error:
            raise DemoError(f"the filesystem of {self.claim} was not filled within {_WITHIN_S:g} s") from error
        finally:
            sampling.cancel()
        curves.ended_s = time.monotonic()
        await fill.stop()
        await queries.stop()
        return await self._account(curves, grown), curves

    async def _grow_in_time(self, fill: Load, curves: Curves) -> Grown:
        await self._fill_up(fill, int(EDIT_AT_SHARE * self._first_bytes))
        space = read_space(self.database.path)
        self.edited_at_share = round(space.used_share, 3)
        curves.edited_s.append(time.monotonic())
        return await grow(self._stage, self.claim, GROWN_BYTES, display=self._display, show=False)

    async def _fill_up(self, fill: Load, used_bytes: int) -> None:
        """Wait until that much is used, or the filling has ended."""
        while not fill.stopped.is_set():
            space = read_space(self.database.path)
            if space.size_bytes - space.free_bytes >= used_bytes:
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _account(self, curves: Curves, grown: Grown | None) -> Side:
        refused_at_s = curves.fill.refused_at_s
        refusal = curves.fill.refusal
        return Side(
            claim=self.claim,
            size_bytes=SIZE_BYTES,
            grown=grown,
            edited_at_share=self.edited_at_share,
            most_used_share=round(self.space.most_used_share, 4),
            refusal=refusal,
            refused_after_s=None if refused_at_s is None else round(refused_at_s - curves.began_s, 3),
            disk_full_words=self.database.engine.disk_full_words(refusal) if refusal else "",
            query_errors=curves.queries.errors,
            rows=make_rows(curves.fill, await self.database.engine.check()),
        )


async def compare(stage: DatabaseStage, *, display: Display) -> tuple[Comparison, dict[str, Curves]]:
    """Run both at the same time; return what became of them, and their curves by claim."""
    claims = (LEFT_ALONE, GROWN_IN_TIME)
    made = await _together([make_database(stage, claim, size_bytes=SIZE_BYTES) for claim in claims])
    sides = [_Side(claim, one, stage=stage, display=display) for claim, one in zip(claims, made, strict=True)]
    display.note("two databases on 512Mi each are filled: one claim is left alone, one is edited at 80 %")
    done = await _together([side.load(is_grown=side.claim == GROWN_IN_TIME) for side in sides])
    (left, _), (grown, _) = done
    comparison = Comparison(left_alone=left, grown_in_time=grown, fault=find_comparison_fault(left, grown))
    return comparison, {side.claim: curves for side, curves in done}


async def _together(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do both at once; the first failure ends the other, and leaves as it is."""
    failure: DemoError | None = None
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except* DemoError as errors:
        failure = DemoError(str(errors.exceptions[0]))
    if failure is not None:
        raise failure
    return [task.result() for task in tasks]


def find_comparison_fault(left: Side, grown: Side) -> str:
    """Return what is not as it should be, "" if the one was refused for a full disk and the other lost nothing."""
    if not left.disk_full_words:
        return f"{left.claim} was to end with a full disk: {left.refusal or 'nothing refused its inserts'}"
    if not left.rows.is_nothing_lost:
        return f"{left.claim} has {left.rows.counted} rows, acknowledged were {left.rows.acknowledged}"
    if grown.refusal or grown.query_errors:
        return f"{grown.claim} was grown in time, and yet {grown.refusal or f'{grown.query_errors} queries failed'}"
    if grown.grown is None or grown.grown.fault:
        return f"{grown.claim} was not grown: {grown.grown.fault if grown.grown else 'it was not edited'}"
    if not grown.rows.is_nothing_lost:
        return f"{grown.claim} has {grown.rows.counted} rows, acknowledged were {grown.rows.acknowledged}"
    return ""
