"""What loads say is taken word for word, and a load that dies is no silence."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resizer.demo.workload import launch, sqlite_load
from resizer.demo.workload.engine import Fill
from resizer.demo.workload.load import Load, Log
from resizer.demo.workload.program import end_program, run_program, start_program
from resizer.demo.workload.sqlite import SQLite


def test_rows_are_acknowledged_line_by_line():
    """Each `i` line adds its rows; sysbench's own words add nothing."""
    log = Log()
    for line in ("sysbench 1.0.20", "i 1.0 0.2 64", "i 1.5 0.1 64", "initializing threads...", "e", "q x y", ""):
        log.take(line)
    assert (log.acknowledged_rows, log.errors, len(log.ended_s)) == (128, 0, 2)


def test_refusal_keeps_moment_and_words():
    """`x` is the end of the filling; `e` is an error and no end."""
    log = Log()
    log.take("e 2.5 Deadlock found")
    log.take("x 3.25 The table 'filling' is full")
    assert log.errors == 2
    assert (log.refused_at_s, log.refusal) == (3.25, "The table 'filling' is full")
    assert log.error_texts == ["Deadlock found", "The table 'filling' is full"]


async def test_load_that_dies_is_an_error_with_its_last_words(tmp_path):
    """Nobody asked it to end, so that it did is counted, with what it wrote to standard error."""
    command = [sys.executable, "-c", "import sys; sys.exit('no such table')"]
    load = await Load.start(command, name="query", stop_file=tmp_path / "stop", folder=tmp_path)
    await load.stopped.wait()
    assert load.log.errors == 1
    assert "ended by itself with 1: no such table" in load.log.error_texts[0]


async def until(condition):
    """Wait for what a process in the background brings about."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- another process' lines, which set no event
            await asyncio.sleep(0.01)


async def test_sqlite_counts_what_its_inserter_acknowledged(tmp_path):
    """Both loads run as processes on one folder, end when asked, and lose nothing."""
    engine = SQLite()
    await engine.start(tmp_path)
    await engine.prepare()
    stops = {name: tmp_path / f"stop-{name}" for name in ("query", "fill")}
    fill_command = engine.fill_command(stops["fill"], Fill(mib_per_s=0, max_mib=2))
    fill = await Load.start(fill_command, name="fill", stop_file=stops["fill"], folder=tmp_path)
    query = await Load.start(
        engine.query_command(stops["query"]), name="query", stop_file=stops["query"], folder=tmp_path
    )
    await until(lambda: fill.log.acknowledged_rows >= 512 and len(query.log.ended_s) > 10)
    await fill.stop()
    await query.stop()
    check = await engine.check()
    assert check.rows == fill.log.acknowledged_rows == 512  # 2 MiB and no more
    assert (check.wrong_rows, check.is_sound) == (0, True)
    assert query.log.errors == fill.log.errors == 0


async def test_a_row_that_is_not_what_was_inserted_is_found(tmp_path):
    """The check reads every body, so it can fail."""
    engine = SQLite()
    await engine.start(tmp_path)
    await engine.prepare()
    connection = sqlite_load.connect(tmp_path / "sqlite" / "fill.db")
    connection.execute("INSERT INTO filling VALUES (1, ?), (2, ?)", (sqlite_load.body(1), sqlite_load.body(1)))
    connection.close()
    check = await engine.check()
    assert (check.rows, check.wrong_rows) == (2, 1)


async def test_program_that_ignores_sigterm_is_ended_all_the_same(tmp_path):
    """Asked first, insisted then; the caller is told."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    process = await start_program([sys.executable, "-c", code], folder=tmp_path, out=subprocess.PIPE, err=2)
    assert process.stdout is not None
    await process.stdout.readline()
    assert not await end_program(process, grace_s=0.1)
    assert process.returncode == -signal.SIGKILL


async def test_failure_of_a_program_names_it_and_its_words(tmp_path):
    """One line: the program, its exit code, what it said last."""
    with pytest.raises(Exception, match=r"python\S* ended with 3: out of luck"):
        await run_program(
            [sys.executable, "-c", "import sys; sys.stderr.write('out of luck'); sys.exit(3)"],
            folder=tmp_path,
            timeout_s=20,
        )


def test_program_dies_with_the_demo():
    """The kernel kills what was launched when its parent is killed, without anybody's help."""
    parent = (
        "import os, subprocess, sys, time\n"
        f"command = [sys.executable, '-I', '-S', {launch.__file__!r}, str(os.getpid()), '-', 'sleep', '60']\n"
        "child = subprocess.Popen(command)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    deadline = time.monotonic() + 20
    while b"sleep" not in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
        assert time.monotonic() < deadline
    assert os.getsid(child) == child
    process.kill()
    process.communicate()
    while is_running(child):
        assert time.monotonic() < deadline


def is_running(process_id):
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_launched_by_nobody_it_does_not_start():
    """A parent that has gone before the wish was spoken ends it at once."""
    command = [sys.executable, "-I", "-S", launch.__file__, "1", "-", "true"]
    assert subprocess.run(command, check=False, start_new_session=False).returncode == 1


async def test_paced_queries_keep_their_pace(tmp_path):
    """Asked for 50 transactions a second there are no more, on the slowest machine and the fastest."""
    engine = SQLite(pace=50)
    await engine.start(tmp_path)
    await engine.prepare()
    stop = tmp_path / "stop"
    load = await Load.start(engine.query_command(stop), name="query", stop_file=stop, folder=tmp_path)
    await until(lambda: len(load.log.ended_s) >= 20)
    await load.stop()
    times = load.log.ended_s
    assert (len(times) - 1) / (times[-1] - times[0]) < 60
