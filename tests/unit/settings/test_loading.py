import pytest

from resizer.settings import SettingsError, load, load_settings


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "config.yaml"
        file.write_text(text)
        return str(file)

    return write


def test_flags_win_over_environment_over_file(write, monkeypatch):
    """The nearer source wins: flag, then environment, then file, then default; and each is named as the origin."""
    file = write("workers: 7\ntimeout: 30s\nresync-period: 1m\n")
    monkeypatch.setenv("RESIZER_TIMEOUT", "40s")
    monkeypatch.setenv("RESIZER_RESYNC_PERIOD", "2m")
    loaded = load({"resync_period": "3m"}, file=file)
    settings, origins = loaded.settings, loaded.origins
    assert (settings.workers, settings.timeout, settings.resync_period) == (7, 40.0, 180.0)
    assert (origins["workers"], origins["timeout"], origins["resync_period"], origins["nudge"]) == (
        f"file {file}",
        "environment RESIZER_TIMEOUT",
        "flag",
        "default",
    )


def test_the_environment_holds_what_a_flag_would_hold(monkeypatch):
    """Lists, gates, labels and switches are written there as on the command line; an empty variable is none."""
    monkeypatch.setenv("RESIZER_CSI_ADDRESS", "/a,/b")
    monkeypatch.setenv("RESIZER_FEATURE_GATES", "A=true,B=0")
    monkeypatch.setenv("RESIZER_LEADER_ELECTION_LABELS", "a:b,c=d")
    monkeypatch.setenv("RESIZER_LEADER_ELECTION", "true")
    monkeypatch.setenv("RESIZER_WORKERS", "")
    loaded = load({})
    settings = loaded.settings
    assert (settings.csi_address, settings.feature_gates) == (["/a", "/b"], {"A": True, "B": False})
    assert (settings.leader_election_labels, settings.leader_election) == ("a=b,c=d", True)
    assert (settings.workers, loaded.origins["workers"]) == (100, "default")


def test_every_mistake_is_named_with_its_place(write, monkeypatch):
    """Unknown, repeated and unusable settings of all sources come together, one line each, with where they stand."""
    file = write("worker: 7\nretry-interval-max: 1\nnudge: true\nbogus-thing: 1\nnudge: false\n")
    monkeypatch.setenv("RESIZER_TIMEOUT", "soon")
    with pytest.raises(SettingsError) as caught:
        load_settings({"kube_api_qps": "x"}, file=file)
    assert sorted(caught.value.mistakes) == sorted(
        [
            f"{file}, line 1: 'worker' is no setting; did you mean 'workers'?",
            f"{file}, line 4: 'bogus-thing' is no setting; see config/default.yaml",
            f"{file}, line 5: 'nudge' stands in line 3 already",
            f"retry-interval-max (file {file}): '1' is not a duration: write it as 15s, 5m, 1h30m or 300ms",
            "timeout (environment RESIZER_TIMEOUT): 'soon' is not a duration: write it as 15s, 5m, 1h30m or 300ms",
            "kube-api-qps: 'x' is no number: write it as 20 or 12.5",
        ]
    )


def test_all_combinations_that_cannot_work_are_named_at_once():
    """Values that are good alone and bad together are each told."""
    flags = {"http_endpoint": ":1", "metrics_address": ":2", "retry_interval_start": "1h", "timeout": "0"}
    with pytest.raises(SettingsError) as caught:
        load_settings(flags)
    assert len(caught.value.mistakes) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n- b\n", "must be a mapping"),
        ("workers: [1\n", "is no YAML"),
        ("workers: \x07\n", "is no YAML"),
        ("workers: 2026-99-99\n", "is no YAML"),
        ("timeout: 30\n", "write it as 15s"),
        ("workers: many\n", "workers"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(write, text, says):
    """Whatever stands in the file, the answer is a line that says what to change."""
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings({}, file=write(text))
    assert len(caught.value.mistakes) == 1
    assert "\n" not in caught.value.mistakes[0]


def test_a_file_that_is_not_there_is_an_error():
    """A path that was given and cannot be read is not passed over."""
    with pytest.raises(SettingsError, match="No such file"):
        load_settings({}, file="/nonexistent/config.yaml")


def test_an_empty_file_and_both_spellings_are_fine(write):
    """Nothing in the file changes nothing; underscores are as good as dashes; labels and gates may be mappings."""
    assert load_settings({}, file=write("# nothing\n")) == load_settings({})
    text = "retry_interval_max: 10m\nleader-election-labels: {team: storage}\nfeature-gates: {A: true}\n"
    settings = load_settings({}, file=write(text))
    assert (settings.retry_interval_max, settings.leader_election_labels) == (600.0, "team=storage")
    assert settings.feature_gates == {"A": True}
