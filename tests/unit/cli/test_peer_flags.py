"""Every flag that external-resizer registers (2.2, `csi-resizer -help`) and every flag of klog: what each does here."""

import pytest

from resizer.cli.go_flags import FLAGS, parse_go_flags
from resizer.cli.idle_flags import IDLE_FLAGS
from resizer.cli.notices import find_notices
from resizer.settings import SETTINGS, SWITCH, SettingsError, load_settings

# Each flag of the peer that has a setting here: a value, and what the setting then is.
WITH_EFFECT = {
    "csi-address": ("/csi/csi.sock", ["/csi/csi.sock"]),
    "feature-gates": ("AnnotateFsResize=true", {"AnnotateFsResize": True}),
    "handle-volume-inuse-error": ("false", False),
    "http-endpoint": (":8080", ":8080"),
    "kube-api-burst": ("200", 200),
    "kube-api-qps": ("12.5", 12.5),
    "kubeconfig": ("/etc/kubeconfig", "/etc/kubeconfig"),
    "leader-election": ("true", True),
    "leader-election-labels": ("team:storage,tier:one", "team=storage,tier=one"),
    "leader-election-lease-duration": ("137s", 137),
    "leader-election-namespace": ("kube-system", "kube-system"),
    "leader-election-renew-deadline": ("107s", 107),
    "leader-election-retry-period": ("26s", 26),
    "master": ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
    "metrics-address": (":8081", ":8081"),
    "metrics-path": ("/m", "/m"),
    "resync-period": ("1h", 3600),
    "retry-interval-max": ("30m", 1800),
    "retry-interval-start": ("500ms", 0.5),
    "timeout": ("1m30s", 90),
    "v": ("99", 99),
    "workers": ("500", 500),
}
# Each flag that is taken without effect: a value that Go takes, and one that Go refuses (None: it takes any).
IDLE = {
    "automaxprocs": ("true", "maybe"),
    "extra-modify-metadata": ("false", "maybe"),
    "log-flush-frequency": ("5s", "5"),
    "log-json-info-buffer-size": ("4Mi", "x"),
    "log-json-split-stream": ("true", "maybe"),
    "log-text-info-buffer-size": ("512", "x"),
    "log-text-split-stream": ("false", "maybe"),
    "vmodule": ("controller=5,queue*=4", "x"),
    "add_dir_header": ("true", "maybe"),
    "alsologtostderr": ("true", "maybe"),
    "alsologtostderrthreshold": ("INFO", "LOUD"),
    "legacy_stderr_threshold_behavior": ("false", "maybe"),
    "log_backtrace_at": ("main.go:12", "main.go"),
    "log_dir": ("/var/log", None),
    "log_file": ("/var/log/resizer.log", None),
    "log_file_max_size": ("1800", "big"),
    "logtostderr": ("true", "maybe"),
    "one_output": ("true", "maybe"),
    "skip_headers": ("true", "maybe"),
    "skip_log_headers": ("true", "maybe"),
    "stderrthreshold": ("2", "LOUD"),
}
PEER = {*WITH_EFFECT, *list(IDLE)[:8], "logging-format", "version"}


def test_no_flag_of_the_peer_is_missing_and_none_is_listed_for_nothing():
    """The two tables are the peer's 32 flags and klog's 13 others, and each is a flag of ours."""
    assert len(PEER) == 32
    assert set(IDLE) == set(IDLE_FLAGS)
    assert PEER | set(IDLE) <= set(FLAGS)


@pytest.mark.parametrize("name", WITH_EFFECT)
def test_a_flag_of_the_peer_does_its_job(name):
    """In each of Go's spellings the value arrives in its setting (a switch takes its value with = only)."""
    value, wanted = WITH_EFFECT[name]
    field = name.replace("-", "_")
    is_switch = SETTINGS[field].kind is SWITCH
    for spelling in ("--{}={}", "-{}={}") if is_switch else ("--{}={}", "-{}={}", "--{} {}", "-{} {}"):
        settings = load_settings(parse_go_flags(spelling.format(name, value).split(" ", 1)).settings)
        assert getattr(settings, field) == wanted


