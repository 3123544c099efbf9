"""What the command line hands to the demo: the reference driver, the pipeline, and the probing of this machine.

The demo is a guest and may import none of it (see `resizer.demo.parts`); this file is the seam.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from resizer.demo.parts import BackendName, DriverCall, Parts, SpokenProtocol


def demo_parts() -> "Parts":
    """Return everything the demo is given."""
    from resizer.demo.parts import Parts
    from resizer.driver.filesystem import superblock_size_bytes

    tap = _Tap()
    tap.log_nowhere()
    return Parts(
        start_driver=_start_driver,
        start_pipeline=_start_pipeline,
        obstacle=_obstacle,
        release=_release,
        superblock_bytes=superblock_size_bytes,
        on_driver_call=tap.report_to,
        log_to=tap.log_to,
    )


@contextlib.asynccontextmanager
async def _start_driver(
    *, state_dir: Path, socket: Path, node_id: str, backend: "BackendName", protocol: "SpokenProtocol"
) -> AsyncIterator[object]:
    from resizer.demo.parts import DemoError
    from resizer.driver.service import ConfigurationError, DriverConfig, serve
    from resizer.driver.state import StateUnusableError
    from resizer.rpc.channel import MalformedAddressError
    from resizer.rpc.server import SocketUnavailableError

    config = DriverConfig(
        endpoint=f"unix://{socket}",
        state_dir=state_dir,
        node_id=node_id,
        backend=backend,
        require_secrets=True,
        protocol=protocol,
    )
    try:
        async with serve(config) as running:
            yield running
    except (ConfigurationError, MalformedAddressError, SocketUnavailableError, StateUnusableError) as error:
        raise DemoError(str(error)) from error


@contextlib.asynccontextmanager
async def _start_pipeline(*, kubeconfig: Path, drivers: Sequence[str], http_port: int) -> AsyncIterator[object]:
    from resizer.app import StartError, run_pipeline
    from resizer.demo.parts import DemoError
    from resizer.settings import load_settings

    settings = load_settings(
        {
            "kubeconfig": str(kubeconfig),
            "csi_address": [address.removeprefix("unix://") for address in drivers],
            "http_endpoint": f"127.0.0.1:{http_port}",
            "shutdown_grace": "2s",
        }
    )
    stop = asyncio.Event()
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_pipeline(settings, stop=stop))
            try:
                yield None
            except BaseException as error:  # noqa: BLE001 -- raised again below
                # Let out of the group it would cut the pipeline off, Ctrl-C too: it ends in its own order instead.
                failure = error
            finally:
                stop.set()
    except* StartError as errors:
        raise DemoError(f"the pipeline cannot start: {errors.exceptions[0]}") from errors
    if failure is not None:
        raise failure


async def _obstacle(backend: "BackendName", name: str, folder: Path) -> str | None:
    """Why that filesystem cannot be had here, found out by making one, and for loop by mounting it."""
    from resizer.driver.backend import loop_obstacle
    from resizer.driver.command import missing_program
    from resizer.driver.failure import CallError
    from resizer.driver.filesystem import FILESYSTEMS, missing_programs

    fs = FILESYSTEMS[name]
    obstacle = loop_obstacle() if backend == "loop" else None
    if obstacle is not None:
        return f"loop devices cannot be used here: {obstacle}"
    missing = missing_programs(fs)
    if missing:
        return missing_program(missing[0]).text
    if backend == "image":
        return None
    try:
        await _try_loop(name, folder)
    except CallError as error:
        return f"{name} on a loop device cannot be mounted here: {error.text}"
    except OSError as error:
        return f"loop devices cannot be used here: {error.strerror or error}"
    return None


async def _try_loop(name: str, folder: Path) -> None:
    """Make, attach, mount and unmount a small filesystem below `folder`; raises CallError or OSError."""
    from resizer.driver import image_file, loop_device, mount
    from resizer.driver.filesystem import FILESYSTEMS, make_filesystem

    file, place = folder / "driver/volumes/probe.img", folder / "probe"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place.mkdir(exist_ok=True)
    fs = FILESYSTEMS[name]
    try:
        image_file.make(file, fs.minimum_bytes)
        await make_filesystem(fs, file)
        device = await asyncio.to_thread(loop_device.attach, file)
        try:
            await mount.mount_device(device=device.path, path=str(place), fs_type=name, options=())
            await mount.unmount(str(place))
        finally:
            await asyncio.to_thread(loop_device.detach, device)
    finally:
        image_file.remove(file)


async def _release(state_dir: Path) -> Sequence[str]:
    from resizer.driver.cleanup import cleanup
    from resizer.driver.state import StateUnusableError

    try:
        return (await cleanup(state_dir)).failures
    except StateUnusableError as error:
        return (str(error),)


class _Tap:
    """Sends the program's log to a file, and tells the demo of each driver call that went well."""

    def __init__(self) -> None:
        self._report: DriverCall | None = None

    def report_to(self, report: "DriverCall") -> None:
        """Report to this function."""
        self._report = report

    def log_nowhere(self) -> None:
        """Drop what is logged until there is a file for it: structlog would print it, and that output is ours."""
        import structlog

        def drop(*_: object) -> NoReturn:
            raise structlog.DropEvent

        structlog.configure(processors=[drop])

    def log_to(self, path: Path) -> None:
        """Write one JSON object a line to `path`."""
        import structlog

        stream = path.open("a", encoding="utf-8", buffering=1)
        structlog.configure(
            processors=[
                self._see,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.JSONRenderer(default=str),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(10),
            logger_factory=structlog.WriteLoggerFactory(stream),
        )

    def _see(self, logger: object, name: str, event: Any) -> Any:
        del logger, name
        if event.get("event") == "rpc.done" and self._report is not None:
            self._report(str(event.get("method", "")).rpartition(".")[2], str(event.get("volume_id", "")))
        return event
