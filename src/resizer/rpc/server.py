"""A gRPC server on a unix socket that neither steals another's socket nor leaves its own behind.

Called by the reference driver and by tests that stand in for one. A socket file outlives the process that was
killed: what tells a stale one from one in use is whether anybody accepts a connection on it.
"""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc

from resizer.rpc.channel import MAX_MESSAGE_BYTES, socket_path


class SocketUnavailableError(OSError):
    """The socket cannot be served on; the text names it, the cause and the next step."""


def _clear_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on; SocketUnavailableError for one in use or no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketUnavailableError(f"{path} exists and is no socket: choose another path, or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise SocketUnavailableError(f"socket {path} cannot be tried: {error.strerror or error}") from error
    raise SocketUnavailableError(
        f"socket {path} is in use by a running process: stop that process, or choose another path"
    )


def _prepare(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SocketUnavailableError(f"socket {path}: its folder cannot be made: {error.strerror}") from error
    _clear_stale(path)


def _bind(server: grpc.aio.Server, *, path: Path, mode: int) -> tuple[int, int]:
    """Bind `server` to `path` and return the file's device and inode."""
    umask = os.umask(0o777 & ~mode)  # the socket must not be open to others even for a moment
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise SocketUnavailableError(f"socket {path} cannot be bound: check the rights on {path.parent}") from error
    finally:
        os.umask(umask)
    path.chmod(mode)
    return _identity(path)


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _release(path: Path, own: tuple[int, int]) -> None:
    with contextlib.suppress(FileNotFoundError):
        if _identity(path) == own:
            path.unlink()


@contextlib.asynccontextmanager
async def serve_unix(
    address: str, *, register: Callable[[grpc.aio.Server], None], mode: int = 0o600, grace_s: float = 5.0
) -> AsyncIterator[Path]:
    """Serve what `register` adds to the server on the socket at `address` until the block ends.

    `mode` is the socket's: 0o600 for one's own user, 0o660 for a group. The folder is created. On leaving,
    calls in flight get `grace_s` seconds to finish, and the socket file goes, unless somebody else's stands
    there by then. Raises MalformedAddressError or SocketUnavailableError.
    """
    path = Path(socket_path(address))
    _prepare(path)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    register(server)
    own = _bind(server, path=path, mode=mode)
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
        yield path
    finally:
        try:
            await asyncio.wait({starting})  # gRPC takes a start that is cut off for a fault, and says so in `stop`
            await server.stop(grace_s)
        finally:
            _release(path, own)
