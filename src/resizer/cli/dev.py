"""`resizer dev`: a Kubernetes cluster on this machine, for kubectl, for trying things and for tests.

Without a driver it is an API server alone. With `--csi-address` the cluster moves: claims are provisioned by that
driver, pods are placed on a node and get their volumes, and a kubelet-like part grows them.

Ready means that the kubeconfig is there: it is written last, all at once, and removed on the way out. An older one
that an earlier run left behind (after kill -9) is removed first; any other file at that path, that of a cluster that
still runs too, is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from resizer.devcluster.apiserver import ApiServer


_REACH_S = 1.0
_DRAIN_S = 20.0
"""How long the pods may take to let go of their volumes at the end."""


def dev(
    *,
    kubeconfig_out: Annotated[
        Path, typer.Option("--kubeconfig-out", help="Where to write the kubeconfig; there when the server is ready.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    csi_address: Annotated[
        list[str] | None,
        typer.Option("--csi-address", help="Socket of a CSI driver that serves the cluster (repeatable)."),
    ] = None,
    node: Annotated[str, typer.Option(help="Name of the cluster's node: the driver's node id.")] = "node-1",
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder whose kubelet/NODE becomes the kubelet's directory, with the pods' volumes, and is kept; a "
            "temporary one if it is left out. Without a driver nothing is put there."
        ),
    ] = None,
) -> None:
    """Run the development cluster and print how to reach it; Ctrl-C ends it."""
    import uvloop

    try:
        _check_path(kubeconfig_out)
        drivers = [_socket(address) for address in csi_address or ()]
        with contextlib.ExitStack() as stack:
            if drivers and state_dir is None:
                state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="resizer-dev-")))
            parts = _Parts(drivers, node, state_dir) if drivers and state_dir else None
            uvloop.run(_serve(kubeconfig_out.absolute(), host=host, port=port, parts=parts))
    except _UnusableError as error:
        typer.echo(f"resizer dev: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


class _UnusableError(Exception):
    """What keeps the command from running, in one line."""

    def __init__(self, text: str, *, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the moving parts of the cluster need."""

    drivers: list[str]
    node: str
    state_dir: Path


async def _serve(path: Path, *, host: str, port: int, parts: _Parts | None) -> None:
    from resizer.devcluster.apiserver import ApiServer

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(ApiServer.start(host, port))
        except OSError as error:
            raise _UnusableError(_explain_bind(error, host, port)) from error
        if parts is not None:
            await stack.enter_async_context(_moving(server, parts))
        stack.callback(_remove_own, path)
        _write_kubeconfig(server, path)
        typer.echo(f"API server at {server.url}\nexport KUBECONFIG={path}")
        await stopped.wait()


@contextlib.asynccontextmanager
async def _moving(server: ApiServer, parts: _Parts) -> AsyncIterator[None]:
    """Run provisioner, attacher and kubelet; at the end the pods go first, and with them their mounts."""
    from resizer.devcluster.client import PODS
    from resizer.devcluster.cluster import Cluster
    from resizer.model.errors import DriverError

    try:
        async with Cluster.start(
            state_dir=parts.state_dir, drivers=parts.drivers, nodes=(parts.node,), server=server
        ) as cluster:
            yield
            pods = (await cluster.client.list(PODS)).items
            for pod in pods:
                meta = pod["metadata"]
                await cluster.client.delete(PODS, meta["name"], namespace=meta["namespace"], grace_s=1)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    while (await cluster.client.list(PODS)).items:  # noqa: ASYNC110 - the kubelet is elsewhere
                        await asyncio.sleep(0.1)
    except DriverError as error:
        text = f"the CSI driver at {', '.join(parts.drivers)} does not answer ({error}); is it running?"
        raise _UnusableError(text) from error


def _socket(address: str) -> str:
    """Bring a socket's address into the form unix:///path, and see that it is there."""
    path = Path(address.removeprefix("unix://"))
    if not path.is_socket():
        raise _UnusableError(f"--csi-address {address}: no socket there; start the driver first, as `resizer driver`")
    return f"unix://{path.absolute()}"


def _write_kubeconfig(server: ApiServer, path: Path) -> None:
    try:
        server.kubeconfig(path)
    except OSError as error:
        raise _UnusableError(
            f"cannot write the kubeconfig {path}: {error.strerror}; name a path you can write"
        ) from error


def _check_path(path: Path) -> None:
    """Refuse a path that cannot be written, and never touch a file that is not ours."""
    if path.is_dir():
        raise _UnusableError(f"--kubeconfig-out {path} is a folder; name a file in it", exit_code=2)
    if not path.parent.is_dir():
        raise _UnusableError(f"cannot write the kubeconfig {path}: {path.parent} is no folder; create it first")
    if path.exists() and not _is_own(path):
        text = f"--kubeconfig-out {path} exists and was not written by `resizer dev`; name another file"
        raise _UnusableError(text, exit_code=2)
    if (running := _running_server(path)) is not None:
        text = (
            f"--kubeconfig-out {path}: the cluster at {running} that wrote it still runs; end it, or name another file"
        )
        raise _UnusableError(text, exit_code=2)
    _remove_own(path)


def _running_server(path: Path) -> str | None:
    """Return the address of the cluster that wrote this kubeconfig, if somebody listens there."""
    try:
        address = str(json.loads(path.read_text())["clusters"][0]["cluster"]["server"])
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_REACH_S):
            return address
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _is_own(path: Path) -> bool:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    return not text.strip() or '"current-context": "resizer-dev"' in text


def _remove_own(path: Path) -> None:
    if path.exists() and _is_own(path):
        with contextlib.suppress(OSError):
            path.unlink()


def _explain_bind(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; name another with --port, or leave it out for a free one"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} is not allowed for this user; name one above 1023 with --port"
    return f"cannot listen on {host} port {port}: {error.strerror or error}; check --host"
