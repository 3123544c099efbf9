"""What the demo needs of a database, whichever it is: started on a published volume, loaded, checked and ended."""

from pathlib import Path
from typing import Final, Protocol

import msgspec

ROW_BYTES: Final = 4096
"""A row of the filling: 32 characters that follow from its number, 128 times."""


class Check(msgspec.Struct, frozen=True):
    """What the database itself says of the filling: rows counted, rows with a wrong body, the verdict in its words."""

    rows: int
    wrong_rows: int
    verdict: str
    is_sound: bool


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """How fast rows are inserted: MiB a second, 0 for as fast as can be, and after how many MiB no more."""

    mib_per_s: int
    max_mib: int


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How large the database's own parts are, which lie on the volume beside the rows, and how it is queried.

    `pace` is transactions a second, 0 for as fast as can be.
    """

    cache_mib: int = 256
    log_mib: int = 128
    tables: int = 2
    table_rows: int = 50_000
    threads: int = 2
    pace: int = 0


class Engine(Protocol):
    """One database on one volume."""

    label: str
    queries_per_transaction: int

    async def start(self, volume: Path) -> None:
        """Make and start it on the volume, ready to answer."""

    async def prepare(self) -> None:
        """Make the tables that the loads use."""

    def query_command(self, stop_file: Path) -> list[str]:
        """The program that queries until `stop_file` is there."""

    def fill_command(self, stop_file: Path, fill: Fill) -> list[str]:
        """The program that inserts until `stop_file` is there, or the database refuses."""

    async def check(self) -> Check:
        """Let the database examine what was inserted, and count it."""

    def disk_full_words(self, refusal: str) -> str:
        """What the database knows of a full disk, beside its refusal of an insert; "" if that had another cause."""

    async def stop(self) -> None:
        """End it; nothing of it runs afterwards."""
