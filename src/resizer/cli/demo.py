"""`resizer demo`: a claim is grown on this machine, and what it cost is shown.

Two workloads: a writer that every machine can run, and the article's experiment with a database. What the demo may
not import itself is handed to it from `demo_parts`.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
import typer

from resizer.cli.demo_parts import demo_parts

if TYPE_CHECKING:
    from resizer.demo.display import Display
    from resizer.demo.options import Options
    from resizer.demo.workload.options import MysqlOptions
    from resizer.demo.workload.outcome import MysqlResult

    Perform = Callable[[], Coroutine[Any, Any, bool]]

SIGNALLED: Final = 128
"""Plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM, as a shell has it."""
_PANEL = "With --workload mysql"


def demo(
    *,
    size: Annotated[str, typer.Option(help="Size of the claim to begin with.")] = "300Gi",
    grow: Annotated[
        list[str] | None, typer.Option(help="Size to grow it to; repeatable.  [default: 400Gi, 500Gi]")
    ] = None,
    workload: Annotated[
        Literal["writer", "mysql"],
        typer.Option(help="writer: records with fsync. mysql: a database under load, measured, with a report (root)."),
    ] = "writer",
    claims: Annotated[int, typer.Option(help="How many claims are grown at once.")] = 1,
    fs: Annotated[str, typer.Option(help='xfs, btrfs or ext4; "" for the first that works here.')] = "",
    backend: Annotated[
        Literal["auto", "loop", "image"],
        typer.Option(help="loop: mounted (root). image: ext4 in a plain file (anybody). auto: loop where it works."),
    ] = "auto",
    protocol: Annotated[
        Literal["both", "v1", "v0"],
        typer.Option(help="What the driver speaks: CSI 1.x, the csi.v0 extension alone, or both (1.x is taken)."),
    ] = "both",
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output, sizes in bytes.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep everything running afterwards, until Ctrl-C.")] = False,
    http_port: Annotated[int, typer.Option(help="Port of /metrics on 127.0.0.1; 0 takes a free one.")] = 0,
    database: Annotated[
        Literal["auto", "mariadb", "sqlite"],
        typer.Option(help="auto: MariaDB where it is installed, with sysbench, else SQLite.", rich_help_panel=_PANEL),
    ] = "auto",
    report: Annotated[
        Path, typer.Option(help="Folder for the report: index.html and its pictures.", rich_help_panel=_PANEL)
    ] = Path("out/demo-mysql"),
    runs: Annotated[int, typer.Option(help="Repeat the experiment; medians are shown.", rich_help_panel=_PANEL)] = 1,
    window: Annotated[
        float,
        typer.Option(help="Seconds of each window: before, around, after a growth.", rich_help_panel=_PANEL),
    ] = 10.0,
    pace: Annotated[
        int,
        typer.Option(help="Transactions a second; 0: as fast as goes. For busy machines.", rich_help_panel=_PANEL),
    ] = 0,
    compare: Annotated[
        bool, typer.Option(help="Also fill two that are too small, and grow one of them.", rich_help_panel=_PANEL)
    ] = True,
    hold: Annotated[
        bool, typer.Option("--hold", help="Keep the database running afterwards, until Ctrl-C.", rich_help_panel=_PANEL)
    ] = False,
    fill_until_full: Annotated[
        bool,
        typer.Option("--fill-until-full", help="Grow nothing: fill it until it is full.", rich_help_panel=_PANEL),
    ] = False,
) -> None:
    """Grow a real filesystem below a claim, from 300Gi to 400Gi to 500Gi, while a pod writes to it.

    Needs nothing installed but mkfs for one of the filesystems; as root it is mounted and grown online. Exit codes:
    0 the filesystem really has the new size, 1 failed, 2 wrong usage, 130 Ctrl-C, 143 SIGTERM (0 with --keep and
    --hold, which end so). Ctrl-C leaves nothing behind.
    """
    from resizer.demo.options import DEFAULT_SIZE, check_options
    from resizer.demo.parts import DemoError
    from resizer.demo.workload.options import MysqlOptions, check_mysql_options, default_growths
    from resizer.model.quantity import parse_bytes

    is_mysql = workload == "mysql"
    try:
        options = check_options(
            size=size,
            growths=grow or ("400Gi", "500Gi"),
            claims=claims,
            filesystem=fs,
            backend=backend,
            keep=keep,
            json=json,
            http_port=http_port,
            protocol=protocol,
        )
        if is_mysql and not grow:
            growths = default_growths(options.size_bytes, default_size_bytes=parse_bytes(DEFAULT_SIZE))
            options = msgspec.structs.replace(options, growths_bytes=tuple(parse_bytes(one) for one in growths))
        experiment = MysqlOptions(
            base=options,
            database=database,
            report=report,
            runs=runs,
            window_s=window,
            pace=pace,
            compare=compare,
            hold=hold,
            fill_until_full=fill_until_full,
        )
        if is_mysql:
            experiment = check_mysql_options(experiment)
    except DemoError as error:
        raise typer.Exit(_fail(error, as_json=json)) from error
    raise typer.Exit(_run_mysql(experiment) if is_mysql else _run(options))


def _run(options: "Options") -> int:
    """Run the demo with the writer; return the exit code."""
    from rich.console import Console

    from resizer.demo.display import Display

    display = Display(Console(highlight=False), is_quiet=options.json, is_single=options.claims == 1)

    async def perform() -> bool:
        from resizer.demo.show import run_demo

        return (await run_demo(options, parts=demo_parts(), display=display)).ok

    return _until_end(perform, options=options, display=display)


def _run_mysql(options: "MysqlOptions") -> int:
    """Run the article's experiment; return the exit code. With --json all but the one object goes to standard error."""
    from rich.console import Console

    from resizer.demo.display import Display

    console = Console(highlight=False, stderr=options.base.json)
    display = Display(console, is_quiet=False, is_single=True)

    async def perform() -> bool:
        from resizer.demo.workload.experiment import run_mysql
        from resizer.demo.workload.table import print_result

        def show(result: "MysqlResult") -> None:
            print_result(console, result)
            if options.base.json:
                typer.echo(msgspec.json.encode(result).decode())

        return (await run_mysql(options, parts=demo_parts(), display=display, show=show)).ok

    return _until_end(perform, options=options.base, display=display)


