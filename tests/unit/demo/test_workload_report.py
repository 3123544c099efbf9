"""The page, the verdict on the comparison, and what Prometheus is given to scrape."""

import re

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from resizer.demo.metrics import fetch
from resizer.demo.report.page import render_page
from resizer.demo.workload.compare import find_comparison_fault
from resizer.demo.workload.exporter import DriverCalls, serve_pages, workload_page
from resizer.demo.workload.figures import Disturbance, Window
from resizer.demo.workload.outcome import Grown, Medians, MysqlResult, Rows, Run, Side
from resizer.demo.workload.pods import Database
from resizer.demo.workload.prometheus import Target, Watched, configuration, rule_files
from resizer.demo.workload.sqlite import SQLite

WINDOW = Window(20_000.0, 0.004, 0.008, 0.03)
ROWS = Rows(acknowledged=640, counted=640, wrong=0, verdict="CHECK TABLE: OK", is_sound=True)
GROWN = Grown(
    claim="c",
    asked_bytes=2 * 1024**3,
    granted_bytes=2 * 1024**3,
    device_bytes=2 * 1024**3,
    filesystem_before_bytes=1024**3,
    filesystem_after_bytes=2 * 1024**3,
    seen_after_s=0.06,
    done_after_s=0.07,
    stages_s={"asked": 0.0, "done": 0.07},
    disturbance=Disturbance(10.0, WINDOW, WINDOW, WINDOW, WINDOW, 0.9876),
)
RUN = Run(
    growths=[GROWN],
    queries=100,
    qps=20_000.0,
    errors=0,
    error_texts=[],
    longest_s=0.03,
    rows=ROWS,
    prometheus=Watched(targets_up=3, targets=3),
)
LEFT = Side(
    claim="left",
    size_bytes=1,
    grown=None,
    edited_at_share=0.0,
    most_used_share=1.0,
    refusal="the table is full",
    refused_after_s=4.0,
    disk_full_words="error 28",
    query_errors=0,
    rows=ROWS,
)
IN_TIME = msgspec.structs.replace(
    LEFT, claim="grown", grown=GROWN, refusal="", refused_after_s=None, disk_full_words=""
)
LOST = msgspec.structs.replace(ROWS, counted=639)


def result(**more):
    medians = Medians(seen_after_s=[0.06], kept_share=[0.9876])
    return MysqlResult(ok=True, database="MariaDB", claim="qcfs-pvc", runs=[RUN], medians=medians, **more)


def test_page_needs_no_other_file_and_no_network(tmp_path):
    """Pictures are inside, nothing is loaded from elsewhere, and the figures are in the table."""
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG")
    page = render_page(result(), shown=0, pictures={"Queries": picture})
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "http" not in page
    assert "98.8%" in page
    assert "rows acknowledged 640, counted 640" in page


def test_page_shows_no_markup_from_a_message():
    """A database's words are text."""
    run = msgspec.structs.replace(RUN, errors=1, error_texts=["<script>x</script>"])
    page = render_page(msgspec.structs.replace(result(), runs=[run]), shown=0, pictures={})
    assert "<script>" not in page


@pytest.mark.parametrize(
    ("change", "is_good"),
    [
        ({}, True),
        ({"errors": 1}, False),
        ({"rows": LOST}, False),
        ({"rows": msgspec.structs.replace(ROWS, wrong=1)}, False),
        ({"rows": msgspec.structs.replace(ROWS, is_sound=False)}, False),
        ({"growths": [msgspec.structs.replace(GROWN, fault="too small")]}, False),
    ],
)
def test_run_is_good_only_when_all_of_it_is(change, is_good):
    """Errors, lost, unexpected or damaged rows, an unsound table and a growth that is none each fail the run."""
    assert msgspec.structs.replace(RUN, **change).is_good is is_good


@pytest.mark.parametrize(
    ("left", "grown", "fault"),
    [
        ({}, {}, ""),
        ({"disk_full_words": ""}, {}, "was to end with a full disk"),
        ({"rows": LOST}, {}, "left has 639 rows, acknowledged were 640"),
        ({}, {"refusal": "full"}, "grown was grown in time, and yet full"),
        ({}, {"query_errors": 2}, "2 queries failed"),
        ({}, {"grown": None}, "it was not edited"),
        ({}, {"rows": LOST}, "grown has 639 rows"),
    ],
)
def test_comparison_says_what_is_not_as_it_should_be(left, grown, fault):
    """The one must have been refused for a full disk, the other not at all, and neither may have lost a row."""
    found = find_comparison_fault(msgspec.structs.replace(LEFT, **left), msgspec.structs.replace(IN_TIME, **grown))
    assert (fault in found) if fault else not found


def test_the_alerts_of_the_source_tree_are_loaded():
    """All rule files of deploy/prometheus, not their tests; every target with its path."""
    rules = rule_files()
    assert {rule.name for rule in rules} >= {"claims.rules.yaml", "controller.rules.yaml", "slo.rules.yaml"}
    made = configuration([Target("driver", 1234, "/driver")], rules)
    assert made["rule_files"] == [str(rule) for rule in rules]
    assert made["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:1234"]}]


async def test_exporter_speaks_prometheus_text(tmp_path):
    """Both pages parse, a path that is none is no page, and before there is a database nothing is said of it."""
    calls = DriverCalls()
    calls.count("NodeExpandVolume")
    databases = {}
    pages = {"/workload": lambda: workload_page(databases), "/driver": calls.page}
    async with serve_pages(pages) as port:
        assert await fetch(port, "/workload") == ""
        databases["qcfs-pvc"] = Database(SQLite(), path=tmp_path, folder=tmp_path)
        text = await fetch(port, "/workload")
        driver = await fetch(port, "/driver")
        assert await fetch(port, "/etc/passwd") == "nothing here\n"
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"demo_queries", "demo_transaction_seconds", "demo_filesystem_size_bytes", "demo_data_bytes"} <= names
    assert 'demo_driver_calls_total{method="NodeExpandVolume"} 1.0' in driver
