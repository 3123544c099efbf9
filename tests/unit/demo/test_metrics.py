"""The lines of /metrics that the demo shows."""

from resizer.demo.metrics import inflight, shown_lines

TEXT = """\
# HELP resizer_stage_inflight Claims in hand.
resizer_stage_inflight{driver="a",stage="node-resize"} 3.0
resizer_stage_inflight{driver="b",stage="node-resize"} 4.0
resizer_stage_inflight{driver="a",stage="status-patch"} 0.0
resizer_stage_duration_seconds_bucket{driver="a",le="0.1",stage="node-resize"} 0.0
resizer_stage_duration_seconds_bucket{driver="a",le="0.5",stage="node-resize"} 2.0
resizer_stage_duration_seconds_bucket{driver="a",le="1.0",stage="node-resize"} 2.0
resizer_stage_duration_seconds_bucket{driver="a",le="+Inf",stage="node-resize"} 2.0
resizer_stage_duration_seconds_count{driver="a",stage="node-resize"} 2.0
resizer_stage_failures_total{class="bug",driver="a",stage="node-resize"} 0.0
process_cpu_seconds_total 1.0
"""


def test_inflight_is_summed_over_drivers():
    """The gauge of one stage counts the claims of all drivers."""
    assert inflight(TEXT) == {"node-resize": 7, "status-patch": 0}


def test_only_lines_that_say_something_are_shown():
    """No zeros, no foreign series, and of the buckets only those to which something was added."""
    assert shown_lines(TEXT) == [
        'resizer_stage_inflight{driver="a",stage="node-resize"} 3.0',
        'resizer_stage_inflight{driver="b",stage="node-resize"} 4.0',
        'resizer_stage_duration_seconds_bucket{driver="a",le="0.5",stage="node-resize"} 2.0',
        'resizer_stage_duration_seconds_count{driver="a",stage="node-resize"} 2.0',
    ]
