"""The benchmarks' command line.

    python -m bench [NAME...] [--runs 3] [--json FILE] [--peer PROGRAM] [--source CHECKOUT]
    python -m bench leak [--full]
    python -m bench compare A B
    python -m bench apiserver|curves|failover|growth|node|simulation [OPTIONS]     with a table of their own

Exit codes: 0 all goals reached, 1 one missed or something failed, 2 usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from bench import compare, history, table
from bench.process import BenchError
from bench.runner import LONG, QUICK, Order, measure, say

APART: Final = ("apiserver", "curves", "failover", "growth", "instructions", "node", "profile", "simulation")
_HERE: Final = Path(__file__).parent.parent


def main(arguments: list[str]) -> int:
    """Run what was asked for."""
    # Whoever ends us politely gets the same clean-up as Ctrl-C; a shell that runs us in the background ignores that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        if arguments[:1] == ["compare"]:
            return compare.main(arguments[1:])
        if arguments and arguments[0] in APART:
            sys.argv = [f"bench.{arguments[0]}", *arguments[1:]]
            return int(importlib.import_module(f"bench.{arguments[0]}").main())
        return _run(_parse(arguments))
    except (BenchError, history.HistoryError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything that was started has ended", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    load = os.getloadavg()[0]
    order = Order(options.names or QUICK, options.runs, source=options.source, peer=options.peer, full=options.full)
    runs: list[dict[str, float]] = []
    try:
        measure(order, runs)
    except (BenchError, KeyboardInterrupt):
        if any(runs):
            print(f"Ended early, in run {len(runs)} of {options.runs}; what was measured until then:")
            print(table.table(table.medians(runs)))
        raise
    figures = table.medians(runs)
    entry = history.entry(figures, source=options.source or _HERE, runs=options.runs, load=load)
    changed = " with changes" if entry.changed else ""
    print(f"{entry.commit[:10]}{changed}, median of {options.runs}; {entry.machine}; load {entry.load} at the start")
    print(table.table(figures))
    if options.json:
        written = table.document(runs, history.about(entry))
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n")
    if not options.no_history:
        history.append(entry)
    missed = table.missed(figures)
    say(f"missed: {', '.join(row.key for row in missed)}" if missed else "every goal reached")
    return int(bool(missed))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure the resizer's own process; goals beside figures.",
        epilog=f"Also: bench compare A B; and, with options of their own, bench {'|'.join(APART)}.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join((*QUICK, *LONG))}; none: all but {', '.join(LONG)}"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts [3]")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    asked = os.environ.get("BENCH_PEER")
    parser.add_argument(
        "--peer",
        type=Path,
        default=Path(asked) if asked else None,
        help="also measure this program, which takes external-resizer's flags [$BENCH_PEER]",
    )
    parser.add_argument("--source", type=Path, help="measure the resizer of this checkout instead of this tree's")
    parser.add_argument("--full", action="store_true", help="leak: 50,000 resizes instead of 10,000")
    parser.add_argument("--no-history", action="store_true", help="leave bench/history.jsonl as it is")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in (*QUICK, *LONG)]:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join((*QUICK, *LONG, *APART))}")
    if options.runs < 1:
        parser.error(f"--runs {options.runs}: at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
