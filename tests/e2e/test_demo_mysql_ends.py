"""However `--workload mysql` ends, nothing of it is left, and the run after it works."""

import json
import os
import shutil
import signal
import time

import pytest

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
MISSING = [name for name in ("mariadbd", "sysbench", "mkfs.xfs") if shutil.which(name, path=_PATH) is None]
pytestmark = [
    pytest.mark.soak,
    pytest.mark.root,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.access("/dev/loop-control", os.R_OK | os.W_OK),
        reason="needs root and loop devices",
    ),
]
SMALL = ("--workload", "mysql", "--size", "1Gi", "--window", "0.5", "--no-compare")
MOMENTS = ("backend loop", "metrics at", "asking for")
"""Before the database, while it is made and started, and under load with a growth under way."""


def test_ctrl_c_at_three_moments_leaves_nothing(demo, until):
    """SIGINT: database, loads and Prometheus are ended in order; no mount, loop device, file or process stays."""
    for moment in MOMENTS:
        process = demo.start(*SMALL, "--report", str(demo.folder / "report"))
        until(process, moment)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "interrupted, and everything taken down again" in err
        assert "Traceback" not in err
        assert demo.leaks() == [], moment


def test_run_after_kill_9_at_three_moments_cleans_up_and_works(demo, until):
    """After each kill the programs die with the demo; each next run removes what was left, and the last measures."""
    for moment in MOMENTS:
        process = demo.start(*SMALL)
        seen = until(process, moment)
        assert ("an earlier run was killed and left" in seen) is (moment != MOMENTS[0])
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 10
        while demo.processes():  # the kernel kills them; there is nothing to wait on but the process table
            assert time.monotonic() < deadline, demo.processes()
    report = demo.folder / "report"
    outcome = demo.run(*SMALL, "--json", "--report", str(report))
    assert outcome.exit_code == 0, outcome.err
    result = json.loads(outcome.out)
    assert "an earlier run was killed and left" in result["remains"][0]
    (run,) = result["runs"]
    assert run["errors"] == 0
    assert run["rows"]["acknowledged"] == run["rows"]["counted"] > 0
    assert [growth["fault"] for growth in run["growths"]] == ["", ""]
    assert result["database"].startswith("MariaDB")
    assert (report / "index.html").stat().st_size > 100_000
    shutil.rmtree(report)
    assert demo.leaks() == []
