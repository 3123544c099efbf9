"""What more claims, more shards and a stronger API server would give: a model fed with what `bench.curves` measured.

Two parts. Memory, cold start and the CPU of events are straight lines through measured points; each line is checked
by leaving a point out and predicting it from the others. The rate of many claims at once is simulated event by event
(`curves.queueing`): every claim's steps queue for an event loop, for a place among the requests in flight, for the API
server and for the driver, and each write comes back as an event to every shard. The same simulation of one process on
two shared cores is checked against the measured curve.

    python -m bench.simulation [--shards 1,2,4,8] [--claims 20000,100000,1000000] [--speed 2.6] [--json] [--results DIR]

What a request costs a real API server was measured on another machine than the curves. `--speed` says how many times
quicker that one is: all other CPU of a plan is divided by it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench.curves.command import RESULTS, kept, numbers, result_path
from bench.curves.measurement import net_part
from bench.curves.queueing import Give, Job, Simulation, Station, Take, Use
from bench.process import BenchError

WRITES = 3
"""Patches of a growth without a node step; each is one event for every watch."""
EVENT_POSTS = 2
"""Events posted for a growth, one after the other by one sender."""
IN_FLIGHT = 20
"""Requests in flight with which the limiter starts."""
WORKERS = 100
"""Claims in work at once, for each process."""
FAR = "claims-far"
"""Name of the figures of a cold start among more claims than the curve has, measured once."""
KUBE_REQUEST_MS = 1.4
"""CPU of a real kube-apiserver and its etcd for one request, at most: a prototype that took 1.56 ms a growth in its own
process made 201 growths/s on two cores that it shared with them, six requests each with the edit."""

Point = dict[str, float]


@dataclass(frozen=True)
class Line:
    """y = base + slope * x."""

    base: float
    slope: float

    def at(self, x: float) -> float:
        """The value at x."""
        return self.base + self.slope * x

    def divided(self, by: float) -> Line:
        """The same with values so many times smaller."""
        return Line(self.base / by, self.slope / by)

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> Line:
        """Fit so that the squares of the *relative* errors are least: a small point counts as much as a large one."""
        rows = [(1 / y**2, x, y) for x, y in points]
        w = sum(r[0] for r in rows)
        mean_x, mean_y = sum(r[0] * r[1] for r in rows) / w, sum(r[0] * r[2] for r in rows) / w
        spread = sum(r[0] * (r[1] - mean_x) ** 2 for r in rows)
        slope = sum(r[0] * (r[1] - mean_x) * (r[2] - mean_y) for r in rows) / spread
        return cls(mean_y - slope * mean_x, slope)


@dataclass(frozen=True)
class Costs:
    """Everything that the model is told. Lines are over claims cached (with as many volumes), CPU is in seconds."""

    memory_mb: Line
    start_cpu_s: Line
    start_api_cpu_s: Line
    resize_cpu_s: float
    driver_cpu_s: float
    request_cpu_s: float
    event_cpu_s: float
    wake_cpu_s: float
    spared_s: float
    """What an object of another shard spares: its decoding beyond the uid that decides, and the cache."""

    def on_quicker(self, speed: float) -> Costs:
        """The same on a machine so many times quicker."""
        return Costs(
            memory_mb=self.memory_mb,
            start_cpu_s=self.start_cpu_s.divided(speed),
            start_api_cpu_s=self.start_api_cpu_s.divided(speed),
            resize_cpu_s=self.resize_cpu_s / speed,
            driver_cpu_s=self.driver_cpu_s / speed,
            request_cpu_s=self.request_cpu_s / speed,
            event_cpu_s=self.event_cpu_s / speed,
            wake_cpu_s=self.wake_cpu_s / speed,
            spared_s=self.spared_s / speed,
        )


@dataclass(frozen=True)
class Setup:
    """A burst: so many claims over so many shards, and what they run on. `cores` 0: every program has its own."""

    shards: int
    claims: int
    api_places: int
    request_s: float
    cores: int = 0


@dataclass(frozen=True)
class Burst:
    """What came of it."""

    seconds: float
    rate: float
    loop_busy: float
    api_busy: float


def load_costs(folder: Path) -> Costs:
    """Read the measured curves."""
    claims, at_once, events = (kept(name, folder)["points"] for name in ("claims", "at-once", "events"))
    many = [p for p in at_once if p["at_once"] >= 100]  # below, a burst is too short for the clock of CPU time
    event_s, wake_s = _event_costs(events)
    decoding = kept("claims", folder)["decoding"]
    whole_us, early_us = (decoding["claim" + k] + decoding["volume" + k] for k in ("_us", "_uid_us"))
    return Costs(
        memory_mb=Line.through([(p["claims"], p["rss_mb"]) for p in claims]),
        start_cpu_s=Line.through([(p["claims"], p["start_cpu_s"]) for p in claims]),
        start_api_cpu_s=Line.through([(p["claims"], p["start_api_server_cpu_s"]) for p in claims]),
        resize_cpu_s=median(p["resizer_cpu_ms_per_resize"] for p in many) / 1e3,
        driver_cpu_s=median(p["driver_cpu_ms_per_resize"] for p in many) / 1e3,
        request_cpu_s=median(p["api_server_cpu_ms_per_resize"] / p["requests_per_resize"] for p in many) / 1e3,
        event_cpu_s=event_s,
        wake_cpu_s=wake_s,
        spared_s=(whole_us - early_us) / 2 / 1e6,
    )


def _event_costs(points: Sequence[Point]) -> tuple[float, float]:
    """Return seconds of CPU for one more event in a batch, and for one that comes alone and wakes the process."""
    idle = points[0]["resizer_cpu_percent"]
    extra = [(p["events_per_s"], (p["resizer_cpu_percent"] - idle) / 100) for p in points[1:]]
    (low, low_cpu), (high, high_cpu), (highest, highest_cpu) = extra[0], extra[-2], extra[-1]
    return (highest_cpu - high_cpu) / (highest - high), low_cpu / low


class Shard:
    """One process: its event loop, its workers, its requests in flight and its sender of events."""

    def __init__(self) -> None:
        self.loop = Station()
        self.workers = Station(WORKERS)
        self.window = Station(IN_FLIGHT)
        self.sender = Station()


class BurstModel:
    """The jobs of one burst, and when the last claim was grown."""

    def __init__(self, costs: Costs, setup: Setup) -> None:
        self.simulation = Simulation()
        self.shards = [Shard() for _ in range(setup.shards)]
        self.api = Station(setup.api_places)
        self.ended_s = 0.0
        self._driver = Station()
        self._cores = Station(setup.cores or 1_000_000)
        self._costs = costs
        self._request_s = setup.request_s
        self._half_s = costs.resize_cpu_s / (WRITES + EVENT_POSTS + 1) / 2
        self._read_s = max(costs.event_cpu_s - costs.spared_s, 0.0)

    def grow(self, shard: Shard) -> Job:
        """A claim: write the intent, call the driver, write the volume and the result."""
        yield Take(shard.workers)
        yield from self._write(shard)
        yield self._think(shard)
        yield Use((self._driver, self._cores), self._costs.driver_cpu_s)
        yield self._think(shard)
        for _ in range(WRITES - 1):
            yield from self._write(shard)
        yield Give(shard.workers)
        self.ended_s = self.simulation.now_s
        for _ in range(EVENT_POSTS):
            self.simulation.start(self._post(shard))

    def _write(self, shard: Shard) -> Job:
        yield Take(shard.window)
        yield from self._request(shard)
        yield Give(shard.window)
        for other in self.shards:
            if other is not shard:
                self.simulation.start(self._listen(other))

    def _post(self, shard: Shard) -> Job:
        yield Take(shard.sender)
        yield Take(shard.window, patient=True)  # the limiter lets events go last
        yield from self._request(shard)
        yield Give(shard.window)
        yield Give(shard.sender)

    def _request(self, shard: Shard) -> Job:
        yield self._think(shard)
        yield Use((self.api, self._cores), self._request_s)
        yield self._think(shard)

    def _listen(self, shard: Shard) -> Job:
        yield Use((shard.loop, self._cores), self._read_s)

    def _think(self, shard: Shard) -> Use:
        return Use((shard.loop, self._cores), self._half_s)


def simulate_burst(costs: Costs, setup: Setup) -> Burst:
    """Grow the claims, all asked for at once, and say how that went."""
    model = BurstModel(costs, setup)
    for number in range(setup.claims):
        model.simulation.start(model.grow(model.shards[number % setup.shards]))
    model.simulation.run()
    return Burst(
        seconds=model.ended_s,
        rate=setup.claims / model.ended_s,
        loop_busy=max(shard.loop.busy_s for shard in model.shards) / model.simulation.now_s,
        api_busy=model.api.busy_s / model.simulation.now_s / setup.api_places,
    )


def check_lines(folder: Path) -> list[dict[str, Any]]:
    """Predict each of the larger points from the other points only; one that lies further out, if kept, from all."""
    points: list[Point] = kept("claims", folder)["points"]
    far: list[Point] = kept(FAR, folder)["points"] if result_path(folder, FAR).exists() else []
    rows = []
    for left_out in [*points[2:], *far]:
        others = [p for p in points if p is not left_out]
        for name in ("rss_mb", "start_cpu_s"):
            predicted = Line.through([(p["claims"], p[name]) for p in others]).at(left_out["claims"])
            rows.append(_compared(f"{name} at {left_out['claims']:,.0f}", left_out[name], predicted))
    return rows


def check_bursts(folder: Path, costs: Costs) -> list[dict[str, Any]]:
    """Simulate the measured bursts, each with its own CPU a growth, on two cores as they were; the queueing is checked.

    The rate is measured net of the time in which the resizer was ready and waited for a core that others had.
    """
    rows = []
    result = kept("at-once", folder)
    for point in result["points"]:
        of_point = replace(costs, resize_cpu_s=point["resizer_cpu_ms_per_resize"] / 1e3)
        setup = Setup(1, int(point["at_once"]), 1, costs.request_cpu_s, cores=result["machine"]["cores"])
        predicted = simulate_burst(of_point, setup).rate
        rows.append(
            _compared(f"resizes/s, {setup.claims:,} at once", point["resizes_per_s"] / net_part(point), predicted)
        )
    return rows


def _compared(what: str, measured: float, predicted: float) -> dict[str, Any]:
    error = 100 * (predicted / measured - 1)
    return {
        "what": what,
        "measured": round(measured, 2),
        "model": round(predicted, 2),
        "error_percent": round(error, 1),
    }


def plan(costs: Costs, *, shards: int, claims: int, api_cores: int, burst: int) -> dict[str, Any]:
    """What one shard of so many needs, and what they reach together.

    `burst_per_s` is on an API server with so many cores until the last claim has grown (events go out afterwards),
    `burst_endless_api_per_s` on one that lets nobody wait; `lasting_per_s` is what can be kept up, events, the edits
    themselves and all. The driver costs nothing here: what a real one bears, only its maker knows.
    """
    costs = replace(costs, driver_cpu_s=0.0)
    own, start = claims / shards, costs.start_cpu_s
    foreign_s = (claims - own) * max(start.slope - 2 * costs.spared_s, 0.0)
    request_s = KUBE_REQUEST_MS / 1e3
    foreign_event_s = (1 - 1 / shards) * max(costs.event_cpu_s - costs.spared_s, 0.0)
    loop_s = costs.resize_cpu_s / shards + (WRITES + 1) * foreign_event_s
    lasting = 1 / max(loop_s, (WRITES + EVENT_POSTS + 1) * request_s / api_cores)
    return {
        "claims": claims,
        "shards": shards,
        "memory_mb": round(costs.memory_mb.at(own)),
        "start_s": round(start.base + own * start.slope + foreign_s, 1),
        "api_start_cpu_s": round(shards * costs.start_api_cpu_s.at(claims), 1),
        "burst_per_s": round(simulate_burst(costs, Setup(shards, burst, api_cores, request_s)).rate),
        "burst_endless_api_per_s": round(simulate_burst(costs, Setup(shards, burst, 1_000_000, request_s)).rate),
        "lasting_per_s": round(lasting),
        "foreign_event_cpu_percent": round(100 * lasting * (WRITES + 1) * foreign_event_s, 1),
    }


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print a table: names above, one line a row."""
    widths = {name: max(len(name), *(len(_shown(row[name])) for row in rows)) for name in rows[0]}
    print("  ".join(f"{name:>{width}}" for name, width in widths.items()))
    for row in rows:
        print("  ".join(f"{_shown(row[name]):>{width}}" for name, width in widths.items()))


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    """Run as `python -m bench.simulation`."""
    options = _parser().parse_args()
    try:
        costs = load_costs(options.results)
        checks = [*check_lines(options.results), *check_bursts(options.results, costs)]
    except BenchError as error:
        print(f"bench.simulation: {error}", file=sys.stderr)
        return 1
    there = costs.on_quicker(options.speed)
    plans = [
        plan(there, shards=shards, claims=claims, api_cores=options.api_cores, burst=options.burst)
        for claims in options.claims
        for shards in options.shards
    ]
    if options.json:
        print(json.dumps({"costs": asdict(costs), "checks": checks, "plans": plans}))
        return 0
    print_rows(checks)
    print()
    print_rows(plans)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.simulation", description="What more of everything would give.")
    parser.add_argument("--shards", type=numbers, default=(1, 2, 4, 8))
    parser.add_argument("--claims", type=numbers, default=(20_000, 100_000, 1_000_000))
    parser.add_argument("--api-cores", type=int, default=8, help="cores of the API server and its etcd")
    parser.add_argument("--speed", type=_factor, default=1.0, help="of the plans' machine, in those of the curves")
    parser.add_argument("--burst", type=int, default=2_000, help="claims edited at once")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the measured curves")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0: write it as 2.6")
    return factor


if __name__ == "__main__":
    sys.exit(main())
