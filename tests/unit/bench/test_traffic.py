"""Figures from the audit's records and from histograms, and the slope that a leak has."""

import pytest

from bench import traffic
from bench.leak import slope


def _record(verb, resource, *, status=200, subresource="", namespace="a", at_s=0.0):
    return {
        "verb": verb,
        "resource": resource,
        "subresource": subresource,
        "status": status,
        "namespace": namespace,
        "at_s": at_s,
    }


def test_each_request_counts_as_what_it_is():
    """Patches that were refused, nudges and leases are no patches of a resize; repeated events are events."""
    records = [
        _record("patch", "persistentvolumeclaims", subresource="status"),
        _record("patch", "persistentvolumes"),
        _record("patch", "persistentvolumeclaims", subresource="status", status=409),
        _record("patch", "pods", subresource="status"),
        _record("create", "events", status=201),
        _record("patch", "events"),
        _record("list", "events"),
        _record("update", "leases"),
    ]
    assert traffic.patches(records) == 2
    assert traffic.nudges(records) == 1
    assert traffic.events(records) == 2
    assert traffic.conflicts(records) == 1


def test_the_busiest_namespace_counts():
    """One list too many in one namespace is not hidden by the others."""
    records = [_record("watch", "pods", namespace=n) for n in ("a", "b", "b")] + [_record("list", "pods")]
    assert traffic.most_in_a_namespace(records, verb="watch") == 2
    assert traffic.most_in_a_namespace(records, verb="list") == 1
    assert traffic.most_in_a_namespace([], verb="list") == 0


def test_the_longest_gap_between_renewals_is_found():
    """A late renewal shows; refused ones renew nothing; one alone has no gap."""
    renewals = [_record("update", "leases", at_s=at_s) for at_s in (1.0, 2.0, 4.5, 5.5)]
    refused = [_record("update", "leases", at_s=3.0, status=409)]
    in_time = sorted(renewals + refused, key=lambda record: record["at_s"])
    assert traffic.longest_gap_s(in_time) == 2.5
    assert traffic.longest_gap_s(renewals[:1]) is None


@pytest.mark.parametrize(
    ("part", "expected"),
    [(0.5, 0.1), (0.75, 0.15), (1.0, 0.2)],
)
def test_a_quantile_lies_where_promql_puts_it(part, expected):
    """Between two bounds the counts are taken as spread evenly."""
    before = {0.1: 100.0, 0.2: 100.0, float("inf"): 100.0}
    after = {0.1: 110.0, 0.2: 120.0, float("inf"): 120.0}
    assert traffic.quantile(part, before, after) == pytest.approx(expected)


def test_a_quantile_beyond_the_last_bound_is_that_bound_and_of_nothing_is_zero():
    """Neither infinity nor a division by zero reaches the table."""
    assert traffic.quantile(0.99, {}, {0.1: 0.0, float("inf"): 5.0}) == 0.1
    assert traffic.quantile(0.99, {0.1: 5.0, float("inf"): 5.0}, {0.1: 5.0, float("inf"): 5.0}) == 0.0


def test_the_slope_of_a_leak_is_found_through_noise():
    """A steady rise is told from a memory that only breathes."""
    assert slope([10.0, 12.0, 14.0, 16.0]) == pytest.approx(2.0)
    assert slope([10.0, 11.0, 10.0, 11.0, 10.0]) == pytest.approx(0.0)
    assert slope([5.0]) == 0.0
