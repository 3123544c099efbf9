import time

import pytest

from resizer.core.verdict import classify
from resizer.csi.rules import MalformedRulesError, load_rules

GOOD = """
driver: ebs.csi.aws.com
rules:
  - match: VolumeModificationRateExceeded
    codes: [INTERNAL]
    class: rate-limited
    retry_after: 15m
    source: https://docs.example.com/rate
  - match: (?i)(?:quota|limit).*exceeded
    class: quota
"""


def write(folder, text, name="a.yaml"):
    (folder / name).write_text(text)
    return folder


def test_a_rule_changes_what_a_message_means(tmp_path):
    """Loaded rules class a failure of their driver, by code and text, and of no other driver."""
    book = load_rules(write(tmp_path, GOOD))
    rules = book.rules_of("ebs.csi.aws.com")
    limited = classify("INTERNAL", "x VolumeModificationRateExceeded y", rules)
    assert (limited.class_, limited.retry_after_s) == ("rate-limited", 900)
    assert classify("ABORTED", "VolumeModificationRateExceeded", rules).class_ == "transient"
    assert classify("INTERNAL", "Quota is exceeded", rules).class_ == "quota"
    assert book.rules_of("pd.csi.storage.gke.io") == ()
    assert rules[0].source == "https://docs.example.com/rate"


def test_patterns_of_drivers_and_the_order_of_files(tmp_path):
    """A shell pattern serves many drivers; files come in the order of their names."""
    write(tmp_path, 'driver: "*.example.com"\nrules: [{match: late, class: internal}]', "b.yaml")
    write(tmp_path, "driver: a.example.com\nrules: [{match: early, class: quota}]", "a.yaml")
    write(tmp_path, "not: read", "c.txt")
    assert [r.pattern.pattern for r in load_rules(tmp_path).rules_of("a.example.com")] == ["early", "late"]
    assert [r.pattern.pattern for r in load_rules(tmp_path).rules_of("b.example.com")] == ["late"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("driver: [", "no valid YAML"),
        ("", "object"),
        ("rules: []", "driver"),
        ("driver: a\nrules: [{match: x}]", "class"),
        ("driver: a\nrules: [{match: x, class: nonsense}]", "nonsense"),
        ("driver: a\nrules: [{match: x, class: quota, codes: [OOPS]}]", "OOPS"),
        ("driver: a\nrules: [{match: x, class: quota, retry_after: soon}]", "write 15m"),
        ("driver: a\nrules: [{match: x, class: quota, colour: red}]", "colour"),
        ("driver: a\nrules: [{match: '(', class: quota}]", "no regular expression"),
        ("driver: a\nrules: [{match: 'x*', class: quota}]", "matches every message"),
        ("driver: a\nrules: [{match: '', class: quota}]", "match"),
        ("!!python/object:os.system {}", "no valid YAML"),
        ("driver: a\nrules: \x00", "no valid YAML"),
    ],
)
def test_malformed_files_are_refused_with_one_line(tmp_path, text, cause):
    """The line names the file, the place and the cause."""
    write(tmp_path, text)
    with pytest.raises(MalformedRulesError, match=cause) as caught:
        load_rules(tmp_path)
    assert str(tmp_path / "a.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    """A wrong path is no empty rule book."""
    with pytest.raises(MalformedRulesError, match="no such folder"):
        load_rules(tmp_path / "absent")


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b", "(a|a)*b", "(?:a{2,5})*b", "((a?)b)+c", "(?=a)b", "(?P<x>a)b", r"(a)b\1", "a.*b.*c.*d", "(a*){3}b",
        "a?" * 30 + "a" * 30 + "c", "(?:a|b)" * 7, "(?:a|(?:b|ab))" * 4, "x.*y.*" + "a?" * 4, "(a?|b)" * 20 + "c",
    ],
)  # fmt: skip
def test_costly_patterns_are_refused(tmp_path, pattern):
    """What could run for hours on a hostile message is refused when it is loaded."""
    write(tmp_path, f"driver: a\nrules: [{{match: '{pattern}', class: quota}}]")
    with pytest.raises(MalformedRulesError, match="hostile"):
        load_rules(tmp_path)


@pytest.mark.parametrize(
    "pattern",
    [
        "quota", "(?i)rate ?limit", r"[*+?{}|]\(x\)\*", "(?:a|b) c", "x.*y.*z", "[]a(b]c", "(?:ab){3}c",
        "|".join(["quota exceeded", "no space"] * 16), "a(?:1|2|3|4|5|6|7) ?b", "x.*?y.*?z", "a?" * 6 + "a" * 6 + "c",
        "a?a?.*.*c",
    ],
)  # fmt: skip
def test_ordinary_patterns_are_taken_and_quick(tmp_path, pattern):
    """What rules need passes, and takes no hours on the worst text, as what is refused may: seconds on any machine."""
    write(tmp_path, f"driver: a\nrules: [{{match: '{pattern}', class: quota}}]")
    rules = load_rules(tmp_path).rules_of("a")
    started = time.process_time()
    for text in ("x" * 500 + "y" * 500_000, "a" * 2000, "ab" * 1000):
        classify("INTERNAL", text, rules)
    assert time.process_time() - started < 20
