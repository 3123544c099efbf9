"""The command line of the benchmarks: what is refused, and how it says so."""

import argparse
import asyncio
import os
import select
import subprocess
import sys

import pytest

from bench import node
from bench.__main__ import main
from bench.contender import LIFTED, ours, peer
from bench.objects import Seed, claim, pod, volume
from bench.process import BenchError, running, until
from bench.rig import _remove_leftovers


def test_an_unknown_benchmark_is_a_usage_error_that_names_those_there_are(capsys):
    """A typing mistake measures nothing."""
    with pytest.raises(SystemExit) as ended:
        main(["thousnad"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "no benchmark 'thousnad'" in said
    assert "thousand" in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["lone", "--peer", "nowhere"], "--peer nowhere: no program there"),
        (["lone", "--source", "nowhere"], "--source nowhere: there is no src/resizer"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(arguments, text, capsys):
    """A wrong path ends with exit code 1 and the next step, before anything is started."""
    assert main(arguments) == 1
    assert text in capsys.readouterr().err


def test_only_the_peer_has_limits_to_lift():
    """Our own process runs with its defaults always; the peer keeps its own where defaults are measured."""
    assert ours().flags(lifted=True) == ()


def test_the_peers_limits_are_lifted_where_asked(tmp_path):
    """The very same program, with and without its limits."""
    program = tmp_path / "other"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert peer(program).flags(lifted=True) == LIFTED
    assert peer(program).flags(lifted=False) == ()


def test_a_program_that_ends_by_itself_is_named_with_its_last_words(tmp_path):
    """A benchmark never waits for a process that has died."""

    async def run():
        command = (sys.executable, "-c", "print('no such thing'); raise SystemExit(3)")
        async with running(*command, log=tmp_path / "log") as program:
            await program.wait()
            program.check()

    with pytest.raises(BenchError, match=r"ended with 3; its last words:\n  no such thing"):
        asyncio.run(run())


def test_what_is_waited_for_in_vain_is_named_with_what_the_programs_said(tmp_path):
    """A pod that does not start within the time: the error has the driver's own words, such as a missing mkfs."""
    log = tmp_path / "log"

    async def said():
        return bool(log.read_bytes())

    async def never():
        return False

    async def run():
        command = (sys.executable, "-c", "import signal; print('no mkfs here', flush=True); signal.pause()")
        async with running(*command, log=log) as program:
            await until(said, "it has said something", program)
            await until(never, "the pod runs", program, within_s=0.01)

    with pytest.raises(BenchError, match=r"in vain until the pod runs\n.*, its last words:\n  no mkfs here"):
        asyncio.run(run())


def test_a_benchmark_that_fails_midway_shows_what_was_measured_until_then(monkeypatch, capsys):
    """Minutes of work are not lost because the last part could not start."""

    def measure(_order, found):
        found.append({"cpu_ms": 1.5})
        raise BenchError("waited 120 s in vain until the pod runs")

    monkeypatch.setattr("bench.__main__.measure", measure)
    assert main(["thousand", "--no-history"]) == 1
    printed = capsys.readouterr()
    assert "1.50 ms" in printed.out
    assert "bench: waited 120 s in vain until the pod runs" in printed.err


def test_a_missing_program_is_named_with_its_package_before_anything_is_started(monkeypatch):
    """A machine without xfsprogs is told so, not let wait for a pod that cannot start."""
    monkeypatch.setattr("bench.node.missing_programs", lambda fs: [fs.mkfs])
    with pytest.raises(BenchError, match=r"mkfs\.\w+ is not installed here: install the Debian package \w+"):
        asyncio.run(node.measure(argparse.Namespace(growths=1, without=False), ours()))


def test_a_killed_benchmark_leaves_no_program_behind(tmp_path):
    """After kill -9 of the benchmark the programs it started get SIGTERM."""
    script = (
        "import asyncio, os, pathlib, signal, sys\n"
        "from bench.process import running\n"
        "async def main():\n"
        "    child = 'import signal; print(1, flush=True); signal.pause()'\n"
        "    log = pathlib.Path(sys.argv[1])\n"
        "    async with running(sys.executable, '-c', child, log=log) as program:\n"
        "        while not log.read_bytes():\n"
        "            await asyncio.sleep(0.01)\n"
        "        print(program.pid, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    # The child keeps this pipe open as long as it lives (its own output goes to the log, its input is inherited).
    with subprocess.Popen(
        (sys.executable, "-c", script, str(tmp_path / "log")), stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        pid = int(bench.stdout.readline())
        bench.wait()
    _wait_gone(pid)


def _wait_gone(pid):
    """Wait until a process has ended: a zombie whose new parent has not looked yet counts as ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], 30)[0], "the program still runs"
    finally:
        os.close(handle)


def test_folders_of_killed_benchmarks_go_and_others_stay(tmp_path):
    """The next benchmark tidies up after one that could not, and touches nobody's folder but those."""
    ended = subprocess.Popen((sys.executable, "-c", ""))
    ended.wait()
    names = {f"bench-{ended.pid}-abc": False, f"bench-{os.getpid()}-abc": True, "bench-curves-1": True, "own": True}
    for name in names:
        (tmp_path / name).mkdir()
    _remove_leftovers(tmp_path)
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_seeded_objects_belong_together():
    """A claim, its volume and its pod name one another, in one namespace, whatever the number of namespaces."""
    seed = Seed(claims=12, pods=6, namespaces=3, watched=4, asking=(0, 11), claims_a_pod=2)
    for number in range(12):
        made = claim(seed, number)
        bound = volume(number, {"metadata": {**made["metadata"], "resourceVersion": "1"}})
        assert made["spec"]["volumeName"] == bound["metadata"]["name"]
        assert bound["spec"]["claimRef"]["uid"] == made["metadata"]["uid"]
        user = pod(seed, number // 2)
        assert user["metadata"]["namespace"] == made["metadata"]["namespace"] == seed.namespace(number)
        assert made["metadata"]["name"] in [v["persistentVolumeClaim"]["claimName"] for v in user["spec"]["volumes"]]
        assert ("bench" in made["metadata"]["labels"]) is (number < 4 or number == 11)
    asked = [claim(seed, number)["spec"]["resources"]["requests"]["storage"] for number in (0, 1, 10, 11)]
    assert asked == ["2Gi", "1Gi", "1Gi", "2Gi"]
