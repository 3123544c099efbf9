# ruff: noqa: INP001 -- a program, no package
"""Look up known flaws of every locked dependency; where the data cannot be had, hold the lock's age instead.

`make audit`. pip-audit is asked for each package of requirements.lock. Behind a package mirror it finds no data for
anything and still ends with "no known vulnerabilities", so its answers are counted: what it could not look up is not
called clean. Without data for all of them the lock's age decides: one that was not renewed for 90 days has not
received the fixes of that time either.

Exit codes: 0 clean, or young where nothing could be looked up; 1 a flaw is known, or the lock is too old; 2 no lock.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

LOCK: Final = Path("requirements.lock")
MAX_AGE_DAYS: Final = 90
DEADLINE_S: Final = 180
_DAY_S: Final = 86_400


def main(arguments: Sequence[str]) -> int:
    """Audit the lock named first, else requirements.lock; print what was found."""
    lock = Path(arguments[0]) if arguments else LOCK
    if not lock.is_file():
        say(f"audit: {lock} is not there: run it from the top of the tree")
        return 2
    flaws, unknown, known = read_report(ask_pip_audit(lock))
    for flaw in flaws:
        say(f"audit: {flaw}")
    if flaws:
        say(f"audit: {len(flaws)} known flaws: renew the lock (make lock), or say in docs/adr why one does not matter")
        return 1
    if known and not unknown:
        say(f"audit: {known} packages looked up, no known flaws")
        return 0
    say(f"audit: no data for {len(unknown) or 'any'} packages ({known} looked up): the lock's age decides")
    return judge_age(age_days(lock))


def ask_pip_audit(lock: Path) -> str:
    """Return pip-audit's JSON, empty when it could not say anything."""
    program = Path(sys.executable).with_name("pip-audit")
    asked = ("-r", str(lock), "--disable-pip", "--require-hashes", "--progress-spinner", "off", "-f", "json")
    try:
        done = subprocess.run([program, *asked], capture_output=True, text=True, timeout=DEADLINE_S, check=False)  # noqa: S603 -- our own tool
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"audit: pip-audit gave no answer: {type(error).__name__}")
        return ""
    return done.stdout


def read_report(text: str) -> tuple[list[str], list[str], int]:
    """Return known flaws, packages without data, and how many were looked up, from pip-audit's JSON."""
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [], [], 0
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    flaws = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in packages
        for flaw in one.get("vulns", ())
    ]
    return flaws, unknown, len(packages) - len(unknown)


def age_days(lock: Path) -> float | None:
    """Days since the lock was last renewed, by the history; None without one."""
    git = ("git", "log", "-1", "--format=%ct", "--", str(lock))
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(git, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    except OSError:
        return None
    return (time.time() - int(done.stdout)) / _DAY_S if done.stdout.strip() else None


def judge_age(days: float | None) -> int:
    """Say what the age means; return the exit code."""
    if days is None:
        say("audit: the lock's age is not known without the history: run it in a clone")
        return 1
    if days > MAX_AGE_DAYS:
        say(f"audit: the lock is {days:.0f} days old, more than {MAX_AGE_DAYS}: renew it (make lock)")
        return 1
    say(f"audit: the lock is {days:.0f} days old, at most {MAX_AGE_DAYS}: young enough; look it up where data is")
    return 0


def say(text: str) -> None:
    """Print a line."""
    print(text)  # noqa: T201 -- a program


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
