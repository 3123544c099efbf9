"""What `--workload mysql` found out: values only, as `--json` prints them. Sizes in bytes, times in seconds."""

import msgspec

from resizer.demo.workload.figures import Disturbance
from resizer.demo.workload.prometheus import Watched


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """One growth. `seen_after_s` is from the edit until statvfs on the database's mount said the new size."""

    claim: str
    asked_bytes: int
    granted_bytes: int
    device_bytes: int
    filesystem_before_bytes: int
    filesystem_after_bytes: int
    seen_after_s: float
    done_after_s: float
    stages_s: dict[str, float]
    disturbance: Disturbance | None = None
    fault: str = ""


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The inserter's own account beside the database's."""

    acknowledged: int
    counted: int
    wrong: int
    verdict: str
    is_sound: bool

    @property
    def is_nothing_lost(self) -> bool:
        """Whether every acknowledged row is there, no other, and none damaged."""
        return self.is_sound and not self.wrong and self.acknowledged == self.counted


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the experiment. `longest_s` is the longest time any client waited for a transaction."""

    growths: list[Grown]
    queries: int
    qps: float
    errors: int
    error_texts: list[str]
    longest_s: float
    rows: Rows
    prometheus: Watched
    refusal: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the filesystem grew each time, no client saw an error, and nothing was lost."""
        return not self.errors and self.rows.is_nothing_lost and not any(one.fault for one in self.growths)


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two databases of the comparison."""

    claim: str
    size_bytes: int
    grown: Grown | None
    edited_at_share: float
    most_used_share: float
    refusal: str
    refused_after_s: float | None
    disk_full_words: str
    query_errors: int
    rows: Rows


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The same load twice on a filesystem that is too small: nobody grows it; somebody does in time."""

    left_alone: Side
    grown_in_time: Side
    fault: str = ""


class Medians(msgspec.Struct, frozen=True, kw_only=True):
    """Over all runs, one value a growth."""

    seen_after_s: list[float]
    kept_share: list[float]


class MysqlResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything. `ok` speaks of growth, errors and rows; rates are figures, and no reason to fail."""

    ok: bool
    error: str = ""
    workload: str = "mysql"
    database: str = ""
    database_reason: str = ""
    backend: str = ""
    filesystem: str = ""
    reason: str = ""
    claim: str = ""
    size_bytes: int = 0
    window_s: float = 0.0
    pace: int = 0
    runs: list[Run] = []
    medians: Medians | None = None
    comparison: Comparison | None = None
    report: str = ""
    report_note: str = ""
    remains: list[str] = []
