"""Pages of a list, and what is said of each volume's health in it.

The order is that of creation, and a token names the last volume of its page by its number: a volume that is
deleted in between takes no token with it, and one that is made in between comes on a later page.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from grpc import StatusCode

from resizer.driver import image_file
from resizer.driver.failure import CallError
from resizer.driver.volumes import Volume
from resizer.rpc.pb import csi_v1_pb2 as pb

_TOKEN: Final = re.compile(r"after-([0-9]{1,18})", re.ASCII)


def parse_token(token: str) -> int:
    """Return the sequence number that the page comes after, 0 for the first page; ABORTED for no token of ours."""
    if not token:
        return 0
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise CallError(StatusCode.ABORTED, f"starting_token {token!r} is none of ours: start again without one")
    return int(match[1])


def page(volumes: Sequence[Volume], *, after: int, limit: int) -> tuple[list[Volume], str]:
    """Return up to `limit` (0: all) of the volumes in order behind `after`, and the next page's token or ""."""
    rest = [volume for volume in volumes if volume.sequence > after]
    if not limit or len(rest) <= limit:
        return rest, ""
    return rest[:limit], f"after-{rest[limit - 1].sequence}"


def condition(volume: Volume, file: Path) -> pb.VolumeCondition:
    """Return whether the volume's file is there in full. Blocks."""
    present = image_file.size_bytes(file)
    if present is None:
        return pb.VolumeCondition(abnormal=True, message=f"its file {file.name} is gone")
    if present < volume.capacity_bytes:
        return pb.VolumeCondition(abnormal=True, message=f"its file has {present} of {volume.capacity_bytes} bytes")
    return pb.VolumeCondition(abnormal=False, message="its file is there in full")
