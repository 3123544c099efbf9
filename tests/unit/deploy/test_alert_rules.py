"""The committed alert rules: valid, complete, and each tried by promtool where it fires and where it is silent."""

import re
import shutil
import subprocess

import pytest
import yaml

from resizer.obs.label import CLASSES, PHASES
from resizer.obs.metrics_resize import OVERDUE_S
from tests.unit.deploy.metric_query import ROOT, known_series, selectors

FOLDER = ROOT / "deploy" / "prometheus"
RULES = sorted(FOLDER.glob("*.rules.yaml"))
TESTS = sorted(FOLDER.glob("*_test.yaml"))
ALERTS = {
    "ResizeStuckController",
    "ResizeStuckNode",
    "ResizeInfeasible",
    "ResizeQuota",
    "ResizeRateLimited",
    "ResizeWaitingForDetach",
    "ResizeErrorBudgetBurn",
    "ResizeBacklogGrowing",
    "ResizerDown",
    "ResizerNoLeader",
    "ResizerWatchStale",
    "ResizerDriverDown",
    "FilesystemSmallerThanClaim",
}
POD_CAUSES = {"no-pod", "not-scheduled"}
"""Classes of the node's phase that a pod ends, and no node: nobody is paged for them."""
NEEDS_PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)


def rules() -> list[dict]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict]:
    return [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@NEEDS_PROMTOOL
def test_promtool_accepts_the_rules():
    """Prometheus would load every file."""
    assert promtool("check", "rules", *(path.name for path in RULES)).count("SUCCESS") == len(RULES)


@NEEDS_PROMTOOL
def test_promtool_finds_every_test_to_pass():
    """Alerts fire when they should, with these texts, and are silent when they should be."""
    assert promtool("test", "rules", *(path.name for path in TESTS)).count("SUCCESS") == len(TESTS)


def test_every_alert_has_a_test_that_fires_and_one_that_does_not(capsys):
    """By alert and severity; the silent one has data of a series that the alert reads, so it is not silent for want."""
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    fired, silent = set(), set()
    for case in (case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]):
        present = {re.split(r"[{ ]", series["series"])[0] for series in case["input_series"]}
        for check in case["alert_rule_test"]:
            for rule in (rule for rule in alerts() if rule["alert"] == check["alertname"]):
                key = rule["alert"], rule["labels"]["severity"]
                if any(alert["exp_labels"]["severity"] == key[1] for alert in check["exp_alerts"]):
                    fired.add(key)
                elif present & _read(rule["expr"], recorded):
                    silent.add(key)
    every = {(rule["alert"], rule["labels"]["severity"]) for rule in alerts()}
    with capsys.disabled():
        print(  # noqa: T201  # the figures are what the reader is after
            f"\nalerts with a firing and a silent test: {len(every & fired & silent)} of {len(every)} rules, "
            f"{len({alert for alert, _ in every & fired & silent})} of {len(ALERTS)} alerts"
        )
    assert fired == every
    assert silent == every


def test_an_alert_about_a_claim_outlives_the_leader_that_told_of_it():
    """Between the death of a leader and the first scrape of the next a claim has no series: nobody is paged twice."""
    about_claims = [rule for rule in alerts() if "resizer_claim_pending_since_timestamp_seconds" in rule["expr"]]
    assert len(about_claims) == 6
    assert {rule.get("keep_firing_for") for rule in about_claims} == {"3m"}


def _read(expr: str, recorded: dict[str, str]) -> set[str]:
    """Names of the series that a query reads, through recording rules."""
    names = {selector.name for selector in selectors(expr)}
    return {n for name in names for n in ({name} if name not in recorded else _read(recorded[name], recorded))}


def test_the_alerts_are_those_promised():
    """No alert more, none less."""
    assert {rule["alert"] for rule in alerts()} == ALERTS


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_an_alert_says_what_whoever_is_paged_needs(rule):
    """Severity, texts, page and dashboard; where one claim is meant its name is in the text and in the link."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert rule["annotations"]["runbook_url"].endswith(f"/runbooks/{rule['alert']}.md")
    assert re.search(r"/d/resizer-(resizes|pipeline|claim)\b", rule["annotations"]["dashboard_url"])
    if "persistentvolumeclaim" in rule["expr"] and rule["alert"] != "ResizerWatchStale":
        assert re.search(r"max by \(namespace, persistentvolumeclaim[,)]", rule["expr"])
        assert "{{ $labels.namespace }}/{{ $labels.persistentvolumeclaim }}" in rule["annotations"]["description"]
        assert "var-claim={{ $labels.persistentvolumeclaim }}" in rule["annotations"]["dashboard_url"]


def test_rules_read_only_series_that_exist():
    """Names and labels are those of docs/metrics.md, kube-state-metrics or the kubelet; classes are the program's."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    series = known_series()
    for selector in (selector for rule in rules() for selector in selectors(rule["expr"])):
        if selector.name in recorded:
            continue
        assert selector.name in series, selector
        assert set(selector.labels) <= series[selector.name], selector
        if selector.name.startswith("resizer_"):
            assert set(filter(None, selector.labels.get("class", "").split("|"))) <= CLASSES | POD_CAUSES, selector
            assert set(filter(None, [selector.labels.get("phase")])) <= set(PHASES), selector


def test_the_objective_is_the_same_everywhere():
    """The rules' edge of the histogram, the program's counter, and the page agree on the seconds."""
    edges = {s.labels["le"] for rule in rules() for s in selectors(rule["expr"]) if "le" in s.labels}
    assert edges == {str(OVERDUE_S)}
    assert f"within {OVERDUE_S:.0f} s" in (ROOT / "docs" / "slo.md").read_text()


def test_every_class_of_failure_has_an_alert():
    """Whatever keeps a claim at its driver, exactly one alert about claims covers it."""
    at_driver = [r for r in alerts() if "resizer_claim_pending_since_timestamp_seconds" in r["expr"]]
    for class_ in CLASSES:
        covering = [
            rule["alert"]
            for rule in at_driver
            if rule["alert"] != "ResizeStuckNode"
            and (match := re.search(r'class(!~|=)"([^"]+)"', rule["expr"]))
            and (class_ in match[2].split("|")) == (match[1] == "=")
        ]
        assert len(covering) == 1, (class_, covering)
