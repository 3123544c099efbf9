"""Among 20,000 claims, 20,000 volumes and 20,000 pods: cold start, memory, and what it costs to stand still.

Two claims ask for more before the process starts, the first and the last: a claim that was read is grown while others
are still being read, so the first one grown is one figure, and that both are ends the cold start. Then 1,000 claims
grow without a node step and 1,000 with one, their pods in all of 20 namespaces, so that every pod of the cluster is
looked at. The same is done among 1,000 pods, and the difference is the part of the others: while no claim waits for its
node, and while claims of all namespaces do, whose pods are held then. Standing still is measured over 65 seconds, in
which bookmarks come; a resync comes every ten minutes only, so what one costs is measured apart, with a shorter period,
and its share is added.
"""

from __future__ import annotations

import asyncio
import time

from bench import traffic
from bench.how import How
from bench.kubelet import Kubelets
from bench.objects import Seed
from bench.rig import Resizer, Rig, running_rig
from bench.watcher import Watcher, edit_all

CLAIMS = 20_000
GROWING = 1_000
_NAMESPACES = 20
_QUIET_S = 65.0
_RESYNC_EVERY_S = 10.0
_RESYNCS = 3
_REAL_RESYNC_EVERY_S = 600.0
_SETTLE_S = 3.0
"""Pause after the last request: pods that nobody waits for any more are forgotten meanwhile."""


async def measure(how: How) -> dict[str, float]:
    """Return the figures of one run."""
    figures = await _run(how, pods=CLAIMS, quiet_s=0.0 if how.contender.is_peer else _QUIET_S)
    few = await _run(how, pods=GROWING + 1, quiet_s=0.0, resync=not how.contender.is_peer)
    for part in ("rss_listed", "rss"):
        figures[f"{part}_pods_mb"] = figures[f"{part}_mb"] - few[f"{part}_mb"]
    if not how.contender.is_peer:
        quiet = figures.pop("quiet_percent")
        resync_s = max(0.0, few["resync_window_cpu_s"] - quiet / 100 * _RESYNC_EVERY_S * _RESYNCS) / _RESYNCS
        figures["resync_ms"] = resync_s * 1e3
        figures["idle_percent"] = quiet + resync_s / _REAL_RESYNC_EVERY_S * 100
    return figures


async def _run(how: How, *, pods: int, quiet_s: float, resync: bool = False) -> dict[str, float]:
    watched, asking = 2 * GROWING + 1, (0, CLAIMS - 1)
    seed = Seed(claims=CLAIMS, pods=pods, namespaces=_NAMESPACES, watched=watched, asking=asking)
    by_node = {f"ControllerExpandVolume/vol-{n}": [{"node_expansion_required": True}] for n in range(1, GROWING + 1)}
    flags = (f"--resync-period={_RESYNC_EVERY_S:.0f}s",) if resync else ()
    async with running_rig(seed, answers=by_node) as rig:
        watcher = Watcher(rig.client)
        kubelets = Kubelets(rig.client, wait_for_nudge=not how.contender.is_peer)
        watcher.on_change = kubelets.see
        async with kubelets.running(), watcher.following():
            began = time.perf_counter()
            async with rig.resizer(how.contender, *flags) as resizer:
                ends = await watcher.wait(seed.claim_keys(asking), "2Gi", check=resizer.program.check)
                cold_cpu_s = resizer.program.cpu_s()
                if not how.contender.is_peer:
                    await resizer.wait_ready()
                figures = {"first_claim_s": min(ends) - began, "last_claim_s": max(ends) - began}
                figures["cold_cpu_s"] = cold_cpu_s
                figures["rss_listed_mb"] = resizer.program.rss_mb()
                figures["rss_mb"] = await _grow(rig, resizer, watcher, seed)
                await traffic.wait_quiet(rig)
                await asyncio.sleep(_SETTLE_S)
                how.say(f"{pods} pods: {figures['rss_mb']:.0f} MB")
                if quiet_s:
                    how.say(f"standing still for {quiet_s:.0f} s")
                    figures["quiet_percent"] = await _cpu_over(resizer, quiet_s) / quiet_s * 100
                if resync:
                    figures["resync_window_cpu_s"] = await _cpu_over(resizer, _RESYNC_EVERY_S * _RESYNCS)
    return figures


async def _grow(rig: Rig, resizer: Resizer, watcher: Watcher, seed: Seed) -> float:
    """Grow the claims that a pod uses and others; return the most memory meanwhile, or right after the list."""
    keys = seed.claim_keys(range(1, 2 * GROWING + 1))
    resizer.program.forget_peak()
    await rig.forget_requests()
    await edit_all(rig.client, keys, "2Gi")
    await watcher.wait(keys, "2Gi", check=resizer.program.check)
    return resizer.program.peak_mb()


async def _cpu_over(resizer: Resizer, duration_s: float) -> float:
    before = resizer.program.cpu_s()
    await asyncio.sleep(duration_s)
    return resizer.program.cpu_s() - before
