"""The four curves: each function measures all points of one, and returns them as plain figures.

Every point is measured several times and the medians are kept; CPU is read twice, at the last claim's end (who was
busy while it went on) and when all is quiet again (what it cost in all, the events sent afterwards included).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any

from bench.curves.rig import Rig, cpu_s, running
from bench.process import Program

Point = dict[str, float]
Say = Callable[[str], None]

CLAIMS = (1_000, 5_000, 20_000, 100_000)
AT_ONCE = (10, 100, 500, 1_000, 2_000, 5_000)
DRIVERS = (1, 2, 5, 10, 20)
EVENT_RATES = (0, 100, 250, 500, 1_000, 2_000, 5_000)

_IDLE_S = 8.0
_EVENTS_S = 8.0
_BETWEEN_GROWTHS_S = 0.3


def median_point(points: list[Point]) -> Point:
    """Take the median of each figure over the rounds of one point."""
    return {name: round(statistics.median(p[name] for p in points), 5) for name in points[0]}


def net_part(point: Point) -> float:
    """Part of a point's time that is left without the time in which the resizer was ready and others had its core."""
    return 1 - max(point["resizer_busy_percent"] - point["resizer_cpu_percent"], 0.0) / 100


async def measure_claims(counts: tuple[int, ...], *, rounds: int, say: Say) -> list[Point]:
    """A cold start among so many claims and as many volumes: seconds, CPU and memory; and the idle time after it."""
    points = []
    for count in counts:
        async with running(claims=count) as rig:
            points.append(median_point([await _start_cold(rig, count) for _ in range(rounds)]))
        say(f"{count} claims: {points[-1]}")
    return points


async def _start_cold(rig: Rig, count: int) -> Point:
    growing = asyncio.create_task(rig.tell(do="grow", ends=True))
    await asyncio.sleep(0.2)  # the edit stands before the resizer starts
    began, before = time.monotonic(), rig.look()
    async with rig.running_resizer() as resizer:
        grown = await growing
        start = rig.since(before)
        await rig.wait_quiet()
        started = cpu_s(resizer.pid)
        idle = rig.look()
        await asyncio.sleep(_IDLE_S)
        return {
            "claims": count,
            "first_served_s": grown["asked_at"] + min(grown["seconds"]) - began,
            "last_served_s": grown["done_at"] - began,
            "start_cpu_s": started,
            "start_api_server_cpu_s": start.api_server.cpu,
            **start.shares(),
            "rss_mb": resizer.rss_mb(),
            "peak_mb": resizer.peak_mb(),
            "idle_cpu_percent": rig.since(idle).shares()["resizer_cpu_percent"],
        }


async def measure_at_once(counts: tuple[int, ...], *, rounds: int, say: Say) -> list[Point]:
    """So many claims edited in one moment: rate, seconds of each, and who was busy."""
    async with running(claims=max(counts)) as rig, rig.running_resizer() as resizer:
        await rig.tell(do="grow", count=100)  # warm: connections, limiter, code
        points = []
        for count in counts:
            measured = []
            for _ in range(rounds):
                await rig.wait_quiet()
                measured.append(await _grow(rig, count, resizer))
            points.append(median_point(measured))
            say(f"{count} at once: {points[-1]}")
    return points


async def _grow(rig: Rig, count: int, resizer: Program) -> Point:
    requests = (await rig.tell(do="look"))["requests"]
    before = rig.look()
    grown = await rig.tell(do="grow", count=count)
    at_end = rig.since(before)
    await rig.wait_quiet()
    in_all = rig.since(before)
    seconds, took = sorted(grown["seconds"]), grown["done_at"] - grown["asked_at"]
    return {
        "at_once": count,
        "all_s": took,
        "resizes_per_s": count / took,
        "p50_s": statistics.median(seconds),
        "p99_s": seconds[int(0.99 * (count - 1))],
        "resizer_cpu_ms_per_resize": in_all.resizer.cpu / count * 1e3,
        "api_server_cpu_ms_per_resize": in_all.api_server.cpu / count * 1e3,
        "driver_cpu_ms_per_resize": in_all.driver.cpu / count * 1e3,
        "requests_per_resize": ((await rig.tell(do="look"))["requests"] - requests) / count,
        "rss_mb": resizer.rss_mb(),
        "peak_mb": resizer.peak_mb(),
        **at_end.shares(),
    }


