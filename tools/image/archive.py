"""An image in an OCI archive: its configuration, its layers, and its root unpacked into a folder.

In: a file as `buildah push IMAGE oci-archive:FILE` or `skopeo copy` writes it. Used by the size table, the SBOM and
the smoke run, which therefore look at what is pushed and need no container engine.
"""

import gzip
import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

GZIP: Final = b"\x1f\x8b"
WHITEOUT: Final = ".wh."


class ArchiveError(Exception):
    """The file is no OCI archive with one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: the digest of its packed form, that form's size (as a registry keeps it), and its tar stream."""

    digest: str
    packed_bytes: int
    tar: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What the program is told about itself by the image: `Env`, `Entrypoint`, `Cmd`, `Labels`."""

    config: dict[str, Any]
    layers: tuple[Layer, ...]


def read_image(archive: Path) -> Image:
    """Read the archive's only image, its lowest layer first."""
    try:
        with tarfile.open(archive) as outer:
            index = json.loads(_read(outer, "index.json"))
            manifest = json.loads(_blob(outer, index["manifests"][0]["digest"]))
            document = json.loads(_blob(outer, manifest["config"]["digest"]))
            packed = {layer["digest"]: _blob(outer, layer["digest"]) for layer in manifest["layers"]}
    except FileNotFoundError as error:
        raise ArchiveError(f"{archive} is not there; `make image` builds the image and writes it") from error
    except (tarfile.TarError, KeyError, IndexError, ValueError) as error:
        raise ArchiveError(f"{archive} is no OCI archive with one image: {error!r}") from error
    layers = (
        Layer(digest=digest, packed_bytes=len(data), tar=gzip.decompress(data) if data.startswith(GZIP) else data)
        for digest, data in packed.items()
    )
    return Image(config=document["config"], layers=tuple(layers))


def unpack(image: Image, root: Path) -> None:
    """Write the image's root into this folder, layer upon layer, with owners and modes (needs root for these)."""
    for layer in image.layers:
        for gone in _whiteouts(layer):
            # A layer above may name only what a layer below has, so nothing outside the root is reached.
            subprocess.run(["rm", "-rf", "--", str(root / gone)], check=True)  # noqa: S603, S607 - no shell, tar's neighbour
        command = ["tar", "--extract", "--numeric-owner", "--preserve-permissions", f"--exclude={WHITEOUT}*"]
        subprocess.run([*command, "--directory", str(root)], input=layer.tar, check=True)  # noqa: S603 - no shell


def _whiteouts(layer: Layer) -> Iterator[Path]:
    import io

    with tarfile.open(fileobj=io.BytesIO(layer.tar)) as stream:
        for name in stream.getnames():
            path = Path(name)
            if path.name.startswith(WHITEOUT) and ".." not in path.parts and not path.is_absolute():
                yield path.with_name(path.name.removeprefix(WHITEOUT))


def _blob(outer: tarfile.TarFile, digest: str) -> bytes:
    return _read(outer, "blobs/" + digest.replace(":", "/"))


def _read(outer: tarfile.TarFile, name: str) -> bytes:
    member = outer.extractfile(name)
    if member is None:
        raise ValueError(f"{name} is no file")
    return member.read()
