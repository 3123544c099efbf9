"""A claim with a database in its pod, and one edit of it followed until the database sees the new size."""

import time
from collections.abc import Callable
from typing import Final

from resizer.demo import objects
from resizer.demo.display import Display, duration_text
from resizer.demo.measure import find_fault, measure_mount
from resizer.demo.parts import DemoError
from resizer.demo.show import DRIVER_NAME
from resizer.demo.stage import Stage
from resizer.demo.timeline import Timeline
from resizer.demo.workload.outcome import Grown
from resizer.demo.workload.pods import Database, DatabasePods
from resizer.demo.workload.size_watch import SizeWatch
from resizer.devcluster.client import CLAIMS, PODS, SECRETS, STORAGE_CLASSES, ForbiddenError, InvalidError
from resizer.model.objects import NUDGED_AT
from resizer.model.quantity import format_bytes, parse_bytes

_WITHIN_S: Final = 90.0
DatabaseStage = Stage[DatabasePods]


async def make_class(stage: DatabaseStage) -> None:
    """Make the secret and the storage class."""
    client = stage.cluster.client
    await client.create(SECRETS, objects.secret())
    await client.create(STORAGE_CLASSES, objects.storage_class(driver=DRIVER_NAME, filesystem=stage.choice.filesystem))


async def make_database(stage: DatabaseStage, claim: str, *, size_bytes: int) -> Database:
    """Make a claim and its pod, wait for the database in it and make its tables."""
    client, pods = stage.cluster.client, stage.pods
    await client.create(CLAIMS, objects.claim(claim, size_bytes=size_bytes))
    await client.create(PODS, objects.pod(claim))
    await stage.observer.wait_until(
        lambda: claim in pods.databases or pods.failure is not None,
        what=f"the database on claim {claim} did not start",
        timeout_s=_WITHIN_S,
    )
    if pods.failure is not None:
        raise pods.failure
    await pods.databases[claim].engine.prepare()
    return pods.databases[claim]


async def grow(stage: DatabaseStage, claim: str, target_bytes: int, *, display: Display, show: bool = True) -> Grown:
    """Edit the claim and follow it to its end. DemoError when the API server refuses, or it never ends."""
    path = stage.pods.databases[claim].path
    before, granted_before = measure_mount(path), _granted(stage, claim)
    watch = SizeWatch(path)
    began = time.monotonic()
    timeline = _timeline(stage, claim, target_bytes, asked_at=began)
    stage.observer.follow(timeline)
    display.begin(f"{claim}: asking for {format_bytes(target_bytes)}", timeline if show else None)
    try:
        await _ask(stage, claim, target_bytes)
        await stage.observer.wait_until(
            _ended(timeline), what=f"claim {claim} was not grown to {format_bytes(target_bytes)}", timeout_s=_WITHIN_S
        )
    finally:
        seen_at = await watch.finish()
        display.end()
    if not timeline.is_done:
        raise DemoError(f"{stage.choice.filesystem} cannot be grown under a running database here: use --fs xfs")
    after, granted = measure_mount(path), _granted(stage, claim)
    fault = find_fault(before=before, after=after, granted_before=granted_before, granted=granted, is_mounted=True)
    if seen_at is None:
        fault = fault or "the database's mount never showed another size"
    seen_after_s = (seen_at or time.monotonic()) - began
    display.note(f"  {claim}: the database sees the new size {duration_text(seen_after_s)} after the edit")
    return Grown(
        claim=claim,
        asked_bytes=target_bytes,
        granted_bytes=granted,
        device_bytes=after.device_bytes,
        filesystem_before_bytes=before.filesystem_bytes,
        filesystem_after_bytes=after.filesystem_bytes,
        seen_after_s=round(seen_after_s, 6),
        done_after_s=round(max(timeline.times_s.values()), 6),
        stages_s={stage: round(at, 6) for stage, at in timeline.times_s.items()},
        fault=fault,
    )


def _granted(stage: DatabaseStage, claim: str) -> int:
    found = stage.cluster.mirrors.claims.get(f"{objects.NAMESPACE}/{claim}")
    assert found is not None
    return parse_bytes(found["status"]["capacity"]["storage"])


def _timeline(stage: DatabaseStage, claim: str, target_bytes: int, *, asked_at: float) -> Timeline:
    mirrors = stage.cluster.mirrors
    found = mirrors.claims.get(f"{objects.NAMESPACE}/{claim}")
    pod = mirrors.pods.get(f"{objects.NAMESPACE}/{objects.pod_name(claim)}") or {"metadata": {}}
    assert found is not None
    return Timeline(
        claim=claim,
        volume=found["spec"]["volumeName"],
        target_bytes=target_bytes,
        asked_at=asked_at,
        nudged_before=(pod["metadata"].get("annotations") or {}).get(NUDGED_AT, ""),
    )


def _ended(timeline: Timeline) -> Callable[[], bool]:
    return lambda: timeline.is_done or "FailedPrecondition" in timeline.node_error


async def _ask(stage: DatabaseStage, claim: str, target_bytes: int) -> None:
    try:
        answer = await stage.cluster.client.patch(
            CLAIMS, claim, objects.request(target_bytes), namespace=objects.NAMESPACE
        )
    except (InvalidError, ForbiddenError) as error:
        words = " ".join(error.message.split())
        raise DemoError(f"the API server refuses {format_bytes(target_bytes)}: {words}") from error
    stage.observer.see_answer(answer)
