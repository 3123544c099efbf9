"""The writer finds out when what it wrote is not what it reads."""

import json
import os
import signal
import subprocess
import sys

from resizer.demo import writer


def test_records_are_read_back(tmp_path):
    """Sound records give no error; a damaged one is counted and named."""
    path = tmp_path / "data"
    one = writer.Writer(str(path), interval_s=0)
    for _ in range(5):
        one._append()
    one.check()
    assert (one.appends, one.errors) == (5, 0)
    with path.open("r+b") as file:
        file.seek(2 * writer.RECORD_BYTES + 17)
        file.write(b"x")
    one.check()
    assert one.errors == 1
    assert one.first_error == "record 2 is not what was written"


def test_program_reports_and_ends_on_sigterm(tmp_path):
    """The program writes at once, ignores Ctrl-C of the terminal, and reports a last time when it is stopped."""
    command = [sys.executable, "-I", "-S", writer.__file__, str(tmp_path / "data"), "0.001", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        second = json.loads(process.stdout.readline())
        process.terminate()
        last = json.loads(process.stdout.read().splitlines()[-1])
    assert process.returncode == 0
    assert first["appends"] >= 1
    assert last["appends"] >= second["appends"] > first["appends"]
    assert last["errors"] == 0


def test_program_does_not_outlive_another_parent(tmp_path):
    """Started by a process that has gone already, it ends at once."""
    command = [sys.executable, "-I", "-S", writer.__file__, str(tmp_path / "data"), "0.001", "1"]
    assert subprocess.run(command, check=False, timeout=10).returncode == 1
