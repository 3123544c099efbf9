"""From a volume capability on the wire to what the driver goes by, and what of it the driver refuses."""

from collections.abc import Sequence
from typing import Final

from resizer.driver.failure import invalid
from resizer.driver.volumes import Access, Use
from resizer.rpc.pb import csi_v1_pb2 as pb

Mode = pb.VolumeCapability.AccessMode

READER_MODES: Final = frozenset({Mode.SINGLE_NODE_READER_ONLY, Mode.MULTI_NODE_READER_ONLY})
MULTI_NODE_MODES: Final = frozenset(
    {Mode.MULTI_NODE_READER_ONLY, Mode.MULTI_NODE_SINGLE_WRITER, Mode.MULTI_NODE_MULTI_WRITER}
)
MANY_TARGET_MODES: Final = MULTI_NODE_MODES | {Mode.SINGLE_NODE_MULTI_WRITER}
"""Modes that allow a volume at several target paths of one node (NodePublishVolume, its table)."""


def parse_use(capability: pb.VolumeCapability) -> Use:
    """Return the capability as asked for; INVALID_ARGUMENT when it says neither mount nor block, or no mode."""
    mode = capability.access_mode.mode
    if mode == Mode.UNKNOWN or mode not in Mode.Mode.values():
        raise invalid("the volume capability has no access mode that is known here")
    match capability.WhichOneof("access_type"):
        case "mount":
            mount = capability.mount
            if any("\0" in flag for flag in mount.mount_flags):
                raise invalid("a mount flag has a NUL in it")
            return Use("mount", mount.fs_type, tuple(mount.mount_flags), mode)
        case "block":
            return Use("block", "", (), mode)
        case _:
            raise invalid("the volume capability asks for neither mount nor block")


def parse_uses(capabilities: Sequence[pb.VolumeCapability]) -> list[Use]:
    """Return all capabilities of a request that needs at least one."""
    if not capabilities:
        raise invalid("the request has no volume capabilities")
    return [parse_use(capability) for capability in capabilities]


def common_access(uses: Sequence[Use]) -> Access:
    """Return the one access type all of them ask for: a volume here is a filesystem or a device, never both."""
    kinds = {use.access for use in uses}
    if len(kinds) > 1:
        raise invalid("a volume is either mount or block: ask for one of them")
    return kinds.pop()


def common_filesystem(uses: Sequence[Use]) -> str:
    """Return the one filesystem they name, "" if they name none."""
    names = {use.fs_type for use in uses if use.fs_type}
    if len(names) > 1:
        raise invalid(f"a volume holds one filesystem, asked for were {', '.join(sorted(names))}")
    return names.pop() if names else ""


def is_read_only(use: Use) -> bool:
    """Return whether the access mode allows reading only."""
    return use.mode in READER_MODES
