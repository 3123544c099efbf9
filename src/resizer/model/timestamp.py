"""Points in time as Kubernetes writes them: RFC 3339, UTC, in whole seconds (Time) or microseconds (MicroTime)."""

from datetime import UTC, datetime
from functools import lru_cache


def format_time(unix_s: float) -> str:
    """Unix seconds as metav1.Time, the fraction left out: `2026-11-28T20:00:00Z`."""
    return _format_second(int(unix_s))


def format_micro_time(unix_s: float) -> str:
    """Unix seconds as metav1.MicroTime: `2026-11-28T20:00:00.123456Z`."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> float:
    """Read either as Unix seconds; 0 for none or nonsense."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except (ValueError, OverflowError):
        return 0.0


@lru_cache(maxsize=16)  # each growth writes the same few seconds several times, and among a thousand growths all do
def _format_second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
