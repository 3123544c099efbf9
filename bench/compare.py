"""Two commits side by side: `python -m bench compare A B`, figures from the history, measured where it has none.

A commit without figures of this machine is checked out into a temporary folder (`git worktree`), and its resizer is
measured by the benchmarks of this tree: cluster, driver and method are the same for both.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import history, runner, table
from bench.runner import Order, say

_HERE = Path(__file__).parent.parent


def main(arguments: list[str]) -> int:
    """Compare two commits; the exit code tells only whether that could be done."""
    parser = argparse.ArgumentParser(prog="bench compare", description="two commits' figures with their ratios")
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", help="another one")
    parser.add_argument("--fresh", action="store_true", help="measure both, whatever the history has")
    parser.add_argument("--runs", type=int, default=3, help="runs of each benchmark where something is measured [3]")
    parser.add_argument("--only", nargs="+", choices=(*runner.QUICK, *runner.LONG), default=runner.QUICK)
    options = parser.parse_args(arguments)
    commits = [history.commit_of(name, folder=_HERE) for name in (options.before, options.after)]
    figures = [_figures(commit, options) for commit in commits]
    print(table.comparison(figures[0], figures[1], names=(commits[0][:10], commits[1][:10])))
    return 0


def _figures(commit: str, options: argparse.Namespace) -> dict[str, float]:
    known = history.figures_of(history.read(), commit=commit, machine=history.machine())
    names = options.only if options.fresh else missing(known, options.only)
    if names:
        say(f"measuring {commit[:10]}: {', '.join(names)}")
        load = os.getloadavg()[0]
        with checkout(commit) as folder:
            measured = table.medians(runner.measure(Order(names=names, runs=options.runs, source=folder), []))
            history.append(history.entry(measured, source=folder, runs=options.runs, load=load))
        known |= measured
    return {row.key: known[row.key] for row in table.rows_of(known) if row.benchmark in options.only}


def missing(known: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """Return the benchmarks of which there is no figure."""
    there = {row.benchmark for row in table.rows_of(known)}
    return [name for name in names if name not in there]


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Have a commit in a folder of its own for the block."""
    with tempfile.TemporaryDirectory(prefix="bench-commit-") as parent:
        folder = Path(parent) / "tree"
        history.git("worktree", "add", "--detach", "--force", str(folder), commit, folder=_HERE)
        try:
            yield folder
        finally:
            history.git("worktree", "remove", "--force", str(folder), folder=_HERE)
