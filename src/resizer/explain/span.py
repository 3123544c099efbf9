"""Durations as kubectl writes ages: 12s, 5m10s, 3h20m, 4d2h."""

from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


def span(seconds: float) -> str:
    """Write a duration in at most two units; what is negative is 0s."""
    whole = max(0, int(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 2 * _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    return f"{whole // _DAY}d"


def _two(whole: int, unit_s: int, unit: str, rest_s: int, rest_unit: str) -> str:
    rest = whole % unit_s // rest_s
    return f"{whole // unit_s}{unit}" + (f"{rest}{rest_unit}" if rest else "")
