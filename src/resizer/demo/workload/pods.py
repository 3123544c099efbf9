"""What runs in the pods of `--workload mysql`: a database each, started and ended by the kubelet-like part.

The loads are clients from outside the pod; they are started and stopped by the run, and killed here if it could not.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resizer.demo.parts import DemoError
from resizer.demo.workload.engine import Engine, Fill
from resizer.demo.workload.load import Load, Log


class Database:
    """One database on one published volume, and the loads on it. `folder` is for what is not on the volume."""

    def __init__(self, engine: Engine, *, path: Path, folder: Path) -> None:
        self.engine = engine
        self.path = path
        self._folder = folder
        self._loads: dict[str, Load] = {}

    async def start_queries(self) -> Load:
        """Query it from now on."""
        return await self._start("query", self.engine.query_command(self._stop_file("query")))

    async def start_filling(self, fill: Fill) -> Load:
        """Insert from now on."""
        return await self._start("fill", self.engine.fill_command(self._stop_file("fill"), fill))

    def _stop_file(self, name: str) -> Path:
        return self._folder / f"stop-{name}"

    async def _start(self, name: str, command: list[str]) -> Load:
        stop_file = self._stop_file(name)
        stop_file.unlink(missing_ok=True)
        load = await Load.start(command, name=name, stop_file=stop_file, folder=self._folder)
        self._loads[name] = load
        return load

    def log(self, name: str) -> Log:
        """What a load has said so far; an empty log before it runs."""
        return self._loads[name].log if name in self._loads else Log()

    async def stop(self) -> None:
        """End the loads at once, and the database in order."""
        for load in self._loads.values():
            await load.kill()
        await self.engine.stop()


MakeEngine = Callable[[Path, Path], Engine]
"""Called with a folder of the database's own, for socket and logs, and the run's folder."""


class DatabasePods:
    """The containers of all pods; `Containers` of the development cluster."""

    def __init__(self, make_engine: MakeEngine, *, run: Path) -> None:
        """`run` is the run's folder; each database gets one of its own below it."""
        self._make_engine = make_engine
        self._run = run
        self._running: dict[str, Database] = {}
        self.failure: DemoError | None = None
        self.databases: dict[str, Database] = {}

    async def start(self, pod: dict[str, Any], volumes: dict[str, Path]) -> None:
        """Start the pod's database on its one volume; a failure is kept for the one who waits for the pod."""
        uid = pod["metadata"]["uid"]
        if uid in self._running:
            return
        ((claim, path),) = volumes.items()
        folder = self._run / f"db{len(self._running)}"  # short: a socket's path may have 107 bytes
        folder.mkdir(mode=0o700)
        database = Database(self._make_engine(folder, self._run), path=path, folder=folder)
        self._running[uid] = database
        try:
            await database.engine.start(path)
        except (DemoError, OSError) as error:
            self.failure = DemoError(f"the database on claim {claim} cannot be started: {error}")
        else:
            self.databases[claim] = database

    async def stop(self, uid: str) -> None:
        """End the pod's loads and database."""
        database = self._running.pop(uid, None)
        if database is not None:
            await database.stop()

    async def stop_all(self) -> None:
        """End all of them."""
        async with asyncio.TaskGroup() as group:
            for uid in list(self._running):
                group.create_task(self.stop(uid))
