"""SQLite, for machines where MariaDB cannot be had: the same two loads, no server between them and the volume."""

import asyncio
import contextlib
import errno
import os
import sqlite3
import sys
from pathlib import Path
from typing import Final

from resizer.demo.workload import sqlite_load
from resizer.demo.workload.engine import Check, Fill

_FULL: Final = "database or disk is full"


class SQLite:
    """Two database files on one volume; `Engine`."""

    queries_per_transaction = 20

    def __init__(self, *, pace: int = 0) -> None:
        """`pace` is transactions a second, 0 for as fast as can be."""
        self._pace = pace
        self.label = f"SQLite {sqlite3.sqlite_version}"
        self._data = Path()

    async def start(self, volume: Path) -> None:
        """Take the volume; there is no server."""
        self._data = volume / "sqlite"
        self._data.mkdir(exist_ok=True)

    async def prepare(self) -> None:
        """Make both files."""
        await asyncio.to_thread(sqlite_load.prepare, self._data)

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-I", "-S", sqlite_load.__file__, *arguments]

    def query_command(self, stop_file: Path) -> list[str]:
        """The mix of oltp_read_write, one connection."""
        return self._command("query", str(self._data / "query.db"), str(stop_file), str(self._pace))

    def fill_command(self, stop_file: Path, fill: Fill) -> list[str]:
        """Bulk inserts, one connection."""
        limits = (str(fill.mib_per_s), str(fill.max_mib))
        return self._command("fill", str(self._data / "fill.db"), str(stop_file), *limits)

    async def check(self) -> Check:
        """Let SQLite examine the file, and compare every row's body with its number."""
        return await asyncio.to_thread(self._check)

    def _check(self) -> Check:
        with contextlib.closing(sqlite3.connect(self._data / "fill.db")) as connection:
            verdict = str(connection.execute("PRAGMA integrity_check").fetchone()[0])
            rows = wrong = 0
            for number, body in connection.execute("SELECT id, body FROM filling"):
                rows += 1
                wrong += body != sqlite_load.body(number)
        return Check(rows, wrong, f"integrity_check: {verdict}", verdict == "ok")

    def disk_full_words(self, refusal: str) -> str:
        """SQLite keeps no log, and frees what it took for the refused insert: its word for ENOSPC has to do."""
        if _FULL not in refusal:
            return ""
        return f"SQLITE_FULL, which is errno {errno.ENOSPC}: {os.strerror(errno.ENOSPC)}"

    async def stop(self) -> None:
        """Nothing runs."""
