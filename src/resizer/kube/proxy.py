"""Which proxy leads to the API server: the kubeconfig's, else the environment's by Go's rules.

HTTPS_PROXY (HTTP_PROXY for plain HTTP) and NO_PROXY mean here what they mean to kubectl and to every program in Go
beside us: NO_PROXY may name networks ("10.0.0.0/8", where a cluster's service addresses lie), which Python's own rules
do not know, and this machine itself is never reached by a proxy.

Source: Go, golang.org/x/net/http/httpproxy.
"""

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from yarl import URL

from resizer.kube.credentials import Access

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}


def find_proxy(access: Access, environment: Mapping[str, str] = os.environ) -> URL | None:
    """Return the proxy for this server, None for none."""
    if access.proxy:
        return URL(access.proxy)
    parts = urlsplit(access.server)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    found = _read(environment, f"{parts.scheme}_proxy")
    if not found or not host or _is_local(host) or _is_exempt(host, port, _read(environment, "no_proxy")):
        return None
    return URL(found if "://" in found else f"http://{found}")


def _read(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name.upper()) or environment.get(name) or ""


def _is_local(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    address = _address(host)
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return any(_covers(entry, host.lower(), address, port) for entry in entries if entry)


def _covers(entry: str, host: str, address: _Address | None, port: int) -> bool:
    """Whether this entry means this host: `*`, a network, an address or a domain (these two perhaps with a port)."""
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _is_within(address, entry)
    name, asked_port = _split_port(entry)
    if asked_port and asked_port != str(port):
        return False
    if (exempt := _address(name)) is not None:
        return exempt == address
    domain = name.removeprefix("*")
    if domain.startswith("."):
        return host.endswith(domain)
    return host == domain or host.endswith(f".{domain}")


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = entry.partition(":")
    return (entry, "") if ":" in port else (name, port)


def _is_within(address: _Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