def _until_end(perform: "Perform", *, options: "Options", display: "Display") -> int:
    """Run one of the two on a loop of its own; return the exit code."""
    import uvloop

    import resizer.rpc  # noqa: F401 -- before anything imports grpc: sets what gRPC reads from the environment then
    from resizer.demo.parts import DemoError

    try:
        return uvloop.run(_until_signal(perform, options=options, display=display))
    except DemoError as error:
        return _fail(error, as_json=options.json)


def _fail(error: Any, *, as_json: bool) -> int:
    """Say what went wrong, in one line and, if asked for, as the JSON object."""
    from resizer.demo.result import Result

    if as_json:
        typer.echo(msgspec.json.encode(Result(ok=False, error=str(error))).decode())
    typer.echo(f"resizer demo: {error}", err=True)
    return int(error.exit_code)


async def _until_signal(perform: "Perform", *, options: "Options", display: "Display") -> int:
    """Run the demo until it ends or a signal comes; whatever comes, it is taken down in order."""
    task = asyncio.ensure_future(perform())
    interrupted: list[int] = []

    def interrupt(number: int) -> None:
        if not interrupted:
            task.cancel()
        interrupted.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt, number)
    await asyncio.wait({task})
    if interrupted and task.cancelled():
        display.end()
        typer.echo("resizer demo: interrupted, and everything taken down again", err=True)
        return 0 if options.keep else SIGNALLED + interrupted[0]
    return 0 if task.result() else 1
