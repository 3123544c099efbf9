"""Our counters and histograms write what prometheus_client's own would."""

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from resizer.obs.series import Counts, Observations

BUCKETS = (1e-8, 0.005, 0.1, 1.0, 2.5, 14400.0)
LABELS = st.sampled_from(["a", "b", 'odd "\\ \n'])
VALUES = st.one_of(st.floats(0, 20_000), st.sampled_from(BUCKETS))


@pytest.fixture(autouse=True, scope="module")
def _without_birthdays():
    prometheus_client.disable_created_metrics()


@given(st.lists(st.tuples(LABELS, LABELS, VALUES), max_size=50))
def test_a_histogram_reads_as_the_librarys(seen):
    """Every bucket, count and sum, in both formats; a value on an edge belongs to that bucket."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    reference = Histogram("h_seconds", "Text", ["x", "y"], buckets=BUCKETS, registry=theirs)
    histogram = Observations("h_seconds", "Text", ["x", "y"], buckets=BUCKETS, registry=ours)
    reference.labels("zero", "")
    histogram.create("zero", "")
    for x, y, value in seen:
        reference.labels(x, y).observe(value)
        histogram.observe(value, x, y)
    for encode in (generate_latest, openmetrics.generate_latest):
        assert encode(ours) == encode(theirs)


@given(st.lists(st.tuples(LABELS, st.floats(0, 1e18)), max_size=50))
def test_a_counter_reads_as_the_librarys(seen):
    """Counted one by one and many at once."""
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    reference = Counter("c_total", "Text", ["x"], registry=theirs)
    counter = Counts("c_total", "Text", ["x"], registry=ours)
    reference.labels("zero")
    counter.create("zero")
    for x, by in seen:
        reference.labels(x).inc()
        reference.labels(x).inc(by)
        counter.add(x)
        counter.add(x, by=by)
    for encode in (generate_latest, openmetrics.generate_latest):
        assert encode(ours) == encode(theirs)


def test_a_label_too_few_is_said_to():
    """The family would write the series all the same, under fewer labels."""
    registry = CollectorRegistry()
    counter = Counts("c_total", "Text", ["x", "y"], registry=registry)
    histogram = Observations("h", "Text", ["x"], buckets=BUCKETS, registry=registry)
    for call in (counter.create, counter.add, histogram.create, lambda *labels: histogram.observe(1.0, *labels)):
        with pytest.raises(ValueError, match=r"metric (c_total|h) has the labels x.*; given were \('a', 'b', 'c'\)"):
            call("a", "b", "c")
    assert not [sample for family in registry.collect() for sample in family.samples]


def test_creating_again_keeps_what_was_counted():
    """A driver that comes back does not set its series back to zero."""
    registry = CollectorRegistry()
    counter = Counts("c_total", "Text", ["x"], registry=registry)
    histogram = Observations("h", "Text", [], buckets=BUCKETS, registry=registry)
    assert registry.get_sample_value("h_count") == 0
    counter.add("a")
    histogram.observe(1.0)
    counter.create("a")
    histogram.create()
    assert registry.get_sample_value("c_total", {"x": "a"}) == 1
    assert registry.get_sample_value("h_count") == 1