async def measure_drivers(counts: tuple[int, ...], *, rounds: int, say: Say, claims: int = 1_000) -> list[Point]:
    """The same claims spread over so many drivers, each with a lease of its own: memory, idle CPU, rate."""
    election = ("--leader-election", "--leader-election-namespace=default")
    points = []
    for count in counts:
        async with running(claims=claims, drivers=count) as rig:
            measured = []
            for _ in range(rounds):
                async with rig.running_resizer(*election) as resizer:
                    measured.append({"drivers": count, **await _spread(rig, claims, resizer)})
            points.append(median_point(measured))
        say(f"{count} drivers: {points[-1]}")
    return points


async def _spread(rig: Rig, claims: int, resizer: Program) -> Point:
    began = time.monotonic()
    first = await rig.tell(do="grow", count=rig.driver_count)
    await rig.wait_quiet()
    figures = {"first_served_s": first["done_at"] - began, "idle_rss_mb": resizer.rss_mb()}
    requests, idle = (await rig.tell(do="look"))["requests"], rig.look()
    await asyncio.sleep(_IDLE_S)
    rested = rig.since(idle)
    asked = (await rig.tell(do="look"))["requests"] - requests
    figures |= {
        "idle_cpu_percent": rested.shares()["resizer_cpu_percent"],
        "idle_requests_per_s": asked / rested.wall,
    }
    grown = await _grow(rig, claims, resizer)
    kept = (
        "resizes_per_s",
        "p99_s",
        "resizer_cpu_ms_per_resize",
        "rss_mb",
        "peak_mb",
        "resizer_cpu_percent",
        "resizer_busy_percent",
    )
    return figures | {name: grown[name] for name in kept}


async def measure_events(rates: tuple[int, ...], *, rounds: int, say: Say, claims: int = 20_000) -> list[Point]:
    """Foreign edits of cached claims at so many a second: CPU, and how long a lone growth takes meanwhile."""
    async with running(claims=claims) as rig, rig.running_resizer() as resizer:
        await rig.tell(do="grow", count=1)
        points = []
        for rate in rates:
            measured = []
            for _ in range(rounds):
                await rig.tell(do="edit", rate=0)
                await rig.wait_quiet()
                measured.append(await _edit(rig, rate, resizer))
            points.append(median_point(measured))
            say(f"{rate} events/s: {points[-1]}")
    return points


async def _edit(rig: Rig, rate: int, resizer: Program) -> Point:
    await rig.tell(do="edit", rate=rate)
    await asyncio.sleep(1.0)  # the pace is steady
    quiet = rig.look()
    await asyncio.sleep(_EVENTS_S / 2)
    shares = rig.since(quiet).shares()
    seconds: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < _EVENTS_S / 2:
        seconds += (await rig.tell(do="grow", count=1))["seconds"]
        await asyncio.sleep(_BETWEEN_GROWTHS_S)
    all_s = time.monotonic() - quiet.wall + 1.0
    made = (await rig.tell(do="edit", rate=0))["edits"]
    figures = {"events_asked_per_s": rate, "events_per_s": made / all_s, **shares, "rss_mb": resizer.rss_mb()}
    return figures | {"growth_p50_s": statistics.median(seconds), "growth_max_s": max(seconds)}


Measure = Callable[..., Coroutine[Any, Any, list[Point]]]
CURVES: dict[str, tuple[Measure, tuple[int, ...]]] = {
    "claims": (measure_claims, CLAIMS),
    "at-once": (measure_at_once, AT_ONCE),
    "drivers": (measure_drivers, DRIVERS),
    "events": (measure_events, EVENT_RATES),
}
