import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resizer.kube.limiter import CEILING, FLOOR, START, FlowLimit, Limiter, Share


def fill(flow, now):
    while flow.delay_s(Share.WRITE, now) == 0:
        flow.start(Share.WRITE, now)


def saturate(flow, latency_s, *, rounds, now=0.0):
    """Keep the flow full and answer every request after the same time."""
    for _ in range(rounds):
        fill(flow, now)
        now += latency_s
        for _ in range(flow.in_flight):
            flow.succeeded(latency_s, now)
            flow.end(Share.WRITE)
            fill(flow, now)
    return now


def test_it_begins_at_twenty_and_grows_while_it_is_the_bottleneck():
    """A server that answers evenly is given more, up to the ceiling."""
    flow = FlowLimit()
    assert flow.limit == START
    saturate(flow, 0.01, rounds=200)
    assert flow.limit == pytest.approx(CEILING, abs=1)


def answer_in_turn(flow, work_s, *, rounds, now=0.0):
    """A server (or a loop of our own) that works on one request after the other: each waits for all before it."""
    flow.start(Share.WRITE, now)
    flow.succeeded(work_s, now)
    flow.end(Share.WRITE)
    for _ in range(rounds):
        fill(flow, now)
        now += work_s
        flow.succeeded(work_s * flow.in_flight, now)
        flow.end(Share.WRITE)


def test_it_does_not_grow_where_requests_only_wait_for_one_another():
    """More at once would make each take longer and none sooner: it stays at twenty, and the queue with it."""
    flow = FlowLimit()
    answer_in_turn(flow, 0.002, rounds=5000)
    assert flow.limit == START


@pytest.mark.parametrize("work_s", [0.002, 0.005, 0.01, 0.02])
def test_the_queue_of_a_long_backlog_never_passes_for_normal(work_s):
    """Five minutes of requests that wait for one another give it hardly more than the first seconds did."""
    flow = FlowLimit()
    answer_in_turn(flow, work_s, rounds=round(300 / work_s))
    assert flow.limit < 1.25 * START


def test_after_a_halt_it_comes_back_to_twenty_even_where_requests_wait_for_one_another():
    """A server that said 429 once is not served by four at a time for ever."""
    flow = FlowLimit()
    for second in range(20):
        flow.refused(Share.WRITE, 0.0, now=float(second))
    assert flow.limit == FLOOR
    answer_in_turn(flow, 0.002, rounds=5000, now=20.0)
    assert START <= flow.limit < START + 1


def test_a_quick_answer_now_and_then_is_not_the_measure_of_all():
    """Of a server that takes 30 ms, one answer in a hundred comes after 1 ms: it is still given more."""
    flow, now = FlowLimit(), 0.0
    for number in range(20_000):
        fill(flow, now)
        now += 0.03 / flow.in_flight
        flow.succeeded(0.001 if number % 100 == 50 else 0.03, now)
        flow.end(Share.WRITE)
    assert flow.limit > 3 * START


def test_it_does_not_grow_when_nothing_waits():
    """Single requests one after the other say nothing about how many are bearable."""
    flow = FlowLimit()
    for number in range(1000):
        flow.start(Share.WRITE, number)
        flow.succeeded(0.01, number)
        flow.end(Share.WRITE)
    assert flow.limit == START


def test_latency_that_rises_makes_it_shrink_and_never_below_the_floor():
    """A server that has become much slower than it can be gets fewer at once."""
    flow = FlowLimit()
    now = saturate(flow, 0.01, rounds=20)
    before = flow.limit
    now = saturate(flow, 0.5, rounds=5, now=now)
    assert flow.limit < before
    saturate(flow, 5.0, rounds=11, now=now)
    assert flow.limit >= FLOOR


def test_a_server_that_is_slower_for_good_is_not_punished_for_ever():
    """The best latency is that of the last minute or two: after that, the new one is normal and growth goes on."""
    flow = FlowLimit()
    now = saturate(flow, 0.01, rounds=20)
    now = saturate(flow, 0.5, rounds=40, now=now)
    low = flow.limit
    saturate(flow, 0.5, rounds=600, now=now)
    assert flow.limit > max(low, START)


def test_429_halts_everyone_for_as_long_as_the_server_asks():
    """Retry-After holds for all shares, and the limit shrinks once for one overload."""
    flow = FlowLimit()
    for _ in range(5):
        flow.refused(Share.WRITE, 7.0, now=10.0)
    assert flow.limit == pytest.approx(START * 0.7)
    assert [flow.delay_s(share, 12.0) for share in Share] == [5.0, 5.0, 5.0]
    assert flow.delay_s(Share.WRITE, 17.0) == 0


def test_429_on_events_holds_up_events_only():
    """Events can never delay a resize."""
    flow = FlowLimit()
    flow.refused(Share.EVENT, 7.0, now=10.0)
    assert (flow.delay_s(Share.WRITE, 10.0), flow.delay_s(Share.EVENT, 10.0)) == (0, 7.0)
    assert flow.limit == START


