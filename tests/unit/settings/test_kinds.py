"""What may be written for a setting of each kind, and what is said about anything else."""

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resizer.settings import SETTINGS, Settings, SettingsError, load_settings

TYPES = {field.name: field.type for field in msgspec.structs.fields(Settings)}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WRITTEN = st.sampled_from(["1.0", "-1", "5m", "yes", "A=true,B", "a:b,c", "/a,/b", "kubelet", "9" * 30])
VALUES = st.recursive(SCALARS | WRITTEN, lambda inner: st.lists(inner) | st.dictionaries(SCALARS, inner), max_leaves=5)


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        *(("nudge", text, True) for text in ("true", "TRUE", "t", "yes", "Y", "oN", "1", 1, 1.0, True)),
        *(("nudge", text, False) for text in ("false", "False", "F", "no", "n", "OFF", "0", 0, 0.0, False)),
        *(("workers", text, 7) for text in ("7", " +7 ", "007", "7.00", 7, 7.0)),
        ("workers", "1_000", 1000),
        *(("kube_api_qps", text, 12.5) for text in ("12.5", " 1.25e1 ", 12.5)),
        *(("kube_api_burst", text, 0) for text in ("-1", "-1.5", -3, -2.5)),
        ("csi_address", ",/a,,/b", ["/a", "/b"]),
        ("csi_address", ["/a,b"], ["/a,b"]),
        ("feature_gates", {"A": "yes", "B": 0}, {"A": True, "B": False}),
        ("feature_gates", " A=t , B=0 ", {"A": True, "B": False}),
        ("leader_election_labels", {"tier": 1}, "tier=1"),
        ("node_mode", "agent", "agent"),
    ],
)
def test_a_value_may_be_written_in_many_ways(name, written, meant):
    """Texts of flags and variables and what YAML makes of a file mean the same, and have the type of the setting."""
    read = getattr(load_settings({name: written}), name)
    assert (read, type(read)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("name", "written", "says"),
    [
        ("nudge", " true", ["nudge: ' true' is neither true nor false: write one of these"]),
        ("nudge", 2, ["nudge: 2 is neither true nor false: write one of these"]),
        ("workers", 0, ["workers: 0 is too small: give 1 to 10000"]),
        ("workers", "10001", ["workers: 10001 is too large: give 1 to 10000"]),
        ("workers", 1.5, ["workers: 1.5 is no whole number: write it as 100"]),
        ("workers", "1e3", ["workers: '1e3' is no whole number: write it as 100"]),
        ("v", "-1", ["v: -1 is too small: give 0 or more"]),
        ("v", None, ["v: nothing is given: write a value, or leave the setting out"]),
        ("kube_api_qps", "fast", ["kube-api-qps: 'fast' is no number: write it as 20 or 12.5"]),
        ("kubeconfig", 5, ["kubeconfig: 5 is no text: put it into quotes"]),
        ("kubeconfig", {"a": 1}, ["kubeconfig: a mapping is no text: give one value"]),
        ("timeout", ["5m"], ["timeout: a list is not a duration: write it as 15s, 5m, 1h30m or 300ms"]),
        ("csi_address", 5, ["csi-address: 5 is no list: write it as a,b or [a, b]"]),
        (
            "csi_address",
            ["/a", 1, None],
            ["csi-address: 1 is no text: put it into quotes", "csi-address: nothing is no text: write a value"],
        ),
        (
            "feature_gates",
            "A,B=true,C=maybe",
            [
                f"feature-gates: '{gate}' is no feature gate: write it as Name=true or Name=false"
                for gate in ("A", "C=maybe")
            ],
        ),
        (
            "feature_gates",
            {"A": "maybe"},
            ["feature-gates: 'A': 'maybe' is neither true nor false: write one of these"],
        ),
        (
            "feature_gates",
            ["A"],
            ["feature-gates: a list is no mapping: write it as Name=true,Other=false or {Name: true}"],
        ),
        (
            "leader_election_labels",
            "a,b:c,:d",
            [
                f"leader-election-labels: '{label}' is no label: write it as key:value, several with commas"
                for label in ("a", ":d")
            ],
        ),
        (
            "leader_election_labels",
            ["a:b"],
            ["leader-election-labels: a list is no label: write it as key:value, several with commas"],
        ),
        (
            "leader_election_labels",
            {"app": "x,y", "tier": None, "on": True},
            [
                f'leader-election-labels: {name!r} is no label: write it as key: "value", without commas'
                for name in ("app", "tier", "on")
            ],
        ),
        ("feature_gates", "=true", ["feature-gates: '=true' is no feature gate: write it as Name=true or Name=false"]),
        ("workers", "9" * 30, ["workers: this number is too long: write a smaller one"]),
        ("kube_api_burst", 1 << 100, ["kube-api-burst: this number is too long: write a smaller one"]),
        ("kube_api_qps", 1 << 100, ["kube-api-qps: this number is too long: write a smaller one"]),
        ("timeout", f"{'9' * 40}s", ["timeout: this duration is too long: write 2562047h or less, as in Go"]),
        ("timeout", "0.1ns", ["timeout must be above 0: a call without a deadline could hang for ever"]),
        ("log_format", "xml", ["log-format: 'xml' is not taken: write auto or json or console"]),
        ("worker", "5", ["'worker' is no setting; did you mean 'workers'?"]),
    ],
)
def test_every_mistake_in_a_value_is_a_line_that_says_what_to_write(name, written, says):
    """All that is wrong with one value is told at once: what it is about, the cause, the next step."""
    with pytest.raises(SettingsError) as caught:
        load_settings({name: written})
    assert list(caught.value.mistakes) == says


def test_combinations_are_judged_only_when_every_value_can_be_used():
    """A default in place of a wrong value would make up contradictions that nobody wrote."""
    with pytest.raises(SettingsError) as caught:
        load_settings({"retry_interval_start": "10m", "retry_interval_max": "an hour"})
    assert [line.split(":")[0] for line in caught.value.mistakes] == ["retry-interval-max"]


@given(name=st.sampled_from(sorted(SETTINGS)), written=VALUES)
def test_whatever_is_written_is_a_value_of_the_settings_type_or_lines(name, written):
    """No value ends the program in another way, and what is read has the type that the setting declares."""
    try:
        read = SETTINGS[name].kind.read(written)
    except ValueError as error:
        assert all(line.strip() for line in str(error).split("\n"))
    else:
        msgspec.convert(read, TYPES[name], strict=True)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_a_default_is_what_its_own_kind_would_read(setting):
    """No default is one that a person could not write, or of another type than the setting."""
    msgspec.convert(setting.default, TYPES[setting.name], strict=True)
    if setting.kind.name != "duration":
        assert setting.kind.read(setting.default) == setting.default


def test_a_value_without_an_end_is_called_by_what_it_is(tmp_path):
    """Aliases in a file can stand for millions of values, or for themselves: none is written out in a message."""
    lines = ["kubeconfig: &a0 [x, x]", *(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join([*lines, "timeout: *a29", "nudge: &self [*self]", "node-mode: *a29", ""]))
    with pytest.raises(SettingsError) as caught:
        load_settings({}, file=str(path))
    assert max(map(len, caught.value.mistakes)) < 300
    assert sum("a list is" in line for line in caught.value.mistakes) == 4


def test_without_a_file_no_yaml_is_imported():
    """A start pays only for what it uses; pydantic comes with typer and is not for a process that serves."""
    look = "import sys, resizer.settings as s; s.load({}); print({'yaml', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
