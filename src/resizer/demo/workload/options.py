"""What `--workload mysql` was asked for, checked before anything is started."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from resizer.demo.options import DEFAULT_GROWTHS, Options
from resizer.demo.parts import DemoError, DemoUsageError
from resizer.demo.workload.mariadb import missing_mariadb

DatabaseName = Literal["auto", "mariadb", "sqlite"]
DEFAULT_REPORT: Final = Path("out/demo-mysql")
_MIB: Final = 1024**2
_LEAST_BYTES: Final = 1024**3
_MOST_RUNS: Final = 50
_MOST_PACE: Final = 100_000
_LEAST_WINDOW_S: Final = 0.5
_MOST_WINDOW_S: Final = 600.0


class MysqlOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of this workload beside those of every demo.

    `window_s` is the length of each window of the table, `pace` transactions a second, 0 for as fast as can be.
    """

    base: Options
    database: DatabaseName = "auto"
    report: Path = DEFAULT_REPORT
    runs: int = 1
    window_s: float = 10.0
    pace: int = 0
    compare: bool = True
    hold: bool = False
    fill_until_full: bool = False


def check_mysql_options(options: MysqlOptions) -> MysqlOptions:
    """Return them; DemoUsageError says which cannot be meant. Nothing is mounted without loop devices, so they are."""
    base = options.base
    if base.claims != 1:
        raise DemoUsageError("--claims: --workload mysql runs one database on one claim")
    if base.backend == "image":
        raise DemoUsageError("--backend image mounts nothing, so no database can run on it; use --backend loop as root")
    if base.keep:
        raise DemoUsageError("--keep: with --workload mysql say --hold")
    if base.size_bytes < _LEAST_BYTES:
        raise DemoUsageError(f"--size: the database and its logs need 1Gi or more, not {base.size_bytes} bytes")
    if not 1 <= options.runs <= _MOST_RUNS:
        raise DemoUsageError(f"--runs {options.runs}: give 1 to {_MOST_RUNS}")
    if not _LEAST_WINDOW_S <= options.window_s <= _MOST_WINDOW_S:
        raise DemoUsageError(f"--window {options.window_s:g}: give {_LEAST_WINDOW_S:g} to {_MOST_WINDOW_S:g} seconds")
    if not 0 <= options.pace <= _MOST_PACE:
        raise DemoUsageError(f"--pace {options.pace}: give 1 to {_MOST_PACE} transactions a second, or 0 for no limit")
    if options.hold and options.runs > 1:
        raise DemoUsageError("--hold keeps one run; leave out --runs")
    return msgspec.structs.replace(options, base=msgspec.structs.replace(base, backend="loop", keep=options.hold))


def default_growths(size_bytes: int, *, default_size_bytes: int) -> Sequence[str]:
    """300Gi grows to 400Gi and 500Gi; any other size by the same ratio, in whole MiB."""
    if size_bytes == default_size_bytes:
        return DEFAULT_GROWTHS
    return tuple(f"{math.ceil(size_bytes * thirds / 3 / _MIB)}Mi" for thirds in (4, 5))


def choose_database(name: DatabaseName) -> tuple[Literal["mariadb", "sqlite"], str]:
    """Return the database that is used and why; DemoError when MariaDB was asked for and is not there."""
    missing = missing_mariadb()
    if name == "sqlite":
        return "sqlite", "SQLite was asked for"
    if not missing:
        return "mariadb", "MariaDB stands in for MySQL 5.7, which no package source here has"
    if name == "mariadb":
        raise DemoError(f"MariaDB cannot be used: {missing}; install it, or leave out --database")
    return "sqlite", f"SQLite with the same two loads, because {missing}"
