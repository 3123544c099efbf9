import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry, Gauge

from resizer.obs.exposition import Exposition
from resizer.obs.http import serve_http
from tests.component.obs.obs_sample import endpoint
from tests.component.obs.test_hostile_clients import ask

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
FORMATS = ("", "application/openmetrics-text;version=1.0.0", "text/plain;version=1.0.0;escaping=underscores")


class Costly:
    """A collector that takes its time, as thousands of series do."""

    def __init__(self, cost_s: float) -> None:
        self.cost_s = cost_s
        self.collected = 0

    def collect(self):
        self.collected += 1
        end = time.monotonic() + self.cost_s
        while time.monotonic() < end:
            pass
        return iter(())


async def test_a_flood_of_scrapes_leaves_the_loop_to_others():
    """Whatever is asked, in whatever format, writing metrics takes no more than a quarter of the time; all get one."""
    registry, costly = CollectorRegistry(), Costly(0.02)
    registry.register(costly)
    costly.collected = 0
    exposition = Exposition(registry)
    started, answers = time.monotonic(), 0

    async def scrape(accept: str) -> None:
        nonlocal answers
        while time.monotonic() - started < 0.6:
            await exposition.text(accept)
            answers += 1

    await asyncio.gather(*(scrape(accept) for accept in FORMATS * 20))
    took = time.monotonic() - started
    assert answers >= 60
    assert costly.collected == exposition.written
    assert costly.collected * 0.02 <= took * 0.35


async def test_what_is_read_was_written_after_it_was_asked_for():
    """A value that stood when the client asked is in its answer, also right after another answer."""
    registry = CollectorRegistry()
    gauge = Gauge("g", "A gauge.", registry=registry)
    registry.register(Costly(0.01))
    exposition = Exposition(registry)
    for number in range(10):
        gauge.set(number)
        body, _ = await exposition.text("")
        assert f"g {number}.0" in body.decode()


async def test_a_client_that_leaves_takes_nothing_from_the_others():
    """Two wait for the same text, one goes away: the other one gets it."""
    registry = CollectorRegistry()
    registry.register(Costly(0.02))
    exposition = Exposition(registry)
    await exposition.text("")
    leaving, staying = (asyncio.ensure_future(exposition.text("")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying)[1].startswith("text/plain")
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_an_error_while_writing_is_an_answer_each_time():
    """A collector that fails is a 500 for those who asked, and the next scrape is tried again."""

    class Broken:
        broken = False

        def collect(self):
            if self.broken:
                raise RuntimeError("broken")
            return iter(())

    registry, collector = CollectorRegistry(), Broken()
    registry.register(collector)
    async with serve_http("127.0.0.1:0", endpoint(registry=registry)) as port:
        collector.broken = True
        for answer in await asyncio.gather(ask(port, SCRAPE), ask(port, SCRAPE)):
            assert answer.startswith(b"HTTP/1.1 500")
        collector.broken = False
        assert (await ask(port, SCRAPE)).startswith(b"HTTP/1.1 200")
