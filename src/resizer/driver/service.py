"""The driver as a whole: built from its configuration, served on its socket, and what it left behind cleaned up.

`resizer driver` runs this in a process of its own, `resizer demo` in its own process. Leaving `serve` leaves
mounts and loop devices standing, as a CSI driver must (pods outlive it); `release` is what takes them down.
"""

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Literal

import grpc
import msgspec
import structlog

from resizer.driver.backend import Backend, Choice, choose_backend, loop_obstacle
from resizer.driver.backend_image import ImageBackend
from resizer.driver.backend_loop import LoopBackend
from resizer.driver.controller import Controller
from resizer.driver.endpoint import add_service
from resizer.driver.guard import Guard
from resizer.driver.identity import DEFAULT_NAME, Identity
from resizer.driver.node import Node
from resizer.driver.protocol_v0 import ControllerV0, IdentityV0, NodeV0
from resizer.driver.recovery import recover
from resizer.driver.size import Pool
from resizer.driver.state import locked_state, volume_folder
from resizer.driver.volumes import VolumeBook
from resizer.rpc.channel import socket_path
from resizer.rpc.pb import csi_v0_pb2, csi_v1_pb2
from resizer.rpc.server import serve_unix

_log = structlog.get_logger(__name__)
_DRIVER_NAME: Final = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9.]{0,61}[a-zA-Z0-9])?", re.ASCII)
_MAX_NODE_ID_BYTES: Final = 192

Protocol = Literal["v1", "v0", "both"]


class ConfigurationError(ValueError):
    """The driver cannot be run as asked; one line names the setting, the cause and the next step."""


class DriverConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the driver is run. `capacity_bytes` None: as much as is asked; `peer_nodes`: nodes on this same kernel."""

    endpoint: str
    state_dir: Path
    node_id: str
    backend: Literal["loop", "image", "auto"] = "auto"
    capacity_bytes: int | None = None
    driver_name: str = DEFAULT_NAME
    require_secrets: bool = False
    protocol: Protocol = "both"
    peer_nodes: tuple[str, ...] = ()
    socket_mode: int = 0o600

    def check(self) -> None:
        """Raise ConfigurationError or MalformedAddressError for what can never work."""
        socket_path(self.endpoint)
        if not _DRIVER_NAME.fullmatch(self.driver_name):
            raise ConfigurationError(
                f"driver name {self.driver_name!r}: at most 63 letters, digits, '-' and '.', "
                "a letter or digit at both ends"
            )
        if not self.node_id or len(self.node_id.encode()) > _MAX_NODE_ID_BYTES:
            raise ConfigurationError(f"node id {self.node_id!r}: give 1 to {_MAX_NODE_ID_BYTES} bytes")
        if self.capacity_bytes is not None and self.capacity_bytes <= 0:
            raise ConfigurationError(f"capacity {self.capacity_bytes}: give more than 0 bytes")
        obstacle = loop_obstacle() if self.backend == "loop" else None
        if obstacle is not None:
            raise ConfigurationError(f"backend loop cannot work here: {obstacle}; use backend image, or run as root")


class RunningDriver(msgspec.Struct, frozen=True):
    """What a running driver tells: where its socket is, which backend it took and why."""

    socket: Path
    backend: Choice
    volumes: int


def make_backend(choice: Choice, state_dir: Path) -> Backend:
    """Return the backend chosen, for the files of that state folder."""
    folder = volume_folder(state_dir)
    return LoopBackend(folder) if choice.name == "loop" else ImageBackend(folder)


@contextlib.asynccontextmanager
async def serve(config: DriverConfig) -> AsyncIterator[RunningDriver]:
    """Run the driver for the block; on leaving, operations under way are finished and the socket goes.

    Raises ConfigurationError, MalformedAddressError, SocketUnavailableError, StateUnusableError or
    StateDamagedError.
    """
    config.check()
    choice = choose_backend(config.backend)
    async with locked_state(config.state_dir) as state_dir:
        book = VolumeBook(state_dir / "volumes.db")
        guard = Guard()
        try:
            backend = make_backend(choice, state_dir)
            await recover(book, backend)

            def register(server: grpc.aio.Server) -> None:
                _register(server, config=config, book=book, backend=backend, guard=guard)

            async with serve_unix(config.endpoint, register=register, mode=config.socket_mode) as socket:
                _log.info("driver.serving", socket=str(socket), backend=choice.name, reason=choice.reason)
                yield RunningDriver(socket, choice, len(book.in_order()))
        finally:
            await guard.wait_idle()
            book.close()


def _register(
    server: grpc.aio.Server, *, config: DriverConfig, book: VolumeBook, backend: Backend, guard: Guard
) -> None:
    identity = Identity(config.driver_name)
    controller = Controller(
        book=book,
        backend=backend,
        pool=Pool(book=book, folder=volume_folder(config.state_dir), limit_bytes=config.capacity_bytes),
        guard=guard,
        nodes=frozenset({config.node_id, *config.peer_nodes}),
        require_secrets=config.require_secrets,
    )
    node = Node(book=book, backend=backend, guard=guard, node_id=config.node_id)
    services: list[tuple[str, object, object]] = [
        ("Identity", identity, IdentityV0(identity)),
        ("Controller", controller, ControllerV0(controller)),
        ("Node", node, NodeV0(node)),
    ]
    for name, service_v1, service_v0 in services:
        if config.protocol in {"v1", "both"}:
            descriptor = csi_v1_pb2.DESCRIPTOR.services_by_name[name]
            add_service(server, descriptor=descriptor, service=service_v1)
        if config.protocol in {"v0", "both"}:
            descriptor = csi_v0_pb2.DESCRIPTOR.services_by_name[name]
            add_service(server, descriptor=descriptor, service=service_v0)
