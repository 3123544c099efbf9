"""MariaDB in MySQL's place: a private server on a published volume, without network, as a user without rights.

Its data lie in a folder of the volume, its socket and log in the run's folder. The path to the volume belongs to
root alone, so its folders are opened to the server's group, for passing through only. Where even that cannot help
(a parent folder of somebody else's is closed), the server runs as root, and says so.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import time
from asyncio.subprocess import Process
from pathlib import Path
from typing import Final

from resizer.demo.parts import DemoError
from resizer.demo.workload.engine import Check, Fill, Scale
from resizer.demo.workload.program import end_program, find_program, run_program, start_program

PROGRAMS: Final = {"mariadbd": "mariadb-server", "sysbench": "sysbench"}
_USER: Final = "mysql"
_DATABASE: Final = "demo"
_HERE: Final = Path(__file__).parent
_START_WITHIN_S: Final = 60.0
_END_WITHIN_S: Final = 30.0
_STATEMENT_WITHIN_S: Final = 60.0
_FULL: Final = ("error 28", "errno: 28", "errno 28", "no space left on device")


def missing_mariadb() -> str:
    """Why MariaDB cannot be used here, "" if it can."""
    missing = [package for name, package in PROGRAMS.items() if find_program(name) is None]
    return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed" if missing else ""


def open_path(volume: Path, *, top: Path) -> bool:
    """Let the server's group pass through every folder from `top` to the volume; False where it still cannot."""
    entry = pwd.getpwnam(_USER)
    for folder in (volume, *volume.parents):
        if folder == top.parent:
            break
        os.chown(folder, -1, entry.pw_gid)
        folder.chmod(folder.stat().st_mode | 0o010)
    return all(folder.stat().st_mode & 0o001 for folder in top.parents)


class MariaDB:
    """One server; `Engine`."""

    queries_per_transaction = 20

    def __init__(self, *, folder: Path, run: Path, scale: Scale) -> None:
        """`folder` is for socket and logs, `run` the run's own, below which the volume is published."""
        self.label = "MariaDB"
        self.user = _USER
        self._folder = folder
        self._run = run
        self._scale = scale
        self._process: Process | None = None
        self._socket = folder / "server" / "s"
        self._log = folder / "server" / "error.log"

    async def start(self, volume: Path) -> None:
        """Install the system tables, start the server and wait for its answer."""
        server = self._folder / "server"
        server.mkdir(mode=0o700, parents=True)
        data = volume / "mysql"
        data.mkdir(mode=0o700, exist_ok=True)
        entry = pwd.getpwnam(_USER)
        is_open = open_path(volume, top=self._run.parent) and open_path(server, top=self._run.parent)
        self.user = _USER if is_open else "root"
        for own in (server, data):
            shutil.chown(own, entry.pw_uid if is_open else 0, entry.pw_gid)
        options = self._options(data)
        install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        await run_program([*install, *options], user="-", folder=server, timeout_s=_START_WITHIN_S)
        mariadbd = find_program("mariadbd") or "mariadbd"
        command = [mariadbd, "--no-defaults", *options, f"--socket={self._socket}", "--skip-networking"]
        with (server / "out").open("ab") as out:
            user = self.user if is_open else "-"
            self._process = await start_program(
                [*command, f"--log-error={self._log}"], user=user, folder=server, out=out, err=out
            )
        await self._wait_until_it_answers()
        version = await self._ask("SELECT VERSION()")
        self.label = f"MariaDB {version.strip().partition('-')[0]}"

    def _options(self, data: Path) -> list[str]:
        return [
            f"--user={self.user}",
            f"--datadir={data}",
            f"--tmpdir={self._folder / 'server'}",
            f"--innodb-buffer-pool-size={self._scale.cache_mib}M",
            f"--innodb-log-file-size={self._scale.log_mib}M",
        ]

    async def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_WITHIN_S
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(self._socket)
                writer.close()
                return
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise DemoError(f"mariadbd does not answer: {self._last_words()}")
            await asyncio.sleep(0.02)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text(errors="replace").splitlines()
            failures = [line for line in lines if "[ERROR]" in line]
            return (failures or lines or ["its log is empty"])[-1]
        return "it wrote no log"

    async def _ask(self, statement: str, *, database: str = "") -> str:
        """Return what a statement answers, a line a row, tabs between."""
        command = ["mariadb", "--no-defaults", f"--socket={self._socket}", "--user=root", "--batch"]
        command += ["--skip-column-names", f"--execute={statement}"]
        if database:
            command.append(database)
        return await run_program(command, folder=self._folder, timeout_s=_STATEMENT_WITHIN_S)

    async def prepare(self) -> None:
        """Make sysbench's tables and the one that is filled."""
        await self._ask(f"CREATE DATABASE {_DATABASE}")
        await self._ask("CREATE TABLE filling (id BIGINT PRIMARY KEY, body BLOB NOT NULL)", database=_DATABASE)
        sysbench = self._sysbench("oltp_read_write")
        await run_program([*sysbench, "prepare"], folder=self._folder, timeout_s=_STATEMENT_WITHIN_S)

    def _sysbench(self, script: str, *, threads: int = 1) -> list[str]:
        connection = ["--db-driver=mysql", f"--mysql-socket={self._socket}", "--mysql-user=root"]
        command = ["sysbench", script, *connection, f"--mysql-db={_DATABASE}", f"--threads={threads}", "--time=0"]
        if script != str(_HERE / "fill.lua"):
            command += [f"--tables={self._scale.tables}", f"--table-size={self._scale.table_rows}"]
        return command

    def query_command(self, stop_file: Path) -> list[str]:
        """Sysbench oltp_read_write, without end."""
        command = self._sysbench(str(_HERE / "query.lua"), threads=self._scale.threads)
        return [*command, f"--stop-file={stop_file}", f"--pace={self._scale.pace}", "run"]

    def fill_command(self, stop_file: Path, fill: Fill) -> list[str]:
        """Bulk inserts by sysbench, one connection."""
        limits = [f"--mib-per-s={fill.mib_per_s}", f"--max-mib={fill.max_mib}"]
        return [*self._sysbench(str(_HERE / "fill.lua")), f"--stop-file={stop_file}", *limits, "run"]

    async def check(self) -> Check:
        """CHECK TABLE, and every row's body against its number."""
        verdict = (await self._ask("CHECK TABLE filling", database=_DATABASE)).strip().splitlines()[-1]
        count = "SELECT COUNT(*), IFNULL(SUM(body <> REPEAT(MD5(id), 128)), 0) FROM filling"
        rows, wrong = (await self._ask(count, database=_DATABASE)).split()
        words = verdict.split("\t")[-1]
        return Check(int(rows), int(wrong), f"CHECK TABLE: {words}", words == "OK")

    def disk_full_words(self, refusal: str) -> str:
        """The first line of the error log that speaks of errno 28; the refusal says only that a table is full."""
        del refusal
        with contextlib.suppress(OSError):
            for line in self._log.read_text(errors="replace").splitlines():
                if any(words in line.lower() for words in _FULL):
                    return line.partition("] ")[2] or line
        return ""

    async def stop(self) -> None:
        """Shut it down in order; by force when that takes too long."""
        if self._process is not None:
            await end_program(self._process, grace_s=_END_WITHIN_S)
            self._process = None
