"""Run the benchmarks: `python -m bench` for all, `python -m bench NAME [OPTIONS]` for one."""

import importlib
import pkgutil
import sys

import bench


def names() -> list[str]:
    """Every benchmark there is."""
    return sorted(m.name for m in pkgutil.iter_modules(bench.__path__) if not m.name.startswith("_"))


def main(arguments: list[str]) -> int:
    """Run what was asked for; the exit code is the worst of all."""
    chosen, options = (arguments[:1], arguments[1:]) if arguments else (names(), [])
    worst = 0
    for name in chosen:
        if name not in names():
            print(f"bench: no benchmark {name!r}; there are: {', '.join(names())}", file=sys.stderr)
            return 2
        print(f"== {name}", flush=True)
        module = importlib.import_module(f"bench.{name}")
        sys.argv = [f"bench.{name}", *options]
        worst = max(worst, module.main() or 0)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
