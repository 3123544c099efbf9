"""What the demo was asked for, checked: everything that can be refused before anything is started."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from resizer.demo.parts import FILESYSTEMS, IMAGE_FILESYSTEM, DemoUsageError, SpokenProtocol
from resizer.model.quantity import MalformedQuantityError, format_bytes, parse_bytes

DEFAULT_SIZE: Final = "300Gi"
DEFAULT_GROWTHS: Final = ("400Gi", "500Gi")
MAX_CLAIMS: Final = 500
LEAST_BYTES: Final = 1024**3
LEAST_STEP_BYTES: Final = 64 * 1024**2
"""Smaller volumes and steps cannot be judged: what a filesystem keeps for itself, and what mkfs rounds up, is more."""

Backend = Literal["auto", "loop", "image"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's flags. `filesystem` "" means the first that works; port 0 a free one."""

    size_bytes: int
    growths_bytes: tuple[int, ...]
    claims: int = 1
    filesystem: str = ""
    backend: Backend = "auto"
    protocol: SpokenProtocol = "both"
    keep: bool = False
    json: bool = False
    http_port: int = 0
    timeout_s: float = 60.0


def check_options(
    *,
    size: str,
    growths: Sequence[str],
    claims: int,
    filesystem: str,
    backend: Backend,
    keep: bool,
    json: bool,
    http_port: int,
    protocol: SpokenProtocol = "both",
) -> Options:
    """Return the options; DemoUsageError says which of them cannot be meant. Shrinking is left to the API server."""
    if filesystem and filesystem not in FILESYSTEMS:
        raise DemoUsageError(f"--fs {filesystem}: no such filesystem here; use one of {', '.join(FILESYSTEMS)}")
    if backend == "image" and filesystem not in {"", IMAGE_FILESYSTEM}:
        raise DemoUsageError(
            f"--backend image mounts nothing, and {filesystem} grows only while it is mounted; "
            f"use --fs {IMAGE_FILESYSTEM}, or --backend loop as root"
        )
    if not 1 <= claims <= MAX_CLAIMS:
        raise DemoUsageError(f"--claims {claims}: give 1 to {MAX_CLAIMS}")
    if not 0 <= http_port <= 65535:
        raise DemoUsageError(f"--http-port {http_port}: give 1 to 65535, or 0 for a free one")
    size_bytes = _size("--size", size)
    if size_bytes < LEAST_BYTES:
        raise DemoUsageError(f"--size {size}: give 1Gi or more; it is sparse and takes little of the disk")
    growths_bytes = tuple(_size("--grow", growth) for growth in growths)
    for before, after, text in zip((size_bytes, *growths_bytes), growths_bytes, growths, strict=False):
        if before < after < before + LEAST_STEP_BYTES:
            raise DemoUsageError(f"--grow {text}: give at least 64Mi more than the {size_text(before)} before it")
    return Options(
        size_bytes=size_bytes,
        growths_bytes=growths_bytes,
        claims=claims,
        filesystem=filesystem,
        backend=backend,
        protocol=protocol,
        keep=keep,
        json=json,
        http_port=http_port,
    )


def _size(flag: str, text: str) -> int:
    try:
        size_bytes = parse_bytes(text)
    except MalformedQuantityError as error:
        raise DemoUsageError(f"{flag} {error}") from error
    if size_bytes <= 0:
        raise DemoUsageError(f"{flag} {text}: a size must be greater than zero")
    return size_bytes


def size_text(size_bytes: int) -> str:
    """A size as a person writes it in a claim."""
    return format_bytes(size_bytes)
