"""The committed dashboards: generated, well-formed, by dashboard-linter's rules, and every query about real series.

No Grafana server can be had where this was written: the panels have been checked, not rendered by Grafana.
"""

import json
import re

import promql_parser
import pytest
from tools.dashboards.rendering import FOLDER, render, round_trip

from tests.unit.deploy.metric_query import ROOT, known_series, own_series, selectors, walk

NAMES = sorted(path.name for path in FOLDER.glob("*.json"))
PANEL_TYPES = {"timeseries", "stat", "table", "heatmap", "row"}
UNITS = {"short", "s", "cps", "reqps", "bytes", "binBps", "percentunit", "bool_yes_no", "string"}
INTERVALS = {"$__rate_interval": "5m", "$__range": "3h"}
COUNTER = re.compile(r"_(total|count|sum|bucket)$")
ON_RATES = {"rate", "increase", "irate"}
LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")

on_each = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> dict:
    return json.loads((FOLDER / name).read_text())


def panels(name: str) -> list[dict]:
    return [panel for panel in load(name)["panels"] if panel["type"] != "row"]


def queries(name: str) -> list[tuple[str, str]]:
    """Panel and PromQL, with Grafana's own intervals filled in."""
    return [(p["title"], filled(target["expr"])) for p in panels(name) for target in p["targets"]]


def filled(expr: str) -> str:
    for variable, value in INTERVALS.items():
        expr = expr.replace(f"[{variable}]", f"[{value}]")
    return expr


def variables(name: str) -> dict[str, dict]:
    return {variable["name"]: variable for variable in load(name)["templating"]["list"]}


def test_the_committed_json_is_what_the_generator_makes():
    """`python -m tools.dashboards` was run after the last change, and nobody edited the JSON by hand."""
    assert {name: (FOLDER / name).read_text() for name in NAMES} == render()


@on_each
def test_the_schema_knows_every_key(name):
    """Reading and writing it with Grafana's schema changes nothing: no key is mistyped or in the wrong place."""
    assert round_trip((FOLDER / name).read_text()) == load(name)


@on_each
def test_the_dashboard_can_be_provisioned(name):
    """A stable uid that is the file's name, no inputs to ask for, read-only, numbered panels of kinds Grafana has."""
    made = load(name)
    assert f"{made['uid']}.json" == name
    assert "__inputs" not in made
    assert made["editable"] is False
    assert "id" not in made
    assert [panel["id"] for panel in made["panels"]] == list(range(1, len(made["panels"]) + 1))
    assert {panel["type"] for panel in made["panels"]} <= PANEL_TYPES


@on_each
def test_the_variables_are_as_the_linter_wants_them(name):
    """Data source, job and instance can be chosen; values are asked again when the time range changes."""
    found = variables(name)
    source = found.pop("datasource")
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    for wanted, label in (("job", "Job"), ("instance", "Instance")):
        variable = found[wanted]
        assert (variable["label"], variable["multi"], variable["allValue"]) == (label, True, ".+")
    for variable in found.values():
        assert (variable["type"], variable["datasource"]["uid"], variable["refresh"]) == ("query", "${datasource}", 2)
        asked = LABEL_VALUES.fullmatch(variable["query"])
        assert asked is not None, variable["query"]
        (selector,) = selectors(asked["selector"])
        assert asked["label"] in known_series()[selector.name]


@on_each
def test_panels_explain_themselves(name):
    """Every panel has a title, a description, a unit, the data source variable, and at least one query."""
    for panel in panels(name):
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"]), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@on_each
def test_panels_do_not_overlap(name):
    """The grid of 24 columns holds every panel, each in a place of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in load(name)["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@on_each
def test_queries_read_series_that_exist_and_only_what_was_chosen(name):
    """Names and labels are real; our own series are filtered by job and instance, and by every variable that fits."""
    known, own = known_series(), own_series()
    for title, expr in queries(name):
        for selector in selectors(expr):
            assert selector.name in known, (title, selector.name)
            assert set(selector.labels) <= known[selector.name], (title, selector)
            if selector.name in own:
                assert selector.labels["job"] == "$job", (title, selector)
                assert selector.labels["instance"] == "$instance", (title, selector)
                if "driver" in known[selector.name] and "driver" in variables(name):
                    assert selector.labels["driver"] == "$driver", (title, selector)
            for value in selector.labels.values():
                assert set(re.findall(r"\$(\w+)", value)) <= set(variables(name)), (title, value)


@on_each
def test_counters_are_shown_as_rates_over_intervals_that_fit(name):
    """A counter is never shown raw; rates take Grafana's rate interval, single figures the whole time shown."""
    for panel in panels(name):
        for target in panel["targets"]:
            ranges = set(re.findall(r"\[([^\]]+)\]", target["expr"]))
            assert ranges <= ({"$__range"} if panel["type"] == "stat" else {"$__rate_interval"}), panel["title"]
            tree = promql_parser.parse(filled(target["expr"]))
            rated = {
                selector.name
                for call in walk(tree)
                if isinstance(call, promql_parser.Call) and call.func.name in ON_RATES
                for selector in selectors(str(call))
            }
            counters = {s.name for s in selectors(filled(target["expr"])) if COUNTER.search(s.name)}
            assert counters <= rated, (panel["title"], counters - rated)


def test_links_between_alerts_and_dashboards_lead_somewhere():
    """Every dashboard an alert links to exists, and so do the variables it sets."""
    for path in (ROOT / "deploy" / "prometheus").glob("*.rules.yaml"):
        for uid, query in re.findall(r"dashboard_url: \S+/d/([\w-]+)(\?.*)?", path.read_text()):
            assert set(re.findall(r"var-(\w+)=", query)) <= set(variables(f"{uid}.json")), (uid, query)


def test_every_metric_of_ours_is_on_a_dashboard():
    """What is not looked at need not be measured: only these few are for queries of one's own."""
    shown = {selector.name for name in NAMES for _, expr in queries(name) for selector in selectors(expr)}
    families = {re.sub(r"_(bucket|sum|count)$", "", series) for series in shown}
    unseen = {re.sub(r"_(bucket|sum|count)$", "", series) for series in own_series()} - families
    assert unseen == {
        "process_virtual_memory_bytes",
        "resizer_claim_pending_series_omitted",
        "resizer_driver_capability",
        "workqueue_unfinished_work_seconds",
    }
