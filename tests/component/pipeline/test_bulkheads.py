import asyncio

import msgspec
import pytest

from tests.component.pipeline.rig import Rig, is_grown, running_rig
from tests.scripted_driver import Answer, Plan

EXPAND = "ControllerExpandVolume"
FAST = Plan(name="fast.csi.test", node_expansion_required=False)
HUNG = Plan(name="hung.csi.test", answers={EXPAND: (Answer(hang=True),)})
CLAIMS = 100


async def grow_hundred(rig: Rig) -> float:
    """Seconds from the edit of the fast driver's claims until the last of them is grown: the best of four times."""
    await rig.wait(lambda: len(rig.logged("group.started")) == len(rig.drivers))
    clock = asyncio.get_running_loop().time
    took_s = []
    for size in ("5Gi", "6Gi", "7Gi", "8Gi"):
        left = [f"fast-{number}" for number in range(CLAIMS)]

        def is_done(left: list[str] = left, size: str = size) -> bool:
            while left and is_grown(rig, size, left[-1])():
                left.pop()
            return not left

        began_s = clock()
        for name in tuple(left):
            rig.ask(size, name)
        await rig.wait(is_done, timeout_s=30)
        took_s.append(clock() - began_s)
    return min(took_s)


def seed_fast(rig: Rig) -> None:
    for number in range(CLAIMS):
        rig.seed(f"fast-{number}", requested="3Gi", driver=FAST.name)


@pytest.mark.soak
async def test_a_hung_driver_delays_no_other(folder, capsys):
    """100 claims of one driver finish while 100 claims of another hang in its calls, as fast as if alone."""
    (folder / "alone").mkdir()
    (folder / "beside").mkdir()
    async with running_rig(folder / "alone", FAST) as rig:
        seed_fast(rig)
        rig.start()
        alone_s = await grow_hundred(rig)
    async with running_rig(folder / "beside", FAST, HUNG) as rig:
        seed_fast(rig)
        for number in range(CLAIMS):
            rig.seed(f"hung-{number}", driver=HUNG.name)
        rig.start()
        await rig.drivers[1].wait_calls(EXPAND, CLAIMS)
        beside_s = await grow_hundred(rig)
        assert rig.drivers[1].in_flight[EXPAND] == CLAIMS, "the others hang to the end"
    with capsys.disabled():
        print(  # noqa: T201  # the figures are what the reader is after
            f"\n{CLAIMS} claims alone {alone_s:.2f} s, beside a hung driver {beside_s:.2f} s: {beside_s / alone_s:.2f}"
        )
    assert beside_s < 10 * alone_s


async def test_slow_volumes_do_not_stop_fast_ones_of_their_driver(folder):
    """With one worker to spare the driver's fast volumes go through while its slow ones hang."""
    slow = {f"{EXPAND}/h-slow-{number}": (Answer(hang=True), Answer()) for number in range(9)}
    async with running_rig(folder, msgspec.structs.replace(FAST, answers=slow)) as rig:
        for number in range(9):
            rig.seed(f"slow-{number}")
        rig.start(workers=10)
        await rig.driver.wait_calls(EXPAND, 9)
        for number in range(20):
            rig.seed(f"quick-{number}")
        await rig.wait(lambda: len(rig.logged("claim.grown")) == 20)
        assert rig.driver.in_flight[EXPAND] == 9
        assert rig.driver.most_in_flight[EXPAND] == 10, "never more than the driver's concurrency"


async def test_a_call_without_an_answer_ends_at_its_deadline(folder):
    """A call that hangs is given up at `--timeout`; its outcome is unknown, so the same size is asked again."""
    plan = msgspec.structs.replace(FAST, answers={EXPAND: (Answer(hang=True), Answer())})
    async with running_rig(folder, plan) as rig:
        rig.seed()
        rig.start(timeout="300ms")
        await rig.wait(is_grown(rig))
        assert len(set(rig.sizes())) == 1
        assert len(rig.sizes()) == 2


