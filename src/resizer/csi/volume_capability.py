"""From a PersistentVolume to CSI's VolumeCapability, by the peer's rules. Pure.

Kubernetes lets a volume list several access modes, CSI has one: the table below is the one every sidecar uses
(csi-lib-utils, `accessmodes`), held against the peer's recorded calls by a test.

| Kubernetes | CSI | with SINGLE_NODE_MULTI_WRITER |
| --- | --- | --- |
| ReadWriteOncePod, alone only | SINGLE_NODE_WRITER | SINGLE_NODE_SINGLE_WRITER |
| ReadWriteMany, whatever else | MULTI_NODE_MULTI_WRITER | the same |
| ReadOnlyMany, not with ReadWriteOnce | MULTI_NODE_READER_ONLY | the same |
| ReadWriteOnce | SINGLE_NODE_WRITER | SINGLE_NODE_MULTI_WRITER |
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from resizer.model.errors import NotCalledError
from resizer.model.objects import Volume

AccessMode = Literal[
    "SINGLE_NODE_WRITER",
    "MULTI_NODE_READER_ONLY",
    "MULTI_NODE_MULTI_WRITER",
    "SINGLE_NODE_SINGLE_WRITER",
    "SINGLE_NODE_MULTI_WRITER",
]


class Capability(Struct, frozen=True):
    """How a volume is used: as a block device or as a mounted filesystem, and by whom."""

    access_mode: AccessMode
    block: bool = False
    fs_type: str = ""
    mount_flags: tuple[str, ...] = ()


def capability_of(volume: Volume, *, single_node_multi_writer: bool) -> Capability:
    """Return how CSI is told that this volume is used. Raises NotCalledError where CSI has no words for it."""
    mode = _access_mode(volume, single_node_multi_writer=single_node_multi_writer)
    if volume.volume_mode == "Block":
        return Capability(mode, block=True)
    return Capability(mode, fs_type=volume.fs_type, mount_flags=volume.mount_options)


def _access_mode(volume: Volume, *, single_node_multi_writer: bool) -> AccessMode:
    modes = set(volume.access_modes)
    if "ReadWriteOncePod" in modes:
        if len(modes) > 1:
            raise _inexpressible(volume.name, volume.access_modes, "ReadWriteOncePod goes with no other access mode")
        return "SINGLE_NODE_SINGLE_WRITER" if single_node_multi_writer else "SINGLE_NODE_WRITER"
    if "ReadWriteMany" in modes:
        return "MULTI_NODE_MULTI_WRITER"
    if {"ReadOnlyMany", "ReadWriteOnce"} <= modes:
        raise _inexpressible(
            volume.name, volume.access_modes, "CSI does not support ReadOnlyMany and ReadWriteOnce on one volume"
        )
    if "ReadOnlyMany" in modes:
        return "MULTI_NODE_READER_ONLY"
    if "ReadWriteOnce" in modes:
        return "SINGLE_NODE_MULTI_WRITER" if single_node_multi_writer else "SINGLE_NODE_WRITER"
    raise _inexpressible(volume.name, volume.access_modes, "CSI has no access mode for these")


def _inexpressible(name: str, modes: Sequence[str], cause: str) -> NotCalledError:
    return NotCalledError(
        f'volume "{name}" has accessModes [{", ".join(modes)}]: {cause}; the volume cannot be grown through CSI '
        "as long as it lists them"
    )
