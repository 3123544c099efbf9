"""What one watch event costs the resizer: read whole and cached, or looked at only as far as a shard must.

A process that serves one shard of a driver gets every event and could drop those of other shards as soon as it has
read the uid that decides. Both ways are timed here on the documents of `world`, in CPU time of this process.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from bench.curves.world import claim_document, driver_name, volume_document
from resizer.kube.projection import CLAIM, VOLUME, Kind
from resizer.kube.store import Store

T = TypeVar("T")

_OBJECTS = 2_000
_SHARDS = 8
_ROUNDS = 7


class _Meta(msgspec.Struct, gc=False):
    uid: str


class _Reference(msgspec.Struct, gc=False):
    uid: str = ""


class _VolumeSpec(msgspec.Struct, gc=False):
    reference: _Reference = msgspec.field(default_factory=_Reference, name="claimRef")


class _Claim(msgspec.Struct, gc=False):
    metadata: _Meta


class _Volume(msgspec.Struct, gc=False):
    spec: _VolumeSpec


_claim_uid: Kind[str] = Kind(_Claim, lambda claim: claim.metadata.uid)
_volume_uid: Kind[str] = Kind(_Volume, lambda volume: volume.spec.reference.uid)


def shard_of(uid: str, shards: int) -> int:
    """Which shard a claim belongs to: the same for all who ask, and even."""
    return zlib.crc32(uid.encode()) % shards


def measure_decoding() -> dict[str, float]:
    """Return microseconds of CPU an event, by kind of object and by how far it is read."""
    claims = [claim_document(number) for number in range(_OBJECTS)]
    volumes = [volume_document(claim, driver_name(0)) for claim in claims]
    claim_lines, volume_lines = _lines(claims), _lines(volumes)
    return {
        "claim_event_bytes": len(claim_lines[0]),
        "volume_event_bytes": len(volume_lines[0]),
        "claim_us": _time_us(_read_claims, claim_lines),
        "volume_us": _time_us(_read_volumes, volume_lines),
        "claim_uid_us": _time_us(_pass_claims, claim_lines),
        "volume_uid_us": _time_us(_pass_volumes, volume_lines),
    }


def _read(kind: Kind[T], line: bytes) -> T:
    change = kind.decode_change(line)
    assert change is not None
    return change[1]


def _read_claims(lines: list[bytes]) -> None:
    put = Store().claim_shelf.put
    for line in lines:
        put(_read(CLAIM, line))


def _read_volumes(lines: list[bytes]) -> None:
    put = Store().volume_shelf.put
    for line in lines:
        put(_read(VOLUME, line))


def _pass_claims(lines: list[bytes]) -> None:
    for line in lines:
        shard_of(_read(_claim_uid, line), _SHARDS)


def _pass_volumes(lines: list[bytes]) -> None:
    for line in lines:
        shard_of(_read(_volume_uid, line), _SHARDS)


def _lines(documents: list[dict[str, object]]) -> list[bytes]:
    for version, document in enumerate(documents, start=1):
        document["metadata"]["resourceVersion"] = str(version)  # type: ignore[index]  # documents are JSON
    return [msgspec.json.encode({"type": "ADDED", "object": document}) for document in documents]


def _time_us(work: Callable[[list[bytes]], None], lines: list[bytes]) -> float:
    """The least of some rounds: a neighbour can only make it dearer."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        work(lines)
        rounds.append((time.process_time() - began) / len(lines) * 1e6)
    return round(min(rounds), 2)
