import pytest

from resizer.cli.check_config import TAKEN_PATHS
from resizer.cli.run import main
from resizer.obs import http
from resizer.settings import SETTINGS, load_settings


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("workers: 7\ntimeout: 1500ms\nleader-election-labels: {team: storage}\n")
    return file


def test_the_effective_settings_are_shown_with_their_origins(file, monkeypatch, capsys):
    """Exit 0, and a line for every setting: value and origin."""
    monkeypatch.setenv("RESIZER_RETRY_INTERVAL_MAX", "30m")
    assert main(["--check-config", f"--config={file}", "-v=5", "--csi-address=/a", "--csi-address=/b"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split("  # ") for line in out.splitlines()]
    shown = {line[0].strip(): line[1] for line in lines}
    assert len(shown) == len(SETTINGS)
    assert shown["workers: 7"] == f"file {file}"
    assert shown["retry-interval-max: 30m"] == "environment RESIZER_RETRY_INTERVAL_MAX"
    assert shown["v: 5"] == shown['csi-address: ["/a", "/b"]'] == "flag"
    assert shown["node-timeout: 5m"] == "default"
    assert err == ""


def test_what_is_shown_is_itself_a_configuration(file, tmp_path, capsys):
    """The output as a file gives the very same settings."""
    flags = ["--feature-gates=A=true,B=false", "--http-endpoint=:8080", "--kube-api-qps=2.5", "--nudge=false"]
    assert main(["--check-config", f"--config={file}", *flags]) == 0
    again = tmp_path / "again.yaml"
    again.write_text(capsys.readouterr().out)
    read = load_settings({}, file=str(again))
    assert (read.workers, read.timeout, read.leader_election_labels) == (7, 1.5, "team=storage")
    assert (read.feature_gates, read.http_endpoint, read.kube_api_qps, read.nudge) == (
        {"A": True, "B": False},
        ":8080",
        2.5,
        False,
    )


def test_every_mistake_is_named_and_the_exit_code_is_2(file, monkeypatch, capsys):
    """Mistakes of the command line, the environment and the file come together; nothing is shown as usable."""
    file.write_text("worker: 7\n")
    monkeypatch.setenv("RESIZER_TIMEOUT", "soon")
    assert main(["--check-config", f"--config={file}", "--bogus", "--workers=x", "--timeot", "5s", "stray"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 6
    assert all(line.startswith("resizer run: ") for line in err.splitlines())
    for part in ("--bogus", "--timeout?", "'stray'", "workers:", "RESIZER_TIMEOUT", "line 1: 'worker'"):
        assert part in err


def test_what_is_odd_is_said_on_standard_error(capsys, monkeypatch):
    """Notes and warnings do not spoil the output, and do not make the configuration unusable."""
    monkeypatch.setenv("RESIZER_WORKER", "3")
    assert main(["--check-config", "--alsologtostderr", "--metrics-address=:8080"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "resizer run: note: alsologtostderr: logs go to standard error, where Kubernetes collects them",
        "resizer run: note: metrics-address: write http-endpoint, which serves the probes too",
        "resizer run: warning: RESIZER_WORKER: this variable is no setting; did you mean RESIZER_WORKERS?",
    ]


def test_help_names_every_flag_and_the_version_is_printed(capsys):
    """--help is made from the settings: none can be missing."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')} " in text for name in SETTINGS)
    assert main(["--version", "--leader-election"]) == 0
    assert capsys.readouterr().out.startswith("resizer ")


def test_what_the_settings_point_to_is_looked_at(tmp_path, capsys):
    """What would end the start is found here already, all of it at once, and nothing is connected to."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "x.yaml").write_text("driver: x\nrules: [{match: '(', class: quota}]\n")
    flags = ["--http-endpoint=8080", "--metrics-path=metrics", "--csi-address=tcp://host:1", f"--driver-rules={rules}"]
    flags += [f"--kubeconfig={tmp_path}/none", f"--tls-cert-file={tmp_path}/c.pem", f"--tls-key-file={tmp_path}/k.pem"]
    assert main(["--check-config", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 6
    for part in ("--http-endpoint '8080'", "--metrics-path", "tcp://host:1", "x.yaml", "kubeconfig", "c.pem"):
        assert part in err


def test_no_path_of_the_endpoint_can_be_that_of_the_metrics(capsys):
    """The list here is the endpoint's own."""
    assert set(TAKEN_PATHS) == set(http._OWN_PATHS)
    assert main(["--check-config", "--http-endpoint=:8080", "--metrics-path=/readyz"]) == 2
    assert "not in use" in capsys.readouterr().err
