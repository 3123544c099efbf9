"""Ctrl-C while a command is still being imported: it ends as it would later, and says nothing."""

import subprocess
import sys

import pytest

INTERRUPT = """
import os, signal, sys
_, command, imported = sys.argv
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == imported:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from resizer.cli.main import main
sys.argv = ["resizer", command]
main()
"""


@pytest.mark.parametrize(
    ("command", "imported"), [("run", "resizer.settings"), ("status", "typer"), ("demo", "resizer.cli.demo")]
)
def test_ctrl_c_during_the_imports_ends_quietly(command, imported):
    """Whatever is being imported when the signal comes: exit code 130, and no traceback."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, command, imported], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
