"""When a failed growth is tried again, and how a long wait survives a restart.

In: the failure, how many came before it, the limits, and chance as a number in [0, 1). Out: a delay in seconds.
DESIGN section 6 has the table. A wait longer than five minutes is written to the claim's annotation
`csi-resizer.dev/retry` and read back after a restart; what does not parse, names another target or lies more
than a day ahead is ignored.
"""

import json
from typing import Final

from msgspec import Struct

from resizer.core.verdict import Failure
from resizer.model.timestamp import format_time, parse_time

REMEMBERED_FROM_S: Final = 300.0
REMEMBERED_UP_TO_S: Final = 24 * 3600.0
RETRY_AFTER_MAX_S: Final = 3600.0
JITTER: Final = 0.1
_MAX_ANNOTATION: Final = 512


class Limits(Struct, frozen=True):
    """The retry settings, in seconds. `--retry-interval-start` and `--retry-interval-max` of the peer."""

    retry_start_s: float = 1.0
    retry_max_s: float = 300.0


class Wait(Struct, frozen=True):
    """A remembered wait: which class of failure, for which target, and until when (Unix seconds)."""

    class_: str
    target: str
    not_before_s: float


def delay_exponential(failures: int, *, limits: Limits, roll: float) -> float:
    """Delay after the n-th failure in a row (n >= 1): doubling from start to max, up to 10 % less by chance."""
    doubled: float = limits.retry_start_s * 2 ** min(failures - 1, 32)
    return min(doubled, limits.retry_max_s) * (1 - JITTER * roll)


def delay_after(
    failure: Failure,
    *,
    failures: int,
    repeats: int,
    limits: Limits,
    roll: float,
    is_in_use: bool | None,
    handle_in_use: bool,
) -> float:
    """Seconds until the next try.

    `failures` counts all in a row, `repeats` those that named a time, both with this one; `is_in_use`: a running pod
    uses the volume. A driver that names a time is taken by its word once; if it still refuses then, each further
    wait is longer by that time, up to an hour.
    """
    if failure.retry_after_s > 0:
        # Not called (an open circuit) is no refusal: the time named is then when the driver is tried next.
        times = 1 if failure.outcome == "unchanged" else repeats
        return min(failure.retry_after_s * times, max(failure.retry_after_s, RETRY_AFTER_MAX_S))
    match failure.class_:
        case "infeasible":
            return limits.retry_max_s
        case "offline-required" if is_in_use and handle_in_use:
            return limits.retry_max_s
        case _:
            return delay_exponential(failures, limits=limits, roll=roll)


def write_wait(failure: Failure, *, target: str, delay_s: float, now_s: float) -> str:
    """Text of the retry annotation, empty for a wait that need not be remembered."""
    if delay_s <= REMEMBERED_FROM_S:
        return ""
    until = format_time(now_s + min(delay_s, REMEMBERED_UP_TO_S))
    return json.dumps({"class": failure.class_, "target": target, "notBefore": until}, separators=(",", ":"))


def read_wait(annotation: str, *, target: str, now_s: float) -> Wait | None:
    """Read the retry annotation. None unless it parses, is for this target and ends within the next 24 hours."""
    if not annotation or len(annotation) > _MAX_ANNOTATION:
        return None
    try:
        found = json.loads(annotation)
        class_, its_target, until = found["class"], found["target"], found["notBefore"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(class_, str) or its_target != target:
        return None
    if not isinstance(until, str) or "+" in until or not until.endswith("Z"):
        return None
    not_before_s = parse_time(until)
    if not now_s < not_before_s <= now_s + REMEMBERED_UP_TO_S:
        return None
    return Wait(class_, target, not_before_s)
