"""`resizer driver`: the reference CSI driver csi-qcfsplugin on a unix socket, until SIGTERM."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from resizer.driver.service import DriverConfig


def driver(
    *,
    endpoint: Annotated[str, typer.Option(help="Socket to serve on: unix:///path/to/csi.sock.")],
    state_dir: Annotated[Path, typer.Option(help="Folder for the volumes and the bookkeeping.")],
    node_id: Annotated[str, typer.Option(help="Name of the node this driver runs on.")],
    backend: Annotated[
        Literal["auto", "loop", "image"],
        typer.Option(help="loop: loop devices and mounts (root). image: ext4 in plain files (anybody)."),
    ] = "auto",
    capacity: Annotated[str, typer.Option(help='Capacity of all volumes together, as in "1Ti"; "" for no end.')] = "",
    driver_name: Annotated[str, typer.Option(help="Name the driver answers to.")] = "csi-qcfsplugin",
    require_secrets: Annotated[
        bool, typer.Option("--require-secrets", help="Create and expand need the volume's secret.")
    ] = False,
    protocol: Annotated[
        Literal["both", "v1", "v0"], typer.Option(help="CSI 1.x, the csi.v0 extension, or both.")
    ] = "both",
    peer_node: Annotated[
        list[str] | None, typer.Option(help="Another node to publish to, on this same kernel (repeatable).")
    ] = None,
    v: Annotated[int, typer.Option("-v", "--v", help="Verbosity of the log: 4 says everything, -1 warnings only.")] = 0,
) -> None:
    """Run the reference CSI driver: real filesystems on sparse files, CSI 1.12 and csi.v0 on one socket.

    Ends cleanly on SIGTERM and Ctrl-C; mounts stay, as pods that use them do.
    """
    from resizer.driver.service import ConfigurationError, DriverConfig
    from resizer.model.quantity import MalformedQuantityError, parse_quantity
    from resizer.obs.logs import configure_logs
    from resizer.rpc.channel import MalformedAddressError

    configure_logs(verbosity=v, stream=sys.stderr)
    try:
        config = DriverConfig(
            endpoint=endpoint,
            state_dir=state_dir,
            node_id=node_id,
            backend=backend,
            capacity_bytes=parse_quantity(capacity).bytes if capacity else None,
            driver_name=driver_name,
            require_secrets=require_secrets,
            protocol=protocol,
            peer_nodes=tuple(peer_node or ()),
        )
        config.check()
    except (ConfigurationError, MalformedAddressError, MalformedQuantityError) as error:
        typer.echo(f"resizer driver: {error}", err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(asyncio.run(_run(config)))


async def _run(config: "DriverConfig") -> int:
    """Serve until a signal; returns the exit code."""
    from resizer.driver.service import ConfigurationError, serve
    from resizer.driver.state import StateUnusableError
    from resizer.driver.volumes import StateDamagedError
    from resizer.rpc.server import SocketUnavailableError

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with serve(config) as running:
            typer.echo(
                f"{config.driver_name}: ready on unix://{running.socket}, backend {running.backend.name} "
                f"({running.backend.reason}), node {config.node_id}, {running.volumes} volumes",
                err=True,
            )
            await stop.wait()
    except (ConfigurationError, StateUnusableError, StateDamagedError, SocketUnavailableError) as error:
        typer.echo(f"resizer driver: {error}", err=True)
        return 1
    return 0
