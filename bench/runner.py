"""Runs benchmarks, several times each, for us and for the peer, and says how far it is."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from bench.contender import Contender, ours, peer
from bench.how import How
from bench.table import PEER

QUICK: Final = ("filesystem", "defaults", "thousand", "nodestep", "lone", "large")
LONG: Final = ("leak",)
_BESIDE: Final = {"defaults": 1, "thousand": None, "lone": None, "large": 1}
"""Which benchmarks the peer does, too, and in how many runs at most."""


class Order(msgspec.Struct, frozen=True):
    """What to measure."""

    names: Sequence[str] = QUICK
    runs: int = 3
    source: Path | None = None
    peer: Path | None = None
    full: bool = False


def measure(order: Order, found: list[dict[str, float]]) -> list[dict[str, float]]:
    """Run everything; one mapping of figures a run, which are in `found` as soon as they are known."""
    contender, other = ours(order.source), None if order.peer is None else peer(order.peer)
    for number in range(order.runs):
        figures: dict[str, float] = {}
        found.append(figures)
        for name in order.names:
            where = f"run {number + 1} of {order.runs}, {name}"
            figures |= _measure_one(name, contender, full=order.full, where=where)
            most = _BESIDE.get(name, 0)
            if other is not None and (most is None or number < most):
                beside = _measure_one(name, other, full=order.full, where=f"{where}, the peer")
                figures |= {PEER + key: value for key, value in beside.items()}
        if PEER + "rate" in figures:
            figures["ratio"] = figures["rate"] / figures[PEER + "rate"]
            figures["cpu_ratio"] = figures["cpu_ms"] / figures[PEER + "cpu_ms"]
    return found


def _measure_one(name: str, contender: Contender, *, full: bool, where: str) -> dict[str, float]:
    say(where)
    began = time.monotonic()
    how = How(contender, say=lambda text: say(f"{where}: {text}"), full=full)
    figures: dict[str, float] = uvloop.run(importlib.import_module(f"bench.{name}").measure(how))
    shown = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
    say(f"{where}: done in {time.monotonic() - began:.0f} s: {shown}")
    return figures


def say(text: str) -> None:
    """Tell of progress, away from the figures."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
