"""What the demo found out: values only, as `--json` prints them and the tables show them. Sizes in bytes."""

import msgspec

from resizer.demo.pod import WriterReport


class Growth(msgspec.Struct, frozen=True):
    """One claim grown to one size. `fault` is "" when the filesystem really has it."""

    claim: str
    asked_bytes: int
    granted_bytes: int
    device_bytes: int
    filesystem_before_bytes: int
    filesystem_after_bytes: int
    seconds: float
    stages_s: dict[str, float]
    pod_restarts: int = 0
    fault: str = ""


class Result(msgspec.Struct, frozen=True):
    """A whole run. `writer` is None where nothing was mounted, and so nothing could write."""

    ok: bool
    error: str = ""
    backend: str = ""
    filesystem: str = ""
    reason: str = ""
    measured_by: str = ""
    claims: int = 0
    size_bytes: int = 0
    growths: list[Growth] = []
    writer: WriterReport | None = None
    inflight_most: dict[str, int] = {}
    metrics: list[str] = []
    remains: list[str] = []
