"""What the table says of figures, and what the JSON form keeps of them."""

import pytest

from bench.rows import ROWS, Row
from bench.runner import LONG, QUICK
from bench.table import aligned, comparison, document, medians, missed, table

CPU = next(row for row in ROWS if row.key == "cpu_ms")


@pytest.mark.parametrize(
    ("sign", "goal", "value", "met"),
    [
        ("<=", 2.0, 2.0, True),
        ("<=", 2.0, 2.01, False),
        ("<", 1.0, 1.0, False),
        ("<", 1.0, 0.99, True),
        (">=", 1.2, 1.2, True),
        (">=", 1.2, 1.19, False),
    ],
)
def test_a_goal_is_reached_by_its_own_sign(sign, goal, value, met):
    """At most, below and at least differ exactly at the goal itself."""
    assert Row("x", "b", "X", "", goal, sign).is_met_by(value) is met


def test_a_row_without_a_goal_is_neither_reached_nor_missed():
    """What is there for information never fails a run."""
    assert Row("x", "b", "X", "").is_met_by(1e9) is None


def test_every_row_belongs_to_a_benchmark_and_has_a_name_of_its_own():
    """No row is left unmeasured by a name mistyped, and none hides another in the history."""
    assert {row.benchmark for row in ROWS} == {*QUICK, *LONG}
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_the_goals_are_those_that_were_set():
    """A goal does not slip: these are the figures promised."""
    goals = {row.key: (row.sign, row.goal) for row in ROWS}
    assert goals["filesystem_max_s"] == ("<=", 1.0)
    assert goals["default_100_s"] == ("<=", 3.0)
    assert goals["cpu_ms"] == ("<=", 2.0)
    assert goals["patches"] == ("<=", 3.0)
    assert goals["patches_node"] == ("<=", 4.0)
    assert goals["conflicts_percent"] == ("<", 1.0)
    assert goals["ratio"] == (">=", 1.2)
    assert goals["lone_p50_ms"] == ("<=", 20.0)
    assert goals["lone_p99_ms"] == ("<=", 40.0)
    assert goals["rss_mb"] == ("<=", 130.0)
    assert goals["first_claim_s"] == ("<=", 1.1)
    assert goals["idle_percent"] == ("<", 0.3)
    assert goals["lag_p99_ms"] == ("<", 50.0)


def test_medians_are_taken_over_the_runs_that_have_the_figure():
    """A figure measured once (the peer's minute) is kept, not mixed with nothing."""
    runs = [{"cpu_ms": 1.0, "peer.default_100_s": 64.0}, {"cpu_ms": 9.0}, {"cpu_ms": 2.0}]
    assert medians(runs) == {"cpu_ms": 2.0, "peer.default_100_s": 64.0}


def test_the_table_shows_goal_and_verdict_beside_the_figure():
    """A reader sees at once which row is missed, and by how much."""
    figures = {"cpu_ms": 2.5, "lone_p50_ms": 12.0}
    lines = table(figures).splitlines()
    assert lines[1].startswith(CPU.title)
    assert lines[1].split("  ")[-1] == "MISSED"
    assert "2.50 ms" in lines[1]
    assert "<= 2" in lines[1]
    assert lines[2].endswith("ok")
    assert [row.key for row in missed(figures)] == ["cpu_ms"]


def test_the_peers_column_is_there_only_with_a_peer():
    """The peer's figure stands in the row of the same work, and in no other."""
    assert "peer" not in table({"cpu_ms": 1.0})
    lines = table({"cpu_ms": 1.0, "lone_p50_ms": 1.0, "peer.cpu_ms": 3.25}).splitlines()
    assert lines[1].endswith("3.25 ms")
    assert lines[2].endswith("ok")


def test_columns_are_aligned():
    """Every line is as wide as the widest of its cells."""
    assert aligned([("a", "1"), ("long", "1000")]).splitlines() == ["a        1", "long  1000"]


def test_a_comparison_tells_better_from_worse_by_the_rows_sign():
    """Less is better for milliseconds, more for a rate; a difference of 5 % is none; rows of one side are left out."""
    before = {"cpu_ms": 2.0, "rate": 100.0, "lone_p50_ms": 10.0, "idle_percent": 0.1}
    after = {"cpu_ms": 1.0, "rate": 150.0, "lone_p50_ms": 10.4, "rss_mb": 1.0}
    lines = comparison(before, after, names=("aaaa", "bbbb")).splitlines()
    assert len(lines) == 4
    found = {line.split("  ")[0] or line.strip().split("  ")[0]: line for line in lines[1:]}
    assert lines[1].split()[-2:] == ["0.50", "better"]
    assert next(line for line in lines if "/s" in line).split()[-2:] == ["1.50", "better"]
    assert lines[-1].split()[-2:] == ["1.04", "same"]
    assert len(found) == 3
    worse = comparison(after, before, names=("bbbb", "aaaa")).splitlines()
    assert worse[1].split()[-1] == "worse"


def test_a_ratio_to_nothing_is_not_computed():
    """Zero conflicts before is no reason to fail."""
    line = comparison({"conflicts_percent": 0.0}, {"conflicts_percent": 0.5}, names=("a", "b")).splitlines()[1]
    assert line.split()[-2:] == ["-", "worse"]


def test_json_keeps_every_run_the_goal_and_what_it_was_measured_on():
    """Whoever reads the JSON can form an opinion of his own: no run is lost in a median."""
    written = document([{"cpu_ms": 1.0, "peer.cpu_ms": 3.0}, {"cpu_ms": 3.0}], {"commit": "abc"})
    assert written["commit"] == "abc"
    row = written["rows"]["cpu_ms"]
    assert (row["value"], row["runs"], row["goal"], row["met"], row["peer"]) == (2.0, [1.0, 3.0], 2.0, True, 3.0)