def test_a_wait_without_reason_is_bounded():
    """A Retry-After of a day is not obeyed for a day."""
    flow = FlowLimit()
    flow.refused(Share.WRITE, 86_400.0, now=0.0)
    assert flow.delay_s(Share.WRITE, 0.0) <= 120


def test_events_take_a_fifth_at_most():
    """With nothing else to do, events still leave room."""
    flow, started = FlowLimit(), 0
    while flow.delay_s(Share.EVENT, 0.0) == 0:
        flow.start(Share.EVENT, 0.0)
        started += 1
    assert started == START / 5
    assert flow.delay_s(Share.WRITE, 0.0) == 0


def test_a_rate_caps_what_the_server_would_bear():
    """--kube-api-qps and burst: the burst at once, then one each 1/qps seconds."""
    flow, now, started = FlowLimit(qps=10, burst=5), 0.0, 0
    while now < 10:
        delay_s = flow.delay_s(Share.WRITE, now)
        if delay_s == 0:
            flow.start(Share.WRITE, now)
            flow.end(Share.WRITE)
            started += 1
        else:
            now += delay_s
    assert 100 <= started <= 106


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["start", "ok", "slow", "429", "lost"]),
            st.sampled_from(list(Share)),
            st.floats(0, 5),
        ),
        max_size=200,
    )
)
def test_it_is_bounded_whatever_happens(steps):
    """Never more in flight than the limit, the limit always within its bounds, never stuck once all has ended."""
    flow, now, running = FlowLimit(), 0.0, []
    for kind, share, wait_s in steps:
        now += wait_s
        if kind == "start":
            if flow.delay_s(share, now) == 0:
                flow.start(share, now)
                running.append(share)
                assert flow.in_flight <= int(flow.limit)
        elif running:
            mine = running.pop(0)
            if kind in {"ok", "slow"}:
                flow.succeeded(0.005 if kind == "ok" else 3.0, now)
            elif kind == "429":
                flow.refused(mine, wait_s, now)
            flow.end(mine)
        assert FLOOR <= flow.limit <= CEILING
        assert flow.in_flight == len(running)
    for mine in running:
        flow.end(mine)
    assert all(flow.delay_s(share, now + 121) == 0 for share in Share)


async def hold(limiter, share, order, gate):
    with await limiter.acquire(share):
        order.append(share)
        await gate.wait()


@pytest.mark.looptime
async def test_writes_go_before_reads_before_events():
    """Whoever asked first, the higher share is served first when a place comes free."""
    limiter, order, gate = Limiter(FlowLimit(start=4)), [], asyncio.Event()
    first = [asyncio.create_task(hold(limiter, Share.WRITE, [], gate)) for _ in range(4)]
    await asyncio.sleep(1)
    late = []
    for share in (Share.EVENT, Share.READ, Share.WRITE):
        late.append(asyncio.create_task(hold(limiter, share, order, gate)))
        await asyncio.sleep(1)
    assert limiter.statistics()["waiting"] == 3
    gate.set()
    await asyncio.gather(*first, *late)
    assert order == [Share.WRITE, Share.READ, Share.EVENT]
    assert (limiter.flow.in_flight, limiter.statistics()["waiting"]) == (0, 0)


@pytest.mark.looptime
async def test_a_wait_that_is_given_up_leaves_nothing():
    """Neither a timeout nor a cancellation leaks a place."""
    limiter, gate = Limiter(FlowLimit(start=4)), asyncio.Event()
    first = [asyncio.create_task(hold(limiter, Share.WRITE, [], gate)) for _ in range(4)]
    await asyncio.sleep(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await limiter.acquire(Share.WRITE)
    waiting = asyncio.create_task(hold(limiter, Share.WRITE, [], gate))
    await asyncio.sleep(1)
    waiting.cancel()
    gate.set()
    await asyncio.gather(*first, waiting, return_exceptions=True)
    assert (limiter.flow.in_flight, limiter.statistics()["waiting"]) == (0, 0)


@pytest.mark.looptime
async def test_a_place_given_at_the_moment_of_cancellation_is_given_back():
    """The place is handed over and the waiter cancelled before it wakes: the place is free again."""
    limiter, gate = Limiter(FlowLimit(start=4)), asyncio.Event()
    slots = [await limiter.acquire(Share.WRITE) for _ in range(4)]
    waiting = asyncio.create_task(hold(limiter, Share.WRITE, [], gate))
    await asyncio.sleep(1)
    for slot in slots:
        slot.__exit__(None, None, None)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert limiter.flow.in_flight == 0


@pytest.mark.looptime
async def test_those_who_wait_for_the_servers_pause_go_on_after_it():
    """After Retry-After, waiters are served by the timer; nobody has to ask again."""
    limiter, gate, order = Limiter(), asyncio.Event(), []
    gate.set()
    limiter.flow.refused(Share.WRITE, 3.0, asyncio.get_running_loop().time())
    started = asyncio.get_running_loop().time()
    await hold(limiter, Share.WRITE, order, gate)
    assert asyncio.get_running_loop().time() - started == pytest.approx(3.0, abs=0.1)
