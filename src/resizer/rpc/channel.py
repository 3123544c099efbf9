"""The way to a driver: one asyncio channel over its unix socket.

Called by csi, node and devcluster. What the options say was learnt from drivers in the field: a strict
server refuses the socket's path as `:authority`; gRPC's own reconnect back-off grows to two minutes, and a
restarted driver would stand idle for them; an idle channel is closed after half an hour. Keepalive pings stay
off (servers close a connection that pings too often). A deadline belongs into the call (`timeout=`), never
around it.
"""

import logging
import os
from typing import Final

import grpc

MAX_RECONNECT_BACKOFF_MS: Final = 2_000
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
MAX_SOCKET_PATH_BYTES: Final = 107
"""`sun_path` holds 108 bytes, the last of them NUL (unix(7))."""

_OPTIONS: Final[tuple[tuple[str, str | int], ...]] = (
    ("grpc.default_authority", "localhost"),
    ("grpc.initial_reconnect_backoff_ms", 200),
    # Also gRPC's deadline for the handshake: a driver that is slow to start must be able to end it.
    ("grpc.min_reconnect_backoff_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_BACKOFF_MS),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A driver's message travels as metadata; above these bounds its code is lost and becomes RESOURCE_EXHAUSTED.
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.absolute_max_metadata_size", 1024 * 1024),
    # Each channel has its own connection: two drivers never share one, and closing one touches no other.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


def _is_no_raw_text(record: logging.LogRecord) -> bool:
    """Keep back what gRPC logs of a status message that is no UTF-8: all of it, and it may quote a credential.

    The caller gets the same message as the call's error, and cleans it before he says it.
    """
    return not str(record.msg).startswith("Invalid encoding on")


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_raw_text)


class MalformedAddressError(ValueError):
    """A socket address that can never be connected to or served on; the text says why."""


def socket_path(address: str) -> str:
    """Return the absolute path meant by `unix:///path`, `unix:path` or a plain path.

    Raises MalformedAddressError for another scheme, an empty path or one longer than a unix socket's may be.
    """
    scheme, separator, rest = address.partition("://")
    if separator and scheme != "unix":
        raise MalformedAddressError(
            f"socket address {address!r}: only unix sockets are spoken, write unix:///path/to/csi.sock"
        )
    path = rest if separator else address.removeprefix("unix:")
    if not path or path.endswith("/"):
        raise MalformedAddressError(
            f"socket address {address!r}: no socket's path in it, write unix:///path/to/csi.sock"
        )
    if separator and not path.startswith("/"):
        raise MalformedAddressError(
            f"socket address {address!r}: the path after unix:// must be absolute, write unix:///{path}"
        )
    path = os.path.abspath(path)  # noqa: PTH100 -- Path.resolve() would follow links of the driver's folder
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise MalformedAddressError(
            f"socket path {path!r} has {length} bytes, at most {MAX_SOCKET_PATH_BYTES} are possible: "
            "use a shorter folder"
        )
    return path


def open_channel(address: str) -> grpc.aio.Channel:
    """Return a channel to the driver at `address`; connects on first use and reconnects by itself.

    The socket need not be there yet. Must be called on the running event loop; the caller closes it.
    """
    return grpc.aio.insecure_channel(f"unix:{socket_path(address)}", options=_OPTIONS)
