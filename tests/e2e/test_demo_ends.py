"""However the demo ends, nothing of it is left: signals at several moments, kill -9 and the run after it."""

import os
import shutil
import signal
import time

import pytest

IMAGE = ("--backend", "image", "--size", "1Gi", "--grow", "2Gi")
LOOP = ("--backend", "loop", "--size", "1Gi", "--grow", "2Gi", "--keep")

needs_ext4 = pytest.mark.skipif(
    shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin") is None, reason="mkfs.ext4 (e2fsprogs) is not here"
)
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/loop-control", os.R_OK | os.W_OK),
    reason="needs root and loop devices",
)
SOAK = pytest.mark.soak
MOMENTS = (
    "metrics at",
    "asking for",
    pytest.param("backend", marks=SOAK),
    pytest.param("is bound", marks=SOAK),
    pytest.param("everything keeps running", marks=SOAK),
)


@needs_ext4
@pytest.mark.parametrize("moment", MOMENTS)
async def test_ctrl_c_at_any_moment_leaves_nothing(demo, until, stop, moment):
    """SIGINT while starting, provisioning, growing and keeping: taken down in order, in a few seconds."""
    process = demo.start(*IMAGE, "--keep")
    until(process, moment)
    outcome = await stop(process, signal.SIGINT)
    assert "interrupted, and everything taken down again" in outcome.err
    assert "Traceback" not in outcome.err
    assert demo.leaks() == []


@needs_ext4
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_demo_that_is_cut_short_says_by_which_signal(demo, until, stop, number):
    """Without --keep a signal is not the ordinary end: 130 for Ctrl-C, as of the other commands, 143 for SIGTERM."""
    process = demo.start(*IMAGE)
    until(process, "asking for")
    outcome = await stop(process, number)
    assert outcome.exit_code == 128 + number
    assert demo.leaks() == []


@needs_ext4
async def test_sigterm_is_as_clean_as_ctrl_c(demo, until, stop):
    """SIGTERM ends it the same way; with --keep that is the ordinary end, so the exit code is 0."""
    process = demo.start(*IMAGE, "--keep")
    until(process, "everything keeps running")
    outcome = await stop(process, signal.SIGTERM)
    assert outcome.exit_code == 0
    assert demo.leaks() == []


@needs_ext4
async def test_impatient_second_ctrl_c_does_not_break_the_clean_up(demo, until, stop):
    """Ctrl-C pressed again and again while it is being taken down changes nothing."""
    process = demo.start(*IMAGE, "--keep")
    until(process, "is bound")
    for _ in range(5):
        process.send_signal(signal.SIGINT)
    await stop(process, signal.SIGINT)
    assert demo.leaks() == []


@needs_root
@pytest.mark.root
@pytest.mark.parametrize(
    "moment", ["asking for", pytest.param("metrics at", marks=SOAK), pytest.param("is bound", marks=SOAK)]
)
async def test_ctrl_c_leaves_no_mount_and_no_loop_device(demo, until, stop, moment):
    """The same with mounted filesystems and a writer on them."""
    process = demo.start(*LOOP)
    until(process, moment)
    outcome = await stop(process, signal.SIGINT)
    assert "Traceback" not in outcome.err
    assert demo.leaks() == []


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("moment", [pytest.param("everything keeps running", marks=SOAK), "is bound"])
def test_next_run_cleans_what_a_killed_one_left(demo, until, moment):
    """After kill -9 the writer dies with its parent; the next run says what it found, removes it and succeeds."""
    process = demo.start(*LOOP)
    until(process, moment)
    process.kill()
    process.communicate()
    assert demo.leaks() != []
    deadline = time.monotonic() + 5
    while demo.processes():  # the kernel kills the writer; there is nothing to wait on but the process table
        assert time.monotonic() < deadline, demo.processes()
    outcome = demo.run("--backend", "loop", "--size", "1Gi", "--grow", "2Gi")
    assert outcome.exit_code == 0, outcome.err
    assert "an earlier run was killed and left" in outcome.out
    assert demo.leaks() == []


@needs_ext4
def test_run_that_is_alive_is_left_alone(demo, until):
    """A second demo beside a running one takes nothing away from it."""
    first = demo.start(*IMAGE, "--keep")
    until(first, "everything keeps running")
    second = demo.run(*IMAGE)
    assert second.exit_code == 0, second.err
    assert "earlier run" not in second.out
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=30)
    assert "Traceback" not in err
    assert demo.leaks() == []
