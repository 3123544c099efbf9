"""The two loads on SQLite, for machines without MariaDB: run in a process of its own, standard library only.

Run as `python -I -S sqlite_load.py query DATABASE STOP_FILE PACE`, or with `fill DATABASE STOP_FILE MIB_PER_S MAX_MIB`.
It speaks as the loads on MariaDB do: `q END DURATION`, `i END DURATION ROWS`, `e END WORDS`, `x END WORDS`, times of
the monotonic clock. Every transaction is durable (WAL, synchronous=FULL). Query and filling have files of their own:
SQLite has one writer a file.
"""

import random
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROW_BYTES = 4096
ROWS_AN_INSERT = 64
QUERY_ROWS = 20_000
_MIB = 1024**2
_LOOK_EVERY_S = 0.1


class Lines:
    """Says lines, at most a tenth of a second late, and tells when the demo wants the load to end."""

    def __init__(self, stop_file: Path) -> None:
        self._stop_file = stop_file
        self._lines: list[str] = []
        self._flushed = 0.0

    def say(self, line: str) -> None:
        """Keep a line for the next flush."""
        self._lines.append(line + "\n")

    def flush(self) -> None:
        """Write what is kept."""
        sys.stdout.write("".join(self._lines))
        sys.stdout.flush()
        self._lines = []
        self._flushed = time.monotonic()

    def is_over(self) -> bool:
        """Whether to end; looked at ten times a second."""
        if time.monotonic() - self._flushed < _LOOK_EVERY_S:
            return False
        self.flush()
        return self._stop_file.exists()


def connect(path: Path) -> sqlite3.Connection:
    """Open a database with durable transactions."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def body(number: int) -> str:
    """A row's content, which follows from its number."""
    return f"{number:032d}" * (ROW_BYTES // 32)


def prepare(folder: Path) -> None:
    """Make both databases."""
    query = connect(folder / "query.db")
    query.execute("CREATE TABLE queried (id INTEGER PRIMARY KEY, k INTEGER, c TEXT)")
    query.execute("BEGIN")
    rows = ((number, number, f"{number:0120d}") for number in range(1, QUERY_ROWS + 1))
    query.executemany("INSERT INTO queried VALUES (?, ?, ?)", rows)
    query.execute("COMMIT")
    query.close()
    fill = connect(folder / "fill.db")
    fill.execute("CREATE TABLE filling (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    fill.close()


def transaction(connection: sqlite3.Connection) -> None:
    """Twenty statements, in the proportions of sysbench's oltp_read_write."""
    some = random.randrange(1, QUERY_ROWS - 100)  # noqa: S311 -- which rows are read, no secret
    connection.execute("BEGIN IMMEDIATE")
    for _ in range(10):
        key = random.randrange(1, QUERY_ROWS)  # noqa: S311 -- likewise
        connection.execute("SELECT c FROM queried WHERE id = ?", (key,)).fetchone()
    for _ in range(4):
        connection.execute("SELECT c FROM queried WHERE id BETWEEN ? AND ?", (some, some + 99)).fetchall()
    for _ in range(2):
        connection.execute("UPDATE queried SET k = k + 1 WHERE id = ?", (some,))
    connection.execute("DELETE FROM queried WHERE id = ?", (some,))
    connection.execute("INSERT INTO queried VALUES (?, ?, ?)", (some, some, f"{some:0120d}"))
    connection.execute("COMMIT")


def query(connection: sqlite3.Connection, lines: Lines, *, pace: int) -> None:
    """Query until it is over, at most `pace` transactions a second if it is not 0; a stall is not made up for."""
    pause_s = 1 / pace if pace else 0.0
    while not lines.is_over():
        began = time.monotonic()
        try:
            transaction(connection)
        except sqlite3.Error as error:
            lines.say(f"e {time.monotonic():.6f} {error}")
            _roll_back(connection)
            time.sleep(0.01)
        else:
            ended = time.monotonic()
            lines.say(f"q {ended:.6f} {ended - began:.6f}")
            time.sleep(max(0.0, began + pause_s - ended))
    lines.flush()


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def fill(connection: sqlite3.Connection, lines: Lines, *, mib_per_s: int, max_mib: int) -> None:
    """Insert until it is over, or the database refuses."""
    began, sent = time.monotonic(), 0
    while not lines.is_over():
        now = time.monotonic()
        due = began + sent * ROW_BYTES / (mib_per_s * _MIB) if mib_per_s else now
        if max_mib and sent * ROW_BYTES >= max_mib * _MIB:
            time.sleep(_LOOK_EVERY_S)
        elif due > now:
            time.sleep(min(due - now, _LOOK_EVERY_S))
        else:
            try:
                connection.execute("BEGIN")
                rows = ((number, body(number)) for number in range(sent + 1, sent + 1 + ROWS_AN_INSERT))
                connection.executemany("INSERT INTO filling VALUES (?, ?)", rows)
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                lines.say(f"x {time.monotonic():.6f} {error}")
                _roll_back(connection)
                break
            sent += ROWS_AN_INSERT
            ended = time.monotonic()
            lines.say(f"i {ended:.6f} {ended - now:.6f} {ROWS_AN_INSERT}")
    lines.flush()


def main(job: str, database: str, stop_file: str, rate: str = "0", max_mib: str = "0") -> None:
    """Do one of the two jobs."""
    connection, lines = connect(Path(database)), Lines(Path(stop_file))
    jobs: dict[str, Callable[[], None]] = {
        "query": lambda: query(connection, lines, pace=int(rate)),
        "fill": lambda: fill(connection, lines, mib_per_s=int(rate), max_mib=int(max_mib)),
    }
    jobs[job]()


if __name__ == "__main__":
    main(*sys.argv[1:])
