"""Numbers from what the loads said: rates, quantiles and pauses in windows of time. Pure.

Times are seconds of one clock; a window is begin <= t < end by the moment at which a transaction was answered.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import msgspec

from resizer.demo.workload.load import Log


class Window(msgspec.Struct, frozen=True):
    """The queries of one window of time. Seconds; quantiles are of transactions, 0 where there were none."""

    qps: float
    p95_s: float
    p99_s: float
    longest_s: float


def measure_window(log: Log, *, begin_s: float, end_s: float, queries_per_transaction: int) -> Window:
    """Return the figures of the transactions answered in a window. `log` holds them in the order of their lines."""
    ended, took = ordered(log)
    first, last = bisect_left(ended, begin_s), bisect_left(ended, end_s)
    found = sorted(took[first:last])
    qps = len(found) * queries_per_transaction / (end_s - begin_s)
    longest_s = found[-1] if found else 0.0
    return Window(round(qps, 1), quantile(found, 0.95), quantile(found, 0.99), longest_s)


def ordered(log: Log) -> tuple[list[float], list[float]]:
    """The log's times and durations in order of time: several threads speak, each a tenth of a second late at most."""
    pairs = sorted(zip(log.ended_s, log.took_s, strict=True))
    return [at for at, _ in pairs], [took for _, took in pairs]


def quantile(ascending: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of values in ascending order, 0 where there are none."""
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


class Disturbance(msgspec.Struct, frozen=True):
    """The queries before, around and after one growth, in windows of the same length, and in its first second.

    The window around begins half its length before the edit. `kept_share` is the rate around over the rate before.
    """

    window_s: float
    before: Window
    around: Window
    after: Window
    first_second: Window
    kept_share: float


def measure_disturbance(log: Log, *, edited_s: float, window_s: float, queries_per_transaction: int) -> Disturbance:
    """Return what the queries felt of a growth asked for at `edited_s`."""

    def window(begin: float, length: float) -> Window:
        begin_s = edited_s + begin
        return measure_window(
            log, begin_s=begin_s, end_s=begin_s + length, queries_per_transaction=queries_per_transaction
        )

    half = window_s / 2
    before, around, after = (window(begin, window_s) for begin in (-half - window_s, -half, half))
    kept = around.qps / before.qps if before.qps else 0.0
    return Disturbance(window_s, before, around, after, window(0.0, min(1.0, half)), round(kept, 4))


def rate_series(log: Log, *, begin_s: float, end_s: float, step_s: float, per: int) -> tuple[list[float], list[float]]:
    """Return mid-times and rates a second of `per` times the events, in steps."""
    times = sorted(log.ended_s)
    count = max(1, int((end_s - begin_s) / step_s))
    edges = [begin_s + step * step_s for step in range(count + 1)]
    places = [bisect_left(times, edge) for edge in edges]
    rates = [(right - left) * per / step_s for left, right in pairwise(places)]
    return [edge + step_s / 2 for edge in edges[:-1]], rates


def quantile_series(
    log: Log, *, begin_s: float, end_s: float, step_s: float, share: float
) -> tuple[list[float], list[float]]:
    """Return mid-times and the quantile of durations, in steps; steps without events are left out."""
    ended, took = ordered(log)
    times: list[float] = []
    values: list[float] = []
    edge = begin_s
    while edge + step_s <= end_s:
        found = sorted(took[bisect_left(ended, edge) : bisect_left(ended, edge + step_s)])
        if found:
            times.append(edge + step_s / 2)
            values.append(quantile(found, share))
        edge += step_s
    return times, values


def median_share(shares: Sequence[float]) -> float:
    """The median, 0 of none."""
    return median(shares) if shares else 0.0
