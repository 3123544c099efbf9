"""`tools/ensure_mysql.sh` where nothing can be installed: one line, and the demo goes on."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "tools" / "ensure_mysql.sh"


def ensure(folder, *arguments):
    """Run it as an ordinary user on a machine without apt-get, where no program is found."""
    (folder / "id").write_text("#!/bin/sh\necho 1000\n")
    (folder / "id").chmod(0o755)
    script = SCRIPT.read_text().replace("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin", "")
    return subprocess.run(
        ["/bin/sh", "-c", script, "ensure", *arguments],
        env={**os.environ, "PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_missing_is_said_in_one_line(tmp_path):
    """The packages by name, why they are not installed, and no failure: SQLite takes MariaDB's place."""
    done = ensure(tmp_path, "--json")
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert all(package in line for package in ("mariadb-server", "sysbench", "prometheus", "needs root and apt-get"))


def test_nothing_is_wanted_for_sqlite_but_prometheus(tmp_path):
    """Who asks for SQLite is not told of MariaDB."""
    for arguments in (["--database", "sqlite"], ["--database=sqlite"]):
        assert "mariadb" not in ensure(tmp_path, *arguments).stderr


def test_help_asks_for_nothing(tmp_path):
    """`make demo-mysql ARGS=--help` installs nothing and says nothing."""
    done = ensure(tmp_path, "--help")
    assert (done.returncode, done.stderr) == (0, "")
