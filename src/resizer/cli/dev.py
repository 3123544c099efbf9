"""`resizer dev`: a Kubernetes API server on this machine, for kubectl, for trying things and for tests.

Ready means that the kubeconfig is there: it is written last, all at once, and removed on the way out. An older one
that an earlier run left behind (after kill -9) is removed first; any other file at that path is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from resizer.devcluster.apiserver import ApiServer


def dev(
    kubeconfig_out: Annotated[
        Path, typer.Option("--kubeconfig-out", help="Where to write the kubeconfig; there when the server is ready.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
) -> None:
    """Run the development cluster and print how to reach it; Ctrl-C ends it."""
    import uvloop

    try:
        _check_path(kubeconfig_out)
        uvloop.run(_serve(kubeconfig_out.absolute(), host=host, port=port))
    except _UnusableError as error:
        typer.echo(f"resizer dev: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


class _UnusableError(Exception):
    """What keeps the command from running, in one line."""

    def __init__(self, text: str, *, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


async def _serve(path: Path, *, host: str, port: int) -> None:
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
        stack.callback(_remove_own, path)
        _write_kubeconfig(server, path)
        typer.echo(f"API server at {server.url}\nexport KUBECONFIG={path}")
        await stopped.wait()


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
    _remove_own(path)


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
