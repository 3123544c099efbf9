import pytest

from resizer.cli.go_flags import parse_go_flags
from resizer.settings import Settings, SettingsError, load_settings


def test_values_arrive_where_they_belong():
    """Booleans need no value, a repeated list flag adds up, durations are seconds."""
    flags = parse_go_flags(["-v=5", "--csi-address", "/a", "-csi-address=/b", "-leader-election", "--timeout=1m30s"])
    settings = load_settings(flags.settings)
    assert settings.csi_address == ["/a", "/b"]
    assert (settings.v, settings.leader_election, settings.timeout) == (5, True, 90.0)


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
