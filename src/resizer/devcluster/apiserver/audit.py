"""What was asked of the server: one record a request, so that tests can count requests and check rights."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

import msgspec


class AuditRecord(msgspec.Struct, frozen=True):
    """One request. `at_s` is the server's monotonic clock; `status` is 0 while no answer was sent."""

    at_s: float
    time: str
    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    status: int
    user_agent: str
    fault: str = ""


class Audit:
    """The newest records, bounded."""

    def __init__(self, *, limit: int) -> None:
        self._records: deque[AuditRecord] = deque(maxlen=limit)
        self.total = 0

    def __iter__(self) -> Iterator[AuditRecord]:
        return iter(self._records)

    def add(self, record: AuditRecord) -> None:
        """Keep a record, forgetting the oldest when there are too many."""
        self._records.append(record)
        self.total += 1

    def select(self, **wanted: str | int) -> list[AuditRecord]:
        """List the records whose fields have the given values, as in `select(verb="patch", user="x")`."""
        return [r for r in self._records if all(getattr(r, name) == value for name, value in wanted.items())]

    def count(self, **wanted: str | int) -> int:
        """Count the records whose fields have the given values."""
        return len(self.select(**wanted))

    def by_request(self) -> Counter[str]:
        """Count by verb and resource: `patch persistentvolumeclaims/status`."""
        return Counter(
            f"{r.verb} {r.resource}{'/' if r.subresource else ''}{r.subresource}" for r in self._records if r.resource
        )

    def clear(self) -> None:
        """Forget everything so far."""
        self._records.clear()
        self.total = 0
