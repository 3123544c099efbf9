"""The queue of claim keys: each once in it, each once in a worker's hands, delays replaced, nothing lost on cancel."""

import asyncio
import contextlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resizer.pipeline.queue import ClaimQueue
from tests.unit.pipeline.conftest import Silent

pytestmark = pytest.mark.looptime


async def _take_now(queue):
    async with asyncio.timeout(0.001):
        return await queue.take()


async def _has_nothing(queue):
    with pytest.raises(TimeoutError):
        await _take_now(queue)


async def test_a_key_added_twice_is_there_once(new_queue):
    """Dedupe: what waits already is not added again."""
    queue = new_queue()
    queue.add("a")
    queue.add("a")
    assert await _take_now(queue) == "a"
    queue.done("a")
    await _has_nothing(queue)


async def test_a_key_added_while_in_work_comes_again_afterwards(new_queue):
    """Dirty while processing: nobody else gets it, and no change is missed."""
    queue = new_queue()
    queue.add("a")
    assert await _take_now(queue) == "a"
    queue.add("a")
    await _has_nothing(queue)
    queue.done("a")
    assert await _take_now(queue) == "a"


async def test_keys_come_in_the_order_they_were_added(new_queue):
    """First in, first out."""
    queue = new_queue()
    for key in "abc":
        queue.add(key)
    assert [await _take_now(queue) for _ in range(3)] == ["a", "b", "c"]


async def test_a_newer_delay_replaces_the_older(new_queue):
    """A key has one delay: the last one given."""
    queue = new_queue()
    began = asyncio.get_running_loop().time()
    queue.add_after("a", 10)
    queue.add_after("a", 3)
    assert await queue.take() == "a"
    assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.1)
    queue.done("a")
    queue.add_after("a", 1)
    queue.add_after("a", 20)
    began = asyncio.get_running_loop().time()
    assert await queue.take() == "a"
    assert asyncio.get_running_loop().time() - began == pytest.approx(20, abs=0.1)


async def test_a_delay_of_nothing_is_at_once_and_ends_the_one_that_was(new_queue):
    """Zero means now."""
    queue = new_queue()
    queue.add_after("a", 10)
    queue.add_after("a", 0)
    assert await _take_now(queue) == "a"
    queue.done("a")
    assert queue.next_delay_s() is None


async def test_a_cancelled_delay_does_not_come(new_queue):
    """A claim that is settled is not looked at again."""
    queue = new_queue()
    queue.add_after("a", 5)
    queue.cancel_delay("a")
    queue.cancel_delay("never there")
    await asyncio.sleep(10)
    await _has_nothing(queue)


async def test_close_lets_takers_go_and_hands_out_nothing_more(new_queue):
    """After close every taker gets None, those that wait and those that come."""
    queue = new_queue()
    waiting = [asyncio.create_task(queue.take()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add_after("a", 1)
    queue.close()
    queue.add("b")
    queue.add_after("c", 1)
    assert await asyncio.gather(*waiting) == [None, None, None]
    assert await queue.take() is None


async def test_a_wake_up_meant_for_a_cancelled_taker_goes_to_another(new_queue):
    """Cancelling a taker in the very moment a key arrives loses neither the key nor the other taker's sleep."""
    queue = new_queue()
    first, second = asyncio.create_task(queue.take()), asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    async with asyncio.timeout(1):
        assert await second == "a"


async def test_a_taker_cancelled_while_it_waits_leaves_nothing_behind(new_queue):
    """The next key goes to the next taker."""
    queue = new_queue()
    task = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    queue.add("a")
    assert await _take_now(queue) == "a"


async def test_replaced_delays_do_not_pile_up(new_queue):
    """A claim whose delay is replaced ten thousand times costs one entry's worth of memory, more or less."""
    queue = new_queue()
    for number in range(10_000):
        queue.add_after("a", 100 + number / 1000)
    assert len(queue._heap) < 2_000
    assert queue.next_delay_s() == pytest.approx(110, abs=0.1)


async def test_what_is_in_work_is_asked_of_the_queue(new_queue):
    """Each key in work has an age; a closed queue holds nothing but what is still in work."""
    queue = new_queue()
    queue.add("a")
    queue.add("b")
    assert await _take_now(queue) == "a"
    await asyncio.sleep(0.01)
    assert queue.depth() == 1
    assert [age_s >= 0.01 for age_s in queue.ages_s()] == [True]
    queue.add_after("c", 60)
    queue.add("a")
    queue.close()
    assert (queue.depth(), queue.next_delay_s(), len(queue.ages_s())) == (0, None, 1)
    queue.done("a")
    assert (queue.depth(), queue.ages_s()) == (0, [])


class OneWorkerAClaim(RuleBasedStateMachine):
    """Whatever is added, delayed, taken, done and cancelled: one worker a claim, and no change missed."""

    keys = st.sampled_from("abc")

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue = self.loop.run_until_complete(self._build())
        self.in_work = []
        self.owed = set()

    async def _build(self):
        return ClaimQueue(name="q", telemetry=Silent())

    def _settle(self):
        self.loop.run_until_complete(asyncio.sleep(0))

    @rule(key=keys)
    def add(self, key):
        self.queue.add(key)
        self.owed.add(key)

    @rule(key=keys)
    def add_at_once(self, key):
        self.queue.add_after(key, 0)
        self.owed.add(key)

    @rule(key=keys)
    def delay_for_long(self, key):
        self.queue.add_after(key, 3600)

    @rule(key=keys)
    def cancel_delay(self, key):
        self.queue.cancel_delay(key)

    @precondition(lambda self: self.owed - set(self.in_work))
    @rule()
    def take(self):
        key = self.loop.run_until_complete(self.queue.take())
        assert key not in self.in_work
        assert key in self.owed
        self.owed.discard(key)
        self.in_work.append(key)

    @rule(key=keys)
    def take_and_be_cancelled(self, key):
        task = self.loop.create_task(self.queue.take())
        self._settle()
        if task.done():
            taken = task.result()
            assert taken not in self.in_work
            self.owed.discard(taken)
            self.in_work.append(taken)
            return
        self.queue.add(key)
        self.owed.add(key)
        task.cancel()
        self.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))

    @precondition(lambda self: self.in_work)
    @rule()
    def done(self):
        self.queue.done(self.in_work.pop(0))

    @invariant()
    def is_consistent(self):
        assert len(self.queue.ages_s()) == len(self.in_work) == len(set(self.in_work))
        assert self.queue.depth() == len(self.owed - set(self.in_work))

    def teardown(self):
        self.queue.close()
        self._settle()
        self.loop.close()


OneWorkerAClaim.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOneWorkerAClaim = OneWorkerAClaim.TestCase
