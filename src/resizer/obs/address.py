"""Where the HTTP endpoint listens: `:8080` (everywhere), `localhost:8080`, `[::1]:8080`, as Go programs take it."""

import ipaddress
import re
from typing import Final

from msgspec import Struct

_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>\d{1,5})")


class MalformedListenAddressError(ValueError):
    """An address that cannot be listened on; the text says how one is written."""


class ListenAddress(Struct, frozen=True):
    """Host (None: every interface, IPv4 and IPv6) and port (0: any that is free)."""

    host: str | None
    port: int


def parse_listen_address(text: str) -> ListenAddress:
    """Read `:8080`, `host:8080` or `[::1]:8080`. Raises MalformedListenAddressError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise MalformedListenAddressError(
            f"--http-endpoint {text!r}: write :8080 for every interface, or a host and a port as in localhost:8080"
        )
    return ListenAddress(match["v6"] or match["host"] or None, int(match["port"]))


def is_loopback(peer: str | None) -> bool:
    """Whether this address of a client is of this machine itself (also through `kubectl port-forward`)."""
    try:
        address = ipaddress.ip_address((peer or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
