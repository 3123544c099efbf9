"""Rates, quantiles and pauses are those of the transactions that were answered in a window."""

import pytest

from resizer.demo.workload.figures import (
    measure_disturbance,
    measure_window,
    quantile,
    quantile_series,
    rate_series,
)
from resizer.demo.workload.load import Log


def steady(*, begin=0.0, end=40.0, every=0.01, took=0.005, silent=()):
    log = Log()
    for number in range(round((end - begin) / every)):
        at = begin + number * every
        if not any(first <= at < last for first, last in silent):
            log.take(f"q {at:.6f} {took:.6f}")
    return log


def test_window_counts_what_was_answered_in_it():
    """A window holds its begin and not its end; the rate is of queries, the durations of transactions."""
    log = Log()
    for line in ("q 1.0 0.010", "q 1.5 0.030", "q 2.0 9.0"):
        log.take(line)
    window = measure_window(log, begin_s=1.0, end_s=2.0, queries_per_transaction=20)
    assert window.qps == 40
    assert (window.p95_s, window.longest_s) == (0.030, 0.030)


def test_lines_out_of_order_are_put_in_order():
    """Threads speak a tenth of a second late: the order of their lines means nothing."""
    log = Log()
    for at in (3.0, 1.0, 2.0):
        log.take(f"q {at} 0.001")
    assert measure_window(log, begin_s=0.5, end_s=2.5, queries_per_transaction=1).qps == 1.0


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_quantile_is_the_nearest_rank(share, expected):
    """Of 1 to 100 the 95th percentile is 95, no value that nobody measured."""
    assert quantile(range(1, 101), share) == expected


def test_undisturbed_load_keeps_everything():
    """A steady rate is the same before, around and after."""
    felt = measure_disturbance(steady(), edited_s=20.0, window_s=10.0, queries_per_transaction=20)
    assert felt.kept_share == pytest.approx(1.0, abs=0.002)
    assert felt.before.qps == pytest.approx(2000, rel=0.01)


def test_a_dip_of_one_second_is_seen():
    """One silent second after the edit costs a tenth of the window around it, and all of the first second."""
    log = steady(silent=[(20.0, 21.0)])
    felt = measure_disturbance(log, edited_s=20.0, window_s=10.0, queries_per_transaction=20)
    assert felt.kept_share == pytest.approx(0.9, abs=0.002)
    assert felt.first_second.qps == 0
    assert felt.after.qps == pytest.approx(felt.before.qps, rel=0.01)


def test_no_queries_are_no_division_by_zero():
    """A load that never answered has kept nothing."""
    felt = measure_disturbance(Log(), edited_s=20.0, window_s=10.0, queries_per_transaction=20)
    assert (felt.kept_share, felt.before.p99_s) == (0.0, 0.0)


def test_series_have_a_point_a_step():
    """Rates are drawn in the middle of each step; quantiles leave out steps without a transaction."""
    log = steady(end=2.0, silent=[(1.0, 1.5)])
    times, rates = rate_series(log, begin_s=0.0, end_s=2.0, step_s=0.5, per=1)
    assert times == [0.25, 0.75, 1.25, 1.75]
    assert rates[2] == 0
    assert rates[0] == pytest.approx(100, rel=0.05)
    assert len(quantile_series(log, begin_s=0.0, end_s=2.0, step_s=0.5, share=0.95)[0]) == 3