async def test_a_driver_that_is_down_is_not_called_by_every_claim(folder):
    """UNAVAILABLE in a row opens the circuit: hundreds of claims cost a few dozen calls, and all grow afterwards.

    While it is open a claim says so in an event and has no ControllerResizeError: nothing is known to have failed.
    """
    down = msgspec.structs.replace(FAST, answers={EXPAND: (Answer(code="UNAVAILABLE", message="backend away"),)})
    async with running_rig(folder, down) as rig:
        for number in range(CLAIMS):
            rig.seed(f"c-{number}")
        rig.start(workers=20, retry_interval_start="200ms", retry_interval_max="1s")
        await rig.wait(lambda: len(rig.logged("driver.circuit_open")) == 1)
        await rig.wait(lambda: len(rig.logged("claim.looked_at")) >= 2 * CLAIMS)
        turned_away = [entry for entry in rig.logged("claim.looked_at") if entry["reason"] == "not-called"]
        assert len(rig.driver.calls_of(EXPAND)) < CLAIMS / 2
        assert len(turned_away) > CLAIMS
        assert len(rig.logged("driver.circuit_open")) == 1, "said once, though many calls were under way"
        assert (await rig.debug_state())["drivers"][0]["circuit"] in {"open", "half-open"}
        last = turned_away[-1]["claim"].removeprefix("default/")
        await rig.wait(lambda: "circuit open" in rig.event_messages(last))
        assert {c["type"] for c in rig.claim(last)["status"]["conditions"]} == {"Resizing"}

        rig.driver.plan = FAST
        await rig.wait(lambda: len(rig.logged("claim.grown")) == CLAIMS, timeout_s=20)
        assert rig.logged("driver.circuit_closed")


async def test_claims_grow_at_once_when_a_driver_is_back(folder):
    """While nobody answers on the socket claims wait without a call; the connection made anew ends every such wait."""
    async with running_rig(folder, FAST) as rig:
        rig.seed("first")
        rig.start(retry_interval_start="5m", retry_interval_max="5m")
        await rig.wait(is_grown(rig, name="first"))
        async with rig.away(rig.driver):
            await rig.wait(lambda: bool(rig.logged("driver.lost")))
            for name in ("one", "two", "three"):
                rig.seed(name)
            await rig.wait(lambda: len([e for e in rig.logged("claim.looked_at") if e["reason"] == "not-called"]) == 3)
        for name in ("one", "two", "three"):
            await rig.wait(is_grown(rig, name=name), timeout_s=15)
            assert len(rig.sizes(name)) == 1
        assert (await rig.debug_state())["drivers"][0]["circuit"] == "closed"


async def test_a_slow_volume_that_probes_does_not_hold_up_the_others(folder):
    """The first call to a driver that is back hangs: the driver's other claims grow all the same, seconds later."""
    slow = msgspec.structs.replace(FAST, answers={f"{EXPAND}/h-slow": (Answer(hang=True),)})
    async with running_rig(folder, slow) as rig:
        rig.seed("first")
        rig.start(retry_interval_start="100ms", retry_interval_max="5m")
        await rig.wait(is_grown(rig, name="first"))
        async with rig.away(rig.driver):
            await rig.wait(lambda: bool(rig.logged("driver.lost")))
            rig.seed("slow")
            await rig.wait(lambda: bool(rig.logged("driver.circuit_open")))
        await rig.wait(lambda: bool(rig.sizes("slow")))
        rig.seed()
        await rig.wait(is_grown(rig), timeout_s=10)
        rig.driver.release(EXPAND)
        await rig.wait(is_grown(rig, name="slow"))


async def test_another_driver_on_the_socket_is_said_not_to_be_served(folder):
    """A driver that comes back under another name gets no call, and the log says what to do, instead of silence."""
    async with running_rig(folder, FAST) as rig:
        rig.seed("first")
        rig.start()
        await rig.wait(is_grown(rig, name="first"))
        async with rig.away(rig.driver):
            rig.driver.plan = msgspec.structs.replace(FAST, name="other.csi.test")
        await rig.wait(lambda: bool(rig.logged("driver.replaced")))
        [said] = rig.logged("driver.replaced")
        assert (said["served"], said["driver"]) == (FAST.name, "other.csi.test")
        rig.driver.plan = FAST
        async with rig.away(rig.driver):
            rig.seed()
        await rig.wait(is_grown(rig))
