"""`--fill-until-full`: the database is filled as fast as goes until it is refused, and nobody grows the claim.

For people who want to play: with `--hold` it then stays full until somebody edits the claim.
"""

import asyncio
import shutil
import time
from typing import Final

from resizer.demo import objects
from resizer.demo.display import Display, size_text
from resizer.demo.parts import DemoError
from resizer.demo.workload.curves import Curves, SpaceLog
from resizer.demo.workload.engine import Fill
from resizer.demo.workload.growth import DatabaseStage
from resizer.demo.workload.outcome import Run
from resizer.demo.workload.prometheus import Prometheus, Watched
from resizer.demo.workload.run import NO_PROMETHEUS, make_rows
from resizer.demo.workload.size_watch import read_space

_LEAVE_BYTES: Final = 2 * 1024**3
_SAY_EVERY_S: Final = 5.0


async def fill_until_full(
    stage: DatabaseStage, *, display: Display, prometheus: Prometheus | None
) -> tuple[Run, Curves]:
    """Fill the claim's database; DemoError when this machine's own disk could not hold it."""
    database = stage.pods.databases[objects.CLAIM]
    engine, space = database.engine, SpaceLog(database.path)
    _check_room(stage, read_space(database.path).free_bytes)
    sampling = asyncio.create_task(space.run())
    try:
        queries = await database.start_queries()
        fill = await database.start_filling(Fill(mib_per_s=0, max_mib=0))
        per = engine.queries_per_transaction
        curves = Curves(queries=queries.log, fill=fill.log, space=space, queries_per_transaction=per)
        while not fill.stopped.is_set():
            now = space.sample()
            if now is not None:
                display.note(f"  {now.used_share:.0%} of {size_text(now.size_bytes)}")
            try:
                async with asyncio.timeout(_SAY_EVERY_S):
                    await fill.stopped.wait()
            except TimeoutError:
                continue
        curves.ended_s = time.monotonic()
        await queries.stop()
    finally:
        sampling.cancel()
    display.note(f"refused: {fill.log.refusal}; {engine.disk_full_words(fill.log.refusal)}")
    if prometheus is not None:
        await curves.ask(prometheus)
    count = len(queries.log.ended_s) * per
    run = Run(
        growths=[],
        queries=count,
        qps=round(count / (curves.ended_s - curves.began_s), 1),
        errors=queries.log.errors + fill.log.errors,
        error_texts=queries.log.error_texts[:5],
        longest_s=max(queries.log.took_s, default=0.0),
        rows=make_rows(fill.log, await engine.check()),
        prometheus=Watched(note=NO_PROMETHEUS) if prometheus is None else await prometheus.summary(),
        refusal=fill.log.refusal,
    )
    return run, curves


def _check_room(stage: DatabaseStage, free_bytes: int) -> None:
    room = shutil.disk_usage(stage.run).free - _LEAVE_BYTES
    if free_bytes > room:
        raise DemoError(
            f"--fill-until-full would write {size_text(free_bytes)}, and the disk with {stage.run} has room for "
            f"{size_text(max(0, room))}: take a smaller --size, or set TMPDIR elsewhere"
        )
