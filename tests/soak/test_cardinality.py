"""Ten thousand claims come, grow and go, and leave /metrics as large as it was: no series outlives its claim."""

import asyncio
import time

import pytest

from tests.e2e.rig import HTTP, Rig, claim_body, running_rig, volume_body
from tests.scripted_driver import Answer, Plan

EXPAND = "ControllerExpandVolume"
COUNT = 10_000
WAVE = 1_000
FAILING_EVERY = 10
SERIES_A_CLAIM = 4
"""Since when, and three sizes."""

pytestmark = pytest.mark.soak


async def scrape(rig: Rig, process) -> list[str]:
    """Every sample line of /metrics."""
    text = (await rig.http(process, "/metrics", timeout_s=20))[1]
    return [line for line in text.splitlines() if not line.startswith("#")]


def place(rig: Rig, name: str) -> None:
    """Put a bound claim that asks for more than it has, and its volume, behind the socket: only growth is tested."""
    claim = claim_body(name, "5Gi")
    claim["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    claim["status"] = {"phase": "Bound", "capacity": {"storage": "3Gi"}, "accessModes": ["ReadWriteOnce"]}
    volume = volume_body(name, "3Gi", driver=rig.driver.plan.name, claim_uid=claim["metadata"]["uid"])
    volume["metadata"] |= {"uid": f"uid-pv-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    store = rig.server.store
    store.put(store.named("persistentvolumes"), ("", f"pv-{name}"), volume)
    store.put(store.named("persistentvolumeclaims"), ("default", name), claim)


def remove(rig: Rig, name: str) -> None:
    """Delete both, behind the socket as well."""
    store = rig.server.store
    for plural, key in (("persistentvolumeclaims", ("default", name)), ("persistentvolumes", ("", f"pv-{name}"))):
        collection = store.named(plural)
        store.remove(collection, key, collection.objects[key].document())


@pytest.mark.timeout(300)
async def test_ten_thousand_claims_leave_nothing_behind(tmp_path_factory, capsys):
    """Grown claims and claims that never grow are deleted; the endpoint is within 5 % of the size it had before."""
    failing = {
        f"{EXPAND}/pv-data-{number}": (Answer(code="INTERNAL", message=f"no room in cell {number}"),)
        for number in range(0, COUNT, FAILING_EVERY)
    }
    plan = Plan(node_expansion_required=False, answers=failing)
    began_s, largest = time.monotonic(), 0
    async with running_rig(tmp_path_factory.mktemp("many"), plan) as rig:
        process = await rig.start_resizer(HTTP, "-v=1")
        await rig.place("warm-up")
        await rig.edit("warm-up")
        await rig.wait_claim(lambda claim: claim["status"]["capacity"]["storage"] == "5Gi", "warm-up")
        before = await scrape(rig, process)
        for first in range(0, COUNT, WAVE):
            names = [f"data-{number}" for number in range(first, first + WAVE)]
            for name in names:
                place(rig, name)
            await wait_grown(rig, process, 1 + (first + WAVE) * (FAILING_EVERY - 1) // FAILING_EVERY)
            largest = max(largest, len(await scrape(rig, process)))
            for name in names:
                remove(rig, name)
        await wait_sample(rig, process, "resizer_resizes_pending", 0)
        after = await scrape(rig, process)
    named = [line for line in after if "persistentvolumeclaim=" in line]
    with capsys.disabled():
        print(  # noqa: T201  # the figures are what the reader is after
            f"\n{COUNT} claims resized and deleted in {time.monotonic() - began_s:.0f} s: /metrics had {len(before)} "
            f"samples before, {largest} at most (a wave's {WAVE // FAILING_EVERY} failing claims), {len(after)} after"
        )
    assert named == []
    assert largest >= len(before) + WAVE // FAILING_EVERY * SERIES_A_CLAIM
    assert len(after) <= len(before) * 1.05


async def wait_grown(rig: Rig, process, count: int) -> None:
    """Wait until so many growths have succeeded."""
    await wait_sample(rig, process, 'outcome="success"', count)


async def wait_sample(rig: Rig, process, part: str, value: float, *, timeout_s: float = 60.0) -> None:
    """Wait until all samples with this text in their line have this value."""
    seen: set[float] = set()
    try:
        async with asyncio.timeout(timeout_s):
            while seen != {value}:
                await asyncio.sleep(0.1)
                lines = [line for line in await scrape(rig, process) if line.startswith("resizer_resizes_")]
                seen = {float(line.rpartition(" ")[2]) for line in lines if part in line}
    except TimeoutError:
        raise AssertionError(f"{part} never was {value}, last {seen}\n{rig.logs()[-4000:]}") from None
