"""Plays every recorded case of the peer through the whole pipeline and prints the table: `python -m tests.parity`."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.parity.harness import play_through
from tests.parity.recorded import read_cases
from tests.parity.report import Report


def main() -> int:
    """Run; the exit code is 1 when a case disagrees, or a difference is listed that no case needs."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("--only", default="", help="only cases whose label contains this text")
    parser.add_argument("--show", type=int, default=20, help="how many disagreements to print")
    options = parser.parse_args()
    cases = [case for case in read_cases() if options.only in case.label]
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        report = Report(asyncio.run(play_through(cases, Path(folder))))
    problems = report.disagreements + report.unneeded()
    lines = [report.table(), f"  took {time.monotonic() - began_s:.1f} s", *problems[: options.show]]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
