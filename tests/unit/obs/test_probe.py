import asyncio
import contextlib

import pytest
from prometheus_client import CollectorRegistry

from resizer.obs.metrics import LoopMetrics
from resizer.obs.probe import BEAT_S, STUCK_AFTER_S, LoopWatch, Probe, attempt_check


def test_checks_are_asked_by_name():
    """A check may be added, replaced and removed; each answer is the present one."""
    probe = Probe()
    probe.add("a", lambda: "wrong")
    probe.add("b", lambda: None)
    assert probe.results() == {"a": "wrong", "b": None}
    probe.add("a", lambda: None)
    probe.remove("b")
    assert probe.results() == {"a": None}


def test_a_loop_that_stops_trying_fails_and_one_that_fails_does_not():
    """Only the age of the last attempt counts: an API server that is away must not restart us."""
    age = 0.0
    check = attempt_check(lambda: age, deadline_s=30, what="the reflector of claims")
    assert check() is None
    age = 31.0
    assert check() == "the reflector of claims has made no attempt for 31 s, at most 30 s are allowed"


async def test_lag_is_measured_and_a_stuck_loop_is_seen():
    """A loop that is held up shows in the histogram; one held up beyond the limit fails the check."""
    registry = CollectorRegistry()
    now = 0.0
    watch = LoopWatch(LoopMetrics(registry), monotonic=lambda: now)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    now = BEAT_S + 0.5
    assert watch.check() is None
    async with asyncio.timeout(5):
        while registry.get_sample_value("resizer_event_loop_lag_seconds_count") == 0:  # noqa: ASYNC110 -- its timer is real
            await asyncio.sleep(0.01)
    assert registry.get_sample_value("resizer_event_loop_lag_seconds_sum") == pytest.approx(0.5)
    now += STUCK_AFTER_S + 1
    assert watch.check() == "the event loop is 16 s late"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