@pytest.mark.parametrize("name", IDLE)
def test_a_flag_without_effect_is_said_once_with_the_reason(name):
    """It is accepted, changes nothing, and is named once however often it is given; Go's mistakes are ours too."""
    value, wrong = IDLE[name]
    flags = parse_go_flags([f"--{name}={value}", f"-{name}={value}"])
    settings = load_settings(flags.settings)
    assert settings == load_settings({})
    (notice,) = find_notices(settings, flags.without_effect, {})
    assert (notice.event, notice.subject) == ("flag.without_effect", name)
    assert len(notice.reason) > 10
    if wrong is not None:
        with pytest.raises(SettingsError, match=f"--{name}"):
            parse_go_flags([f"--{name}={wrong}"])


@pytest.mark.parametrize(("value", "wanted"), [("json", "json"), ("text", "console")])
def test_the_logging_format_is_the_log_format(value, wanted):
    """--logging-format does what it does at the peer; --log-format, our own name, goes before it."""
    assert load_settings(parse_go_flags([f"--logging-format={value}"]).settings).log_format == wanted
    both = parse_go_flags(["--log-format=auto", f"--logging-format={value}"])
    assert load_settings(both.settings).log_format == "auto"
    with pytest.raises(SettingsError, match="text or json"):
        parse_go_flags(["--logging-format=xml"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--worker=3"], "did you mean --workers"),
        (["--leader_election"], "did you mean --leader-election"),
        (["--log-dir=/x"], "did you mean --log_dir"),
        (["--csiTimeout=5s"], "did you mean --timeout"),
        (["---v=3"], "is no flag"),
        (["-=x"], "is no flag"),
        (["-v=-1"], "v: -1 is too small: give 0 or more"),
        (["-v", "--version"], "v: '--version' is no whole number"),
        (["--workers="], "workers: '' is no whole number"),
        (["--kube-api-burst=1.5"], "kube-api-burst: '1.5' is no whole number"),
        (["--leader-election-labels=a"], "is no label"),
        (["--leader-election-labels=a:b:c"], "is no label"),
        (["--feature-gates=A"], "is no feature gate"),
        (["--leader-election", "true"], "takes its value with ="),
        (["--", "x"], "is no flag"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_go_refuses_is_refused_with_the_nearest_name(line, says):
    """One clear line each; behind a stray word, where Go ignores the rest in silence, we refuse."""
    with pytest.raises(SettingsError, match=says):
        load_settings(parse_go_flags(line).settings)


def test_repeated_flags_add_up_as_the_peers_do():
    """Gates and labels of several flags are all taken, sockets are served all; of anything else the last counts."""
    line = ["--feature-gates=A=true", "--feature-gates=B=false", "--leader-election-labels=a:b", "--v=1", "-v=3", "--"]
    line += ["--leader-election-labels=c:d", "--csi-address=/a", "--csi-address=/b"]
    line.remove("--")
    settings = load_settings(parse_go_flags([*line, "--"]).settings)
    assert settings.feature_gates == {"A": True, "B": False}
    assert settings.leader_election_labels == "a=b,c=d"
    assert (settings.csi_address, settings.v) == (["/a", "/b"], 3)


@pytest.mark.parametrize(("qps", "wanted"), [("-1", 0), ("0", 0), ("20", 20)])
def test_a_negative_rate_is_no_limit(qps, wanted):
    """client-go takes a negative --kube-api-qps as no limit; so do we."""
    settings = load_settings(parse_go_flags([f"--kube-api-qps={qps}", f"--kube-api-burst={qps}"]).settings)
    assert (settings.kube_api_qps, settings.kube_api_burst) == (wanted, wanted)
