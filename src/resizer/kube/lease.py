"""A lease, and what may be concluded from it: pure, with the time as an argument.

The one who holds a lease counts its validity from the moment before it asked for the renewal, and stops at the renew
deadline, well before the lease's duration; everyone else counts the duration from the moment they *saw* the record
change, by their own monotonic clock. Whatever time stands in the record is never compared with any clock: clocks of
two machines differ, and jump.

The record is written as client-go's LeaseLock writes it, so that the peer and we can stand in for each other. One
thing is stricter: a record with our identity that this process did not write is somebody else's. Two processes on
one machine have the same host name, and must not both believe they lead.

Sources: Kubernetes API reference, Lease v1; client-go tools/leaderelection.
"""

import math
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from resizer.kube.resource import LEASES
from resizer.model.timestamp import format_micro_time

_UNSAFE: Final = re.compile(r"[^a-zA-Z0-9-]")
Document = dict[str, Any]


def lease_name(driver: str) -> str:
    """The lease of a driver, named as the peer names it, so that the two never act at once."""
    return f"external-resizer-{sanitised(driver)}"


def sanitised(name: str) -> str:
    """The peer's rule: what is no letter, digit or "-" becomes "-", and a name does not end with "-"."""
    clean = _UNSAFE.sub("-", name)
    return f"{clean}X" if clean.endswith("-") else clean


def own_identity(environment: Mapping[str, str] = os.environ) -> str:
    """Who we are in a lease: $RESIZER_IDENTITY, or the host name (in a pod, its name)."""
    return sanitised(environment.get("RESIZER_IDENTITY") or socket.gethostname())


class LeaseTiming(Struct, frozen=True):
    """Seconds. Raises ValueError unless retry < renew deadline < duration."""

    duration_s: float = 8.0
    renew_deadline_s: float = 5.0
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_s < self.renew_deadline_s < self.duration_s:
            raise ValueError(
                f"leader election: the retry period ({self.retry_s:g}s) must be shorter than the renew deadline "
                f"({self.renew_deadline_s:g}s), and that shorter than the lease ({self.duration_s:g}s)"
            )


class LeaseRecord(Struct, frozen=True):
    """A lease as read: the fields that count, and the whole document for writing back."""

    version: str
    holder: str
    duration_s: float
    acquired: str
    renewed: str
    transitions: int
    document: Document


class _Meta(Struct, rename="camel"):
    resource_version: str = ""


class _Spec(Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(Struct):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)


def decode_lease(data: bytes | msgspec.Raw) -> LeaseRecord:
    """Read a Lease. Raises ValueError when it is none."""
    try:
        wire = msgspec.json.decode(data, type=_Lease)
        document = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is no Lease: {error}") from error
    spec = wire.spec
    return LeaseRecord(
        version=wire.metadata.resource_version,
        holder=spec.holder_identity or "",
        duration_s=float(spec.lease_duration_seconds or 0),
        acquired=spec.acquire_time or "",
        renewed=spec.renew_time or "",
        transitions=spec.lease_transitions or 0,
        document=document,
    )


class LeaseView:
    """What one contender knows of the lease, and may conclude. `now` is monotonic seconds."""

    def __init__(self, timing: LeaseTiming) -> None:
        self.record: LeaseRecord | None = None
        self._timing = timing
        self._free_at = 0.0

    def observe(self, record: LeaseRecord | None, now: float) -> None:
        """Take a reading in. Only a change restarts the count.

        A lease that was deleted (None) ends when it would have ended: its holder has not noticed yet.
        """
        if record is not None and (self.record is None or _differs(record, self.record)):
            self._free_at = now + (record.duration_s or self._timing.duration_s) if record.holder else now
        self.record = record

    def free_in_s(self, now: float) -> float:
        """Seconds until the lease may be taken; 0 for now."""
        return max(self._free_at - now, 0.0)


def _differs(new: LeaseRecord, old: LeaseRecord) -> bool:
    return (new.holder, new.renewed, new.acquired, new.transitions) != (
        old.holder,
        old.renewed,
        old.acquired,
        old.transitions,
    )


class LeaseWriting(Struct, frozen=True):
    """Makes the documents that one contender writes. `at` is Unix seconds; nobody decides by it."""

    name: str
    namespace: str
    identity: str
    timing: LeaseTiming
    labels: dict[str, str] = {}

    def acquire(self, old: LeaseRecord | None, at: float) -> Document:
        """Take a lease that is free, or make it."""
        previous = old.transitions if old is not None else 0
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self.timing.duration_s),
            "acquireTime": format_micro_time(at),
            "renewTime": format_micro_time(at),
            "leaseTransitions": previous + (old is not None and old.holder != self.identity),
        }
        return self._document(old, spec)

    def renew(self, held: LeaseRecord, at: float) -> Document:
        """Renew a lease that is ours."""
        return self._document(held, {**held.document["spec"], "renewTime": format_micro_time(at)})

    def release(self, held: LeaseRecord, at: float) -> Document:
        """Give a lease up: nobody holds it, and whoever counts all the same counts one second (client-go's way)."""
        nobody = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": format_micro_time(at)}
        return self._document(held, {**held.document["spec"], **nobody})

    def _document(self, old: LeaseRecord | None, spec: Document) -> Document:
        if old is None:
            metadata: Document = {"name": self.name, "namespace": self.namespace}
            document: Document = {"apiVersion": f"{LEASES.group}/{LEASES.version}", "kind": "Lease"}
        else:
            metadata, document = dict(old.document["metadata"]), dict(old.document)
            metadata.pop("managedFields", None)
            spec = {**(old.document.get("spec") or {}), **spec}
        if self.labels:
            metadata["labels"] = {**(metadata.get("labels") or {}), **self.labels}
        return {**document, "metadata": metadata, "spec": spec}
