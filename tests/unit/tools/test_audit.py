import json
import subprocess

import pytest
from tools import audit


def report(*packages) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


CLEAN = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": []}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3)"}


@pytest.mark.parametrize(
    ("answer", "days", "code", "says"),
    [
        (report(CLEAN), 400.0, 0, "1 packages looked up, no known flaws"),
        (report(CLEAN, FLAWED), 0.0, 1, "b 2: PYSEC-1, mended in 3"),
        (report(SKIPPED, FLAWED), 0.0, 1, "PYSEC-1"),
        (report(SKIPPED), 5.0, 0, "no data for 1 packages"),
        (report(SKIPPED), 91.0, 1, "the lock is 91 days old"),
        (report(CLEAN, SKIPPED), 91.0, 1, "no data for 1 packages (1 looked up)"),
        ("", 5.0, 0, "no data for any packages"),
        ("<html>proxy</html>", 91.0, 1, "renew it"),
        ("", None, 1, "not known without the history"),
    ],
)
def test_nothing_that_was_not_looked_up_is_called_clean(monkeypatch, capsys, tmp_path, *, answer, days, code, says):
    """A flaw fails; only answers for every package pass by themselves; else the lock's age decides, and says so."""
    monkeypatch.setattr(audit, "ask_pip_audit", lambda _: answer)
    monkeypatch.setattr(audit, "age_days", lambda _: days)
    (tmp_path / "lock").write_text("a==1\n")
    assert audit.main([str(tmp_path / "lock")]) == code
    assert says in capsys.readouterr().out


def test_the_age_is_that_of_the_last_change_in_the_history(tmp_path, monkeypatch):
    """A lock's age is counted from its commit, whatever its file's times say; outside a clone it is not known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1\n")
    assert audit.age_days(lock) is None
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "x"],
    ):
        environment = {"GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z", "PATH": "/usr/bin:/bin:/usr/local/bin"}
        subprocess.run(["git", *command], check=True, env=environment)
    assert audit.age_days(lock) > 2000


def test_no_lock_is_one_clear_line(tmp_path, capsys):
    """A wrong folder is a usage error."""
    assert audit.main([str(tmp_path / "none")]) == 2
    assert "run it from the top of the tree" in capsys.readouterr().out
