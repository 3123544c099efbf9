"""What an image weighs: every layer, packed as a registry keeps it and unpacked as a node does.

In: an OCI archive (tools/image/archive.py). Out: a table. Called at the end of tools/build_image.sh;
`python -m tools.image.size FILE` by hand.
"""

import io
import sys
import tarfile
from pathlib import Path
from typing import Final

from tools.image.archive import ArchiveError, Image, Layer, read_image

MIB: Final = 1024 * 1024
LARGEST: Final = 5


def weigh(layer: Layer) -> dict[str, int]:
    """Return the bytes of a layer's files: a Python package by its name, everything else by two folders."""
    sizes: dict[str, int] = {}
    with tarfile.open(fileobj=io.BytesIO(layer.tar)) as stream:
        for member in stream:
            parts = member.name.removeprefix("./").split("/")
            at = parts.index("site-packages") if "site-packages" in parts else -1
            name = parts[at + 1] if 0 <= at < len(parts) - 1 else "/".join(parts[:2])
            sizes[name] = sizes.get(name, 0) + member.size
    return sizes


def table(image: Image) -> str:
    """Return the sizes in MiB, a line for each layer that is not empty, and the sum."""
    lines = [f"{'packed':>9} {'unpacked':>9}  MiB"]
    whole = 0
    for layer in image.layers:
        sizes = weigh(layer)
        unpacked = sum(sizes.values())
        whole += unpacked
        if unpacked:
            largest = sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]
            shown = ", ".join(f"{name} {size / MIB:.1f}" for name, size in largest)
            lines.append(f"{layer.packed_bytes / MIB:9.1f} {unpacked / MIB:9.1f}  {shown}")
    packed = sum(layer.packed_bytes for layer in image.layers)
    return "\n".join([*lines, f"{packed / MIB:9.1f} {whole / MIB:9.1f}  all"])


def main(arguments: list[str]) -> int:
    """Print the table of the archive named."""
    try:
        print(table(read_image(Path(arguments[0]))))  # noqa: T201 - the table is the output
    except ArchiveError as error:
        print(f"image: {error}", file=sys.stderr)  # noqa: T201 - likewise
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
