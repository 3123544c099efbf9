"""The workers: a bug in one claim is counted, logged and backed off, and no other claim notices."""

import asyncio

import pytest

from resizer.pipeline.result import Result
from resizer.pipeline.workers import Workers

pytestmark = pytest.mark.looptime


class Looks:
    """What the claim loop would do: notes who was looked at when, and how many at once."""

    def __init__(self):
        self.times = {}
        self.at_once = {}
        self.most_at_once = {}
        self.answers = {}

    async def __call__(self, key):
        self.times.setdefault(key, []).append(asyncio.get_running_loop().time())
        self.at_once[key] = self.at_once.get(key, 0) + 1
        self.most_at_once[key] = max(self.most_at_once.get(key, 0), self.at_once[key])
        await asyncio.sleep(0.1)
        self.at_once[key] -= 1
        answer = self.answers.get(key, Result("idle"))
        if isinstance(answer, Exception):
            raise answer
        return answer


async def _run(queue, looks, *, count, seconds):
    bugs = []
    workers = Workers(queue, looks, count=count, on_bug=bugs.append)
    task = asyncio.create_task(workers.run())
    await asyncio.sleep(seconds)
    queue.close()
    await task
    return bugs


async def test_a_bug_in_one_claim_backs_off_that_claim_only(new_queue):
    """The one with the bug is tried again after 1, 2, 4 ... seconds and counted; the others go on as ever."""
    queue, looks = new_queue(), Looks()
    looks.answers = {"bad": ValueError("bug"), "good": Result("retry", 1.0)}
    queue.add("bad")
    queue.add("good")
    bugs = await _run(queue, looks, count=2, seconds=10)
    waits = [round(b - a, 1) for a, b in zip(looks.times["bad"], looks.times["bad"][1:], strict=False)]
    assert waits == [1.1, 2.1, 4.1]
    assert bugs == ["bad"] * 4
    assert len(looks.times["good"]) >= 9


async def test_a_look_without_a_bug_ends_the_back_off(new_queue):
    """What went wrong before a look that went well is over: the next bug waits a second again."""
    queue, looks = new_queue(), Looks()
    bug, well = ValueError("bug"), Result("retry", 5.0)
    answers = iter((bug, bug, well, bug, well))

    async def look(key):
        looks.answers = {key: next(answers)}
        return await looks(key)

    queue.add("bad")
    await _run(queue, look, count=1, seconds=11)
    waits = [round(b - a, 1) for a, b in zip(looks.times["bad"], looks.times["bad"][1:], strict=False)]
    assert waits == [1.1, 2.1, 5.1, 1.1]


async def test_a_claim_has_one_worker_however_often_it_is_added(new_queue):
    """A hundred changes while a worker has the claim make one more look, by one worker at a time."""
    queue, looks = new_queue(), Looks()

    async def pester():
        for _ in range(100):
            queue.add("a")
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        group.create_task(pester())
        group.create_task(_run(queue, looks, count=5, seconds=3))
    assert looks.most_at_once["a"] == 1
    assert 8 <= len(looks.times["a"]) <= 12


async def test_a_settled_claim_is_not_looked_at_again(new_queue):
    """A result without a time ends whatever delay the claim had."""
    queue, looks = new_queue(), Looks()
    queue.add("a")
    queue.add_after("a", 2.0)
    await _run(queue, looks, count=1, seconds=10)
    assert len(looks.times["a"]) == 1


async def test_closing_lets_the_work_in_hand_finish(new_queue):
    """Work that has begun is finished, work that waits is not begun."""
    queue, looks = new_queue(), Looks()
    queue.add("a")
    queue.add("b")
    await _run(queue, looks, count=1, seconds=0.05)
    assert set(looks.times) == {"a"}
    assert looks.at_once["a"] == 0


async def test_cancelling_gives_back_the_claim_in_hand(new_queue):
    """A lost lease cuts the workers off; nothing counts as in work afterwards."""
    queue, looks = new_queue(), Looks()
    queue.add("a")
    workers = Workers(queue, looks, count=3, on_bug=lambda _: None)
    task = asyncio.create_task(workers.run())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert queue.ages_s() == []
