"""`resizer demo` as a person runs it, with backend image: works for anybody, root or not."""

import json
import shutil
import socket
import subprocess

import pytest

GIB = 1024**3

pytestmark = pytest.mark.skipif(
    shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin") is None, reason="mkfs.ext4 (e2fsprogs) is not here"
)
IMAGE = ("--backend", "image", "--size", "1Gi")


def test_image_is_grown_and_measured_by_its_superblock(demo):
    """Exit 0, one JSON object alone on standard output, and the superblock has exactly the sizes asked for."""
    outcome = demo.run(*IMAGE, "--grow", "2Gi", "--grow", "3Gi", "--json")
    assert outcome.exit_code == 0, outcome.err
    result = json.loads(outcome.out)
    assert (result["ok"], result["backend"], result["filesystem"]) == (True, "image", "ext4")
    figures = [
        (g["asked_bytes"], g["granted_bytes"], g["filesystem_before_bytes"], g["filesystem_after_bytes"])
        for g in result["growths"]
    ]
    assert figures == [(2 * GIB, 2 * GIB, GIB, 2 * GIB), (3 * GIB, 3 * GIB, 2 * GIB, 3 * GIB)]
    assert result["writer"] is None
    for growth in result["growths"]:
        assert {"recorded", "driver grown", "node pending", "nudged", "node growing", "done"} <= set(growth["stages_s"])
        assert growth["seconds"] < 15
    assert demo.leaks() == []


def test_person_sees_stages_and_a_table(demo):
    """Every stage has its line, the table its figures, and it is said which backend was taken and why."""
    outcome = demo.run(*IMAGE, "--grow", "2Gi")
    assert outcome.exit_code == 0, outcome.err
    for text in ("backend image, filesystem ext4: asked for", "driver grown", "done", "after, by superblock", "2 GiB"):
        assert text in outcome.out
    assert "nothing is mounted" in outcome.out
    assert outcome.err == ""


def test_many_claims_grow_at_the_same_time(demo):
    """All are grown, and the pipeline's own gauge shows that several were in hand at one moment."""
    outcome = demo.run(*IMAGE, "--grow", "2Gi", "--claims", "12", "--json")
    assert outcome.exit_code == 0, outcome.err
    result = json.loads(outcome.out)
    assert len(result["growths"]) == 12
    assert result["inflight_most"]["controller-resize"] > 1
    assert any(line.startswith("resizer_stage_duration_seconds_count") for line in result["metrics"])
    assert any(line.startswith("csi_sidecar_operations_seconds_count") for line in result["metrics"])


def test_shrinking_is_refused_in_the_api_servers_words(demo):
    """An edit below the claim's size is refused by the server; the demo shows its words and exits 1."""
    outcome = demo.run(*IMAGE, "--grow", "512Mi")
    assert outcome.exit_code == 1
    assert "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert demo.leaks() == []


def test_asking_for_what_is_there_is_done_at_once(demo):
    """An edit that changes nothing is no failure and no wait."""
    outcome = demo.run(*IMAGE, "--grow", "1Gi", "--json")
    assert outcome.exit_code == 0, outcome.err
    assert json.loads(outcome.out)["growths"][0]["seconds"] < 1


def test_wrong_usage_is_one_line_and_exit_code_2(demo):
    """What makes no sense is refused before anything is started (all cases: tests/unit/demo/test_options.py)."""
    outcome = demo.run("--fs", "zfs")
    assert outcome.exit_code == 2
    assert "no such filesystem here; use one of xfs, btrfs, ext4" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert demo.leaks() == []


def test_port_in_use_is_one_line_and_exit_code_1(demo):
    """A port that somebody listens on is named, with the flag to change it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = demo.run(*IMAGE, "--http-port", str(port))
    assert outcome.exit_code == 1
    assert f"port {port} on 127.0.0.1 cannot be used: Address already in use" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert demo.leaks() == []


def test_missing_mkfs_names_the_debian_package(demo, tmp_path, monkeypatch):
    """Without any mkfs the demo says which package has it."""
    monkeypatch.setattr(type(demo), "environment", {"PATH": str(tmp_path), "TMPDIR": str(demo.folder), "HOME": "/"})
    hide = "import resizer.driver.command as c; c._SBIN = (); from resizer.cli.demo import demo; demo"
    code = f"{hide}(backend='image', size='1Gi', grow=['2Gi'])"
    outcome = subprocess.run(
        [*demo.command()[:1], "-c", code], env=demo.environment, capture_output=True, text=True, check=False
    )
    assert "install the Debian package e2fsprogs" in outcome.stderr
    assert demo.leaks() == []


def test_errors_are_json_too_when_asked_for(demo):
    """With --json a failure is one object on standard output as well, beside the line for a person."""
    outcome = demo.run(*IMAGE, "--grow", "512Mi", "--json")
    result = json.loads(outcome.out)
    assert outcome.exit_code == 1
    assert result["ok"] is False
    assert "Forbidden" in result["error"]
