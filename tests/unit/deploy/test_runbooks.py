"""The runbooks: one for each alert, all with the same parts, and nothing in them that the program does not have."""

import ast
import re
import typing
from pathlib import Path

import pytest
import yaml

from resizer.obs.label import CLASSES, PHASES, STAGES
from resizer.settings import Settings
from tests.unit.deploy.metric_query import ROOT, known_series, own_series, selectors

FOLDER = ROOT / "docs" / "runbooks"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
PARTS = ["What it means", "What users feel", "How to confirm", "What to do", "When to escalate"]
METRIC = re.compile(r"\b(?:resizer|workqueue|rest_client|leader_election|csi_sidecar|kubelet_volume|kube)_\w+")
SAMPLE = re.compile(r"^(?P<name>[a-z_]+)\{(?P<labels>[^}]*)\} [0-9.e+]+$", re.MULTILINE)
MOST_WORDLESS = 12
"""Letters that a text has beside what is put into it, at least: fewer would fit anything."""
LINK = re.compile(r"\]\((?P<target>[^)#]+)\)")

on_each = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


def alerts() -> list[dict]:
    return [
        rule
        for path in (ROOT / "deploy" / "prometheus").glob("*.rules.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


def source() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "src" / "resizer").rglob("*.py") if "/pb/" not in str(path))


def test_every_alert_has_its_page_and_every_page_its_alert():
    """Whoever follows a page's link finds the file, as a Git host shows it; no page speaks of an alert that is gone."""
    linked = {Path(alert["annotations"]["runbook_url"]).name for alert in alerts()}
    assert linked == {page.name for page in PAGES}
    assert linked == set(re.findall(r"\]\((\w+\.md)\)", (FOLDER / "README.md").read_text()))


@on_each
def test_a_page_has_all_parts_and_commands_with_what_they_print(page):
    """The five parts, in this order; confirming takes at least two commands, each with what it prints."""
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    confirm = text.partition("## How to confirm")[2].partition("\n## ")[0]
    commands = re.findall(r"^ *\$ (.+)$", confirm, re.MULTILINE)
    assert len(commands) >= 2
    assert all(re.match(r"(kubectl|curl|date) ", command) for command in commands), commands
    for block in re.findall(r"```console\n(.*?)```", confirm, re.DOTALL):
        assert block.lstrip().startswith("$ "), block
        assert re.search(r"^(?! *\$)", block, re.MULTILINE), block


@on_each
def test_metrics_named_on_a_page_exist(page):
    """Every metric by its name, every sample with exactly its labels, every class, phase and stage by its value."""
    text = page.read_text()
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known_series()}
    for name in METRIC.findall(text):
        known = name in families or name in known_series() or any(n.startswith(f"{name}_") for n in known_series())
        assert known or f"|{name}" in text, name
    for sample in SAMPLE.finditer(text):
        (selector,) = selectors(f"{sample['name']}{{{sample['labels']}}}")
        assert set(selector.labels) == own_series()[selector.name] - {"job", "instance"}, sample[0]
        assert selector.labels.get("class", "none") in CLASSES
        assert selector.labels.get("phase", PHASES[0]) in PHASES
        assert selector.labels.get("stage", STAGES[0]) in STAGES


@on_each
def test_state_flags_and_log_events_named_on_a_page_exist(page):
    """Keys of /debug/state, flags and log events are the program's own, as its source has them."""
    text, code = page.read_text(), source()
    shown = "\n".join(re.findall(r"/debug/state\n(.*?)(?:```|\$ )", text, re.DOTALL))
    for key in re.findall(r'"(\w+)":', shown):
        assert f'"{key}"' in code or re.search(rf"\b{key}\b", code), key
    flags = {name.replace("_", "-") for name in typing.get_type_hints(Settings)}
    for flag in re.findall(r"`--([a-z-]+)`", text):
        assert flag in flags | {"endpoint"}, flag
    for event in re.findall(r"event `([a-z_.]+)`", text):
        assert f'"{event}"' in code or f'f"{event.split(".")[0]}.' in code, event


def texts() -> list[re.Pattern[str]]:
    """Every text in the program's source, as a pattern: what is put into it may be anything."""
    found = []
    for path in (ROOT / "src" / "resizer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())) if "/pb/" not in str(path) else ():
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            plain = [p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else None for p in parts]
            if sum(len(part) for part in plain if part) > MOST_WORDLESS:
                found.append(re.compile("".join(".*" if part is None else re.escape(part) for part in plain)))
    return found


def test_what_explain_is_quoted_with_is_what_it_says():
    """Answers of `explain` in runbooks and in docs/commands.md are ones that the program can give."""
    known = texts()
    for page in (*PAGES, ROOT / "docs" / "commands.md"):
        for said in re.findall(r"^(?:Next|(?:Blocked|Waiting) \([a-z-]+\)): (.+)$", page.read_text(), re.MULTILINE):
            assert any(text.fullmatch(said) for text in known), (page.name, said)


@on_each
def test_links_lead_somewhere(page):
    """No dead links between pages."""
    for match in LINK.finditer(page.read_text()):
        assert (page.parent / match["target"]).exists(), match[0]
