"""`python -m bench.curves`: measure one curve or all, keep the figures, draw them.

    python -m bench.curves [--which claims|at-once|drivers|events] [--points 10,100] [--rounds 3]
                           [--json] [--out DIR] [--plot DIR] [--redraw]

The figures of each curve go to DIR/curve-NAME.json (bench/results unless told otherwise), with a description of the
machine, so that pictures can be drawn again without measuring: `--redraw`. A run with `--points` is a try and is not
kept unless `--out` says where.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.process import BenchError

RESULTS = Path(__file__).parent.parent / "results"
NAMES = ("claims", "at-once", "drivers", "events")


def describe_machine() -> dict[str, Any]:
    """Say what was measured on, without names."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    memory_kb = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal"))
    models = [x.partition(":")[2].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "memory_gb": round(memory_kb * 1024 / 1e9),
        "python": platform.python_version(),
        "kernel": ".".join(platform.release().split(".")[:2]),
    }


def result_path(folder: Path, name: str) -> Path:
    """Where a curve's figures are kept."""
    return folder / f"curve-{name}.json"


def measure(name: str, points: Sequence[int], rounds: int) -> dict[str, Any]:
    """Measure one curve; what is returned is what is kept."""
    from bench.curves.decoding import measure_decoding
    from bench.curves.measurement import CURVES

    work, defaults = CURVES[name]
    measured = uvloop.run(work(tuple(points) or defaults, rounds=rounds, say=_say))
    return {
        "curve": name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "rounds": rounds,
        "machine": describe_machine(),
        **({"decoding": measure_decoding()} if name == "claims" else {}),
        "points": measured,
    }


def _say(text: str) -> None:
    print(f"   {text}", file=sys.stderr, flush=True)


def print_table(result: dict[str, Any]) -> None:
    """Print a curve: one line a figure, one column a point."""
    points = result["points"]
    for name in points[0]:
        print(f"{name:32}" + "".join(f"{point[name]:>12.5g}" for point in points))


def kept(name: str, folder: Path) -> dict[str, Any]:
    """Read the figures of an earlier run."""
    path = result_path(folder, name)
    if not path.exists():
        raise BenchError(f"no figures at {path}; measure them first, without --redraw")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def main() -> int:
    """Run as `python -m bench.curves`."""
    options = _parser().parse_args()
    folder = options.out or RESULTS
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # programs and folders go as on Ctrl-C
    for name in [options.which] if options.which else NAMES:
        try:
            result = kept(name, folder) if options.redraw else measure(name, options.points, options.rounds)
        except KeyboardInterrupt:
            return 130
        except BenchError as error:
            print(f"bench.curves: {name}: {error}", file=sys.stderr)
            return 1
        if not options.redraw and (options.out or not options.points):
            folder.mkdir(parents=True, exist_ok=True)
            result_path(folder, name).write_text(json.dumps(result, indent=1) + "\n")
        if options.json:
            print(json.dumps(result))
        else:
            print_table(result)
        if options.plot:
            from bench.curves.drawing import draw

            options.plot.mkdir(parents=True, exist_ok=True)
            draw(result, options.plot / f"curve-{name}.png")
    return 0


def numbers(text: str) -> tuple[int, ...]:
    """Read "10,100" as numbers above 0."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers above 0: write it as 10,100")
    return tuple(int(part) for part in parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.curves", description="How the costs of one resizer process grow.")
    parser.add_argument("--which", choices=NAMES, help="one curve only")
    parser.add_argument("--points", type=numbers, default=(), help="other points than the usual ones, as 10,100")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each point; the medians are kept")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--out", type=Path, help="folder of the figures; bench/results if left out")
    parser.add_argument("--plot", type=Path, help="draw into this folder")
    parser.add_argument("--redraw", action="store_true", help="draw or print what is kept; measure nothing")
    return parser
