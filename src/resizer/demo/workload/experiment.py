"""`--workload mysql` from beginning to end: the runs, the comparison, the report, and what a person is told.

Called by the command line with the parts it needs, like the demo itself. What cannot go on ends in a DemoError with
one line; nothing is left behind in any case.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Final, Literal

import msgspec

from resizer.demo import objects
from resizer.demo.display import Display
from resizer.demo.parts import DemoError, Parts
from resizer.demo.state import clean_remains
from resizer.demo.workload.compare import SCALE, compare
from resizer.demo.workload.engine import Engine, Scale
from resizer.demo.workload.exporter import DriverCalls
from resizer.demo.workload.findings import Findings, kept_shares
from resizer.demo.workload.full import fill_until_full
from resizer.demo.workload.growth import DatabaseStage
from resizer.demo.workload.mariadb import MariaDB
from resizer.demo.workload.options import MysqlOptions, choose_database
from resizer.demo.workload.outcome import Medians, MysqlResult
from resizer.demo.workload.pods import MakeEngine
from resizer.demo.workload.prometheus import Prometheus
from resizer.demo.workload.run import Experiment, database_stage, watched_database
from resizer.demo.workload.sqlite import SQLite

_SMALL_CLAIM_BYTES: Final = 8 * 1024**3
_SMALL: Final = Scale(cache_mib=96, log_mib=64, tables=2, table_rows=10_000)


Conclude = Callable[[], Awaitable[MysqlResult]]


async def run_mysql(
    options: MysqlOptions, *, parts: Parts, display: Display, show: Callable[[MysqlResult], None]
) -> MysqlResult:
    """Do everything that was asked for, show it once and return it. DemoError; leaves nothing behind in any case.

    With `hold` it is shown before the wait for Ctrl-C, and there is no comparison.
    """
    remains = await clean_remains(parts.release)
    for line in remains:
        display.note(line)
    name, reason = choose_database(options.database)
    display.note(f"database: {reason}")
    findings = Findings()

    async def conclude() -> MysqlResult:
        result = _result(options, findings, database_reason=reason, remains=remains)
        result = await _with_report(options, result, findings, display=display)
        show(result)
        return result

    for number in range(options.runs):
        if options.runs > 1:
            display.note(f"run {number + 1} of {options.runs}")
        await _run_once(options, name=name, parts=parts, display=display, findings=findings, conclude=conclude)
    if options.compare and not options.fill_until_full:
        await _compare(options, name=name, parts=parts, display=display, findings=findings)
    return await conclude()


def _make_engine(name: Literal["mariadb", "sqlite"], scale: Scale) -> MakeEngine:
    def make(folder: Path, run: Path) -> Engine:
        return MariaDB(folder=folder, run=run, scale=scale) if name == "mariadb" else SQLite(pace=scale.pace)

    return make


async def _run_once(
    options: MysqlOptions,
    *,
    name: Literal["mariadb", "sqlite"],
    parts: Parts,
    display: Display,
    findings: Findings,
    conclude: Conclude,
) -> None:
    """One run on a fresh claim; with `hold` it is concluded here, and kept until Ctrl-C."""
    scale = _SMALL if options.base.size_bytes < _SMALL_CLAIM_BYTES else Scale()
    make_engine = _make_engine(name, msgspec.structs.replace(scale, pace=options.pace))
    async with watched_database(options, parts=parts, display=display, make_engine=make_engine) as (stage, prometheus):
        findings.take_stage(stage)
        if options.fill_until_full:
            run, curves = await fill_until_full(stage, display=display, prometheus=prometheus)
        else:
            experiment = Experiment(options, stage=stage, display=display, prometheus=prometheus)
            run, curves = await experiment.run()
        findings.runs.append(run)
        findings.curves.append(curves)
        if options.hold:
            await conclude()
            await _hold(stage, display=display, prometheus=prometheus)


async def _compare(
    options: MysqlOptions, *, name: Literal["mariadb", "sqlite"], parts: Parts, display: Display, findings: Findings
) -> None:
    async with database_stage(
        options, parts=parts, display=display, make_engine=_make_engine(name, SCALE), calls=DriverCalls()
    ) as stage:
        findings.comparison, findings.compared = await compare(stage, display=display)


async def _hold(stage: DatabaseStage, *, display: Display, prometheus: Prometheus | None) -> None:
    """Query the database on and wait for Ctrl-C, having said how to look around."""
    await stage.pods.databases[objects.CLAIM].start_queries()
    lines = [
        "the database stays, and is queried, until Ctrl-C. Try, in another terminal:",
        f"  export KUBECONFIG={stage.kubeconfig}",
        "  kubectl get pvc -w",
        f"  kubectl edit pvc {objects.CLAIM}",
        f"  df -h {stage.pods.databases[objects.CLAIM].path}",
    ]
    if prometheus is not None:
        lines.append(
            f"Prometheus: http://127.0.0.1:{prometheus.port}/graph?g0.expr=demo_filesystem_size_bytes&g0.tab=0"
        )
    display.note("\n".join(lines))
    await asyncio.get_running_loop().create_future()


def _result(options: MysqlOptions, findings: Findings, *, database_reason: str, remains: list[str]) -> MysqlResult:
    runs, comparison = findings.runs, findings.comparison
    is_good = all(run.is_good for run in runs) or options.fill_until_full
    by_growth = list(zip(*(run.growths for run in runs), strict=True))
    medians = Medians(
        seen_after_s=[median(one.seen_after_s for one in growths) for growths in by_growth],
        kept_share=[median(shares) for shares in zip(*(kept_shares(run) for run in runs), strict=True)],
    )
    return MysqlResult(
        ok=is_good and not (comparison and comparison.fault),
        database=findings.label,
        database_reason=database_reason,
        backend="loop",
        filesystem=findings.filesystem,
        reason=findings.reason,
        claim=objects.CLAIM,
        size_bytes=options.base.size_bytes,
        window_s=options.window_s,
        pace=options.pace,
        runs=runs,
        medians=medians,
        comparison=comparison,
        remains=remains,
    )


async def _with_report(
    options: MysqlOptions, result: MysqlResult, findings: Findings, *, display: Display
) -> MysqlResult:
    """Write the report where there is something to draw with."""
    from resizer.demo.report.write import write_report

    try:
        path = await asyncio.to_thread(write_report, options.report, result, findings)
    except ImportError:
        note = "no report: matplotlib is missing; install it with `pip install 'resizer[report]'`"
        display.note(note)
        return msgspec.structs.replace(result, report_note=note)
    except OSError as error:
        raise DemoError(f"the report cannot be written to {options.report}: {error.strerror or error}") from error
    return msgspec.structs.replace(result, report=str(path))
