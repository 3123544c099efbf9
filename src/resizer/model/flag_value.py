"""Values as Go programs take them in flags, and so in our files and environment: durations and booleans.

Durations are texts such as "5m", "1h30m" and "300ms" outside, and seconds inside.
"""

import re
from typing import Final

_DURATION: Final = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
LONGEST_S: Final = 2562047 * 3600.0
"""What Go counts in nanoseconds, in 64 bits, in whole hours."""
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")
_UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(value: object) -> float:
    """Read a Go duration as seconds. Raises ValueError for anything else, also for a bare number but 0."""
    text = str(value).strip()
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(parts) != text:
        raise ValueError(f"{text!r} is not a duration: write it as 15s, 5m, 1h30m or 300ms")
    seconds = round(sum(_seconds(part) for part in parts), 9)
    if seconds > LONGEST_S:
        raise ValueError("this duration is too long: write 2562047h or less, as in Go")
    return seconds


def _seconds(part: str) -> float:
    number = re.match(r"[\d.]+", part)
    assert number is not None
    return float(number[0]) * _UNIT_S[part[number.end() :]]


def format_duration(seconds: float) -> str:
    """Write seconds as Go writes a duration: 90 as 1m30s, 0.3 as 300ms, 0 as 0s; exact down to a nanosecond."""
    nanos, text = round(seconds * 1e9), ""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        count, nanos = divmod(nanos, round(size * 1e9))
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_bool(text: str) -> bool:
    """Read a boolean as Go's strconv.ParseBool does. Raises ValueError for anything else."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")
