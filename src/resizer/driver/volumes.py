"""The driver's bookkeeping: what volumes there are and where each is published, staged and mounted.

One SQLite file, one row a volume, the whole record in it as JSON: so each change of a volume is one durable,
atomic write (write-ahead log, synchronous=FULL). Reads are served from memory and never wait for a disk. An
intent is written before its effect (`creating`, `deleting`, `pending`); what is really attached and mounted is
asked of the kernel, never of this file (docs/adr/0002).
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

import msgspec
from grpc import StatusCode

from resizer.driver.failure import CallError

_SCHEMA_VERSION: Final = 1

Access = Literal["mount", "block"]


class StateDamagedError(Exception):
    """The bookkeeping cannot be read; the text names the file and the next step."""


class Use(msgspec.Struct, frozen=True):
    """A volume capability as asked for; `mode` is the number of VolumeCapability.AccessMode.Mode."""

    access: Access
    fs_type: str
    mount_flags: tuple[str, ...]
    mode: int


class SecretMark(msgspec.Struct, frozen=True):
    """What is kept of the secret a volume was created with: salt and derived key, both in hex."""

    salt: str
    digest: str


class Publication(msgspec.Struct, frozen=True):
    """The volume is published to a node by the controller."""

    node_id: str
    use: Use
    readonly: bool


class Staging(msgspec.Struct, frozen=True):
    """The volume is staged at `path`, or is about to be (`pending`)."""

    path: str
    use: Use
    pending: bool


class Target(msgspec.Struct, frozen=True):
    """The volume is published at `path`, or is about to be (`pending`)."""

    path: str
    staging_path: str
    use: Use
    readonly: bool
    pending: bool


class Volume(msgspec.Struct, frozen=True):
    """One volume. `sequence` grows with creation and gives lists their order; `formatted` guards its data."""

    volume_id: str
    name: str
    sequence: int
    state: Literal["creating", "ready", "deleting"]
    capacity_bytes: int
    access: Access
    fs_type: str
    parameters: dict[str, str]
    formatted: bool = False
    secret: SecretMark | None = None
    publications: tuple[Publication, ...] = ()
    stagings: tuple[Staging, ...] = ()
    targets: tuple[Target, ...] = ()

    def staging_at(self, path: str) -> Staging | None:
        """Return what is staged at `path`."""
        return next((staging for staging in self.stagings if staging.path == path), None)

    def target_at(self, path: str) -> Target | None:
        """Return what is published at `path`."""
        return next((target for target in self.targets if target.path == path), None)

    def with_staging(self, staging: Staging) -> "Volume":
        """Return the volume with `staging` in place of what stood at its path."""
        return msgspec.structs.replace(self, stagings=(*self.without_staging(staging.path).stagings, staging))

    def without_staging(self, path: str) -> "Volume":
        """Return the volume not staged at `path`."""
        return msgspec.structs.replace(self, stagings=tuple(s for s in self.stagings if s.path != path))

    def with_target(self, target: Target) -> "Volume":
        """Return the volume with `target` in place of what stood at its path."""
        return msgspec.structs.replace(self, targets=(*self.without_target(target.path).targets, target))

    def without_target(self, path: str) -> "Volume":
        """Return the volume not published at `path`."""
        return msgspec.structs.replace(self, targets=tuple(t for t in self.targets if t.path != path))


class VolumeBook:
    """All volumes of one state folder: reads from memory, writes durable before they are seen."""

    def __init__(self, path: Path) -> None:
        """Open the book at `path`, making it if there is none. Raises StateDamagedError."""
        self._path = path
        self._volumes: dict[str, Volume] = {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="volume-book")
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._load()
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise StateDamagedError(
                f"bookkeeping {path} cannot be read ({error}): restore it, or remove the state folder"
            ) from error
        self._sequence = max((volume.sequence for volume in self._volumes.values()), default=0)

    def _load(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > _SCHEMA_VERSION:
            raise StateDamagedError(f"bookkeeping {self._path} is of a newer driver: run that one, or remove it")
        self._database.execute("CREATE TABLE IF NOT EXISTS volume (id TEXT PRIMARY KEY, record BLOB NOT NULL)")
        self._database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        for (record,) in self._database.execute("SELECT record FROM volume"):
            volume = msgspec.json.decode(record, type=Volume)
            self._volumes[volume.volume_id] = volume

    def get(self, volume_id: str) -> Volume | None:
        """Return the volume, None if there is none of that id."""
        return self._volumes.get(volume_id)

    def named(self, name: str) -> Volume | None:
        """Return the volume that was created under `name`."""
        return next((volume for volume in self._volumes.values() if volume.name == name), None)

    def in_order(self) -> list[Volume]:
        """Return all volumes, oldest first."""
        return sorted(self._volumes.values(), key=lambda volume: volume.sequence)

    def provisioned_bytes(self) -> int:
        """Return the sum of all capacities."""
        return sum(volume.capacity_bytes for volume in self._volumes.values())

    def next_sequence(self) -> int:
        """Return a number above all that were given out."""
        self._sequence += 1
        return self._sequence

    async def put(self, volume: Volume) -> Volume:
        """Write the volume durably, then show it to readers; returns it. CallError leaves all as it was."""
        record = msgspec.json.encode(volume)
        await self._write("INSERT OR REPLACE INTO volume VALUES (?, ?)", (volume.volume_id, record))
        self._volumes[volume.volume_id] = volume
        return volume

    async def remove(self, volume_id: str) -> None:
        """Forget the volume durably."""
        await self._write("DELETE FROM volume WHERE id = ?", (volume_id,))
        self._volumes.pop(volume_id, None)

    async def _write(self, statement: str, values: tuple[object, ...]) -> None:
        execute: Callable[[str, tuple[object, ...]], object] = self._database.execute
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, execute, statement, values)
        except sqlite3.Error as error:
            full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            code = StatusCode.RESOURCE_EXHAUSTED if full else StatusCode.INTERNAL
            step = "free space below the state folder" if full else "look at the disk below the state folder"
            raise CallError(code, f"bookkeeping {self._path.name} cannot be written ({error}): {step}") from error

    def close(self) -> None:
        """Wait for the write under way and close the file."""
        self._executor.shutdown()
        self._database.close()
