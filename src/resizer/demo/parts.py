"""What the demo needs of the rest of the package, handed to it by the command line: the driver and the pipeline.

The demo is a guest: it may not import the engine, and it takes the driver as it takes any other, by its socket.
What only the driver's code can tell (what works on this machine, what is left of a killed run) comes through here.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

import msgspec

BackendName = Literal["loop", "image"]
SpokenProtocol = Literal["both", "v1", "v0"]
FILESYSTEMS = ("xfs", "btrfs", "ext4")
"""In the order in which they are taken."""
IMAGE_FILESYSTEM = "ext4"
"""The only one that grows in a plain file."""


class DemoError(Exception):
    """The demo cannot go on: one line that names the object, the cause and the next step. Exit code 1."""

    exit_code = 1


class DemoUsageError(DemoError):
    """The demo was asked for something that makes no sense. Exit code 2."""

    exit_code = 2


class StartDriver(Protocol):
    """Serves the reference driver for the block, with secrets required."""

    def __call__(
        self, *, state_dir: Path, socket: Path, node_id: str, backend: BackendName, protocol: SpokenProtocol
    ) -> AbstractAsyncContextManager[object]:
        """`state_dir` is the driver's own folder; `protocol` what it speaks."""


class StartPipeline(Protocol):
    """Runs the pipeline for the block, with metrics on 127.0.0.1 at `http_port`."""

    def __call__(
        self, *, kubeconfig: Path, drivers: Sequence[str], http_port: int
    ) -> AbstractAsyncContextManager[object]:
        """`drivers` are addresses of sockets."""


DriverCall = Callable[[str, str], None]
"""Called with method ("ControllerExpandVolume") and volume handle when the driver has answered well."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the demo is given.

    `obstacle(backend, filesystem, folder)` says why that cannot work below `folder`, None if it was tried and does.
    `release(state_dir)` takes down what a driver left there and returns what could not be, one line each.
    `superblock_bytes` reads a filesystem's size from a file. `on_driver_call` is told where to report calls to.
    """

    start_driver: StartDriver
    start_pipeline: StartPipeline
    obstacle: Callable[[BackendName, str, Path], Awaitable[str | None]]
    release: Callable[[Path], Awaitable[Sequence[str]]]
    superblock_bytes: Callable[[Path], int]
    on_driver_call: Callable[[DriverCall], None]
    log_to: Callable[[Path], None]
