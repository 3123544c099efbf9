"""What the process remembers of each claim, by uid, and forgets when the claim is finished or gone.

Losing all of it (a restart) costs time, never correctness: see `resizer.core.state.Memory`.
"""

from collections.abc import Iterator

from msgspec import Struct

from resizer.core.state import Memory, Observation
from resizer.model.objects import Claim


class Record(Struct):
    """One claim's memory, and a result that could not be written down yet."""

    key: str
    memory: Memory = Memory()
    resume: Observation | None = None
    """What came back from the driver while the API server could not be written to: taken up at the next look."""
    api_failures: int = 0
    is_current: bool = False
    """Whether this process has written or read the claim since it began to serve the driver. Until then the cache may
    lag behind another process that served it before."""
    class_: str = ""
    """Why it is pending, as the metrics have it: the last failure, a remembered wait, or what keeps a late node."""
    next_try_wall_s: float | None = None
    outcome: str = ""
    version: str = ""
    """The claim's resourceVersion after the last look."""


class Memories:
    """Records by claim uid. Bounded by the claims that are being resized: an empty record is dropped."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def recall(self, claim: Claim) -> Record:
        """Return the record of this claim, a fresh one if there is none; it is seen by all until `keep` drops it."""
        return self._records.setdefault(claim.uid, Record(claim.key))

    def keep(self, claim: Claim, record: Record) -> None:
        """Keep the record, or forget it if nothing is in it."""
        if record.memory == Memory() and record.resume is None and not record.api_failures:
            self._records.pop(claim.uid, None)
        else:
            self._records[claim.uid] = record

    def forget(self, uid: str) -> None:
        """Forget a claim that is gone."""
        self._records.pop(uid, None)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))
