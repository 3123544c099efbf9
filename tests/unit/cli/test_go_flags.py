import pytest

from resizer.cli.go_flags import NO_EFFECT, parse_go_flags
from resizer.settings import Settings, SettingsError, load_settings, parse_duration

# Flag lines as manifests of CSI drivers write them, in every spelling that Go's flag package takes.
MANIFESTS = [
    ["-v=5", "--csi-address=$(ADDRESS)", "-timeout=15s", "--leader-election=true"],
    ["--v", "2", "-csi-address", "/csi/csi.sock", "--handle-volume-inuse-error=false"],
    ["-leader-election", "-leader-election-namespace=kube-system", "--timeout=240s", "-retry-interval-max=30m"],
    ["--http-endpoint=:8084", "--metrics-path=/m", "--kube-api-qps=100", "--kube-api-burst=200", "--workers=500"],
    ["--feature-gates=RecoverVolumeExpansionFailure=true,VolumeAttributesClass=false", "--automaxprocs=true"],
    ["--leader-election-lease-duration=137s", "--leader-election-renew-deadline=107s", "--extra-modify-metadata"],
]


@pytest.mark.parametrize("line", MANIFESTS, ids=lambda line: line[0])
def test_flag_lines_of_manifests_are_taken_as_they_stand(line):
    """A driver's manifest starts with our image as it is: no flag of the peer's is an error."""
    flags = parse_go_flags(line)
    assert load_settings(flags.settings).workers >= 100


def test_values_arrive_where_they_belong():
    """Booleans need no value, a repeated list flag adds up, durations are seconds."""
    flags = parse_go_flags(["-v=5", "--csi-address", "/a", "-csi-address=/b", "-leader-election", "--timeout=1m30s"])
    settings = load_settings(flags.settings)
    assert settings.csi_address == ["/a", "/b"]
    assert (settings.v, settings.leader_election, settings.timeout) == (5, True, 90.0)


def test_flags_without_effect_are_named():
    """What has no effect here is taken, and can be said once with its reason."""
    flags = parse_go_flags(["--automaxprocs", "-logtostderr=true", "--vmodule", "x=3"])
    assert set(flags.without_effect) == {"automaxprocs", "logtostderr", "vmodule"}
    assert all(NO_EFFECT[name] for name in flags.without_effect)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--worker=3"], "did you mean --workers"),
        (["--bogus"], "--bogus is no flag"),
        (["--timeout"], "needs a value"),
        (["--timeout=5"], "is not a duration"),
        (["--leader-election=maybe"], "write true or false"),
        (["serve"], "takes flags only"),
        (["--feature-gates=VolumeAttributesClass=true"], "does not do"),
        (["--http-endpoint=:1", "--metrics-address=:2"], "give one of them"),
        (["--csi-address=/a", "--csi-address=/a"], "same socket twice"),
        (["--retry-interval-start=10m"], "must not be below"),
        (["--leader-election", "--leader-election-renew-deadline=20s"], "does not hold"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_told_in_one_line(line, says):
    """Whatever is wrong with the flags is one line that names the flag and what to do."""
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings(parse_go_flags(line).settings)
    assert "\n" not in str(caught.value)


def test_flags_win_over_environment_over_file(tmp_path, monkeypatch):
    """The nearer source wins: flag, then environment, then file, then default."""
    file = tmp_path / "config.yaml"
    file.write_text("workers: 7\ntimeout: 30s\nresync-period: 1m\n")
    monkeypatch.setenv("RESIZER_TIMEOUT", "40s")
    monkeypatch.setenv("RESIZER_RESYNC_PERIOD", "2m")
    settings = load_settings({"resync_period": "3m"}, file=str(file))
    assert (settings.workers, settings.timeout, settings.resync_period) == (7, 40.0, 180.0)


def test_an_unknown_key_in_the_file_is_told_with_the_nearest(tmp_path):
    """A mistyped setting in the file is an error, not silence."""
    file = tmp_path / "config.yaml"
    file.write_text("worker: 7\n")
    with pytest.raises(SettingsError, match="did you mean 'workers'"):
        load_settings({}, file=str(file))


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("1h30m", 5400.0), ("1.5s", 1.5), ("0", 0.0), ("2m", 120.0)]
)
def test_durations_are_read_as_go_writes_them(text, seconds):
    """Go's durations, in seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


def test_defaults_are_the_peers_but_for_those_we_chose():
    """The peer's defaults hold, except for the four that the design names."""
    settings = Settings()
    assert settings.csi_address == ["/run/csi/socket"]
    assert not settings.leader_election
    assert not settings.http_address
    assert (settings.retry_interval_start, settings.retry_interval_max, settings.resync_period) == (1.0, 300.0, 600.0)
    assert (settings.workers, settings.timeout, settings.kube_api_qps) == (100, 120.0, 0)
    assert (
        settings.leader_election_lease_duration,
        settings.leader_election_renew_deadline,
        settings.leader_election_retry_period,
    ) == (8.0, 5.0, 1.0)
