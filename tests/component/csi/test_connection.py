"""Sockets that come late, drivers that restart, hang, are broken or are others: nobody else is held up."""

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

import pytest
import structlog

from resizer.csi.connection import DriverConnection
from resizer.model.errors import DriverError, NotCalledError
from resizer.model.objects import Volume
from resizer.rpc.channel import MalformedAddressError
from tests.component.csi.csi_recorder import Changes, Recorder, connected, wait_until
from tests.scripted_driver import Answer, Plan, ScriptedDriver

PROGRAM = Path(__file__).parents[2] / "scripted_driver.py"
VOLUME = Volume(name="pv-1", uid="u", version="1", handle="vol-1", access_modes=("ReadWriteOnce",))


async def grow(driver):
    return await driver.expand_volume_device(VOLUME, new_size_bytes=5, old_size_bytes=3, secrets={})


async def wait_phase(connection: DriverConnection, *phases: str) -> None:
    await wait_until(lambda: connection.state.phase in phases)


async def test_socket_that_appears_later(endpoint):
    """A socket that is not there yet is waited for, said once, and connected to within about two seconds."""
    with structlog.testing.capture_logs() as logs:
        async with connected(endpoint) as connection:
            await wait_until(lambda: "no socket" in connection.state.reason)
            await asyncio.sleep(0.7)  # several attempts pass; they may not be logged each
            async with ScriptedDriver().serve(endpoint):
                started = asyncio.get_running_loop().time()
                driver = await connection.wait_driver()
                assert asyncio.get_running_loop().time() - started < 3
                assert (await grow(driver)).capacity_bytes == 5
                assert [entry["event"] for entry in logs] == ["driver.waiting", "driver.connected"]


async def test_absent_driver_holds_up_no_other(endpoint):
    """Beside a socket that never appears and one that hangs, a third driver is connected at once."""
    hanging = ScriptedDriver(Plan(answers={"GetPluginInfo": (Answer(hang=True),)}))
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(hanging.serve(f"{endpoint}2"))
        await stack.enter_async_context(ScriptedDriver().serve(f"{endpoint}3"))
        await stack.enter_async_context(connected(endpoint))
        await stack.enter_async_context(connected(f"{endpoint}2"))
        third = await stack.enter_async_context(connected(f"{endpoint}3"))
        async with asyncio.timeout(3):
            await third.wait_driver()


async def test_restarted_driver_is_asked_again(endpoint):
    """The same driver after a restart: the handle the pipeline holds works again, with the new facts."""
    recorder = Recorder()
    driver = ScriptedDriver()
    async with connected(endpoint, recorder=recorder) as connection:
        changes = Changes(connection)
        async with driver.serve(endpoint):
            handle = await connection.wait_driver()
            assert not handle.facts.modify_volume
            assert await changes.next() == driver.plan.name
        assert await changes.next() == "lost"
        assert not handle.connected
        with pytest.raises(NotCalledError, match="not connected"):
            await grow(handle)
        driver.plan = Plan(version="2", controller_capabilities=("EXPAND_VOLUME", "MODIFY_VOLUME"))
        async with driver.serve(endpoint):
            assert await changes.next() == driver.plan.name
            assert connection.driver is handle
            assert (handle.facts.version, handle.facts.modify_volume) == ("2", True)
            await grow(handle)
    name = driver.plan.name
    assert recorder.connections == [("down", ""), ("up", name), ("down", name), ("up", name), ("down", name)]
    assert len(driver.calls_of("GetPluginInfo")) == 2


async def test_capabilities_are_asked_once_per_connection(endpoint):
    """Ten growths cause ten calls to the driver, and no question about capabilities more."""
    driver = ScriptedDriver()
    async with driver.serve(endpoint), connected(endpoint) as connection:
        handle = await connection.wait_driver()
        before = len(driver.calls)
        for _ in range(10):
            await grow(handle)
    assert len(driver.calls) == before + 10


async def test_another_driver_on_the_socket_gets_no_call(endpoint):
    """While somebody of another name answers, the old handle sends nothing; it does once its own driver is back."""
    driver = ScriptedDriver()
    own = driver.plan
    async with connected(endpoint) as connection:
        changes = Changes(connection)
        async with driver.serve(endpoint):
            handle = await connection.wait_driver()
            await changes.next()
        await changes.next()
        driver.plan = Plan(name="other.csi.example.com")
        async with driver.serve(endpoint):
            assert await changes.next() == "other.csi.example.com"
            with pytest.raises(NotCalledError):
                await grow(handle)
            assert not driver.calls_of("ControllerExpandVolume")
            other = await connection.wait_driver()
            assert other is not handle
            await grow(other)
        await changes.next()
        driver.plan = own
        async with driver.serve(endpoint):
            assert await changes.next() == own.name
            await grow(handle)


async def test_killed_driver_leaves_an_uncertain_call(endpoint, tmp_path):
    """A kill -9 of the driver's process during a call is UNAVAILABLE, and its successor is reconnected to."""
    plan, record = tmp_path / "plan.json", tmp_path / "calls.jsonl"
    plan.write_text(json.dumps({"answers": {"ControllerExpandVolume": [{"hang": True}]}}))
    command = (sys.executable, PROGRAM, "--endpoint", endpoint, "--plan", plan, "--record", record)
    first = await asyncio.create_subprocess_exec(*command)
    async with connected(endpoint) as connection:
        changes = Changes(connection)
        handle = await connection.wait_driver()
        await changes.next()
        call = asyncio.create_task(grow(handle))
        await wait_until(lambda: b"ControllerExpandVolume" in record.read_bytes())
        first.kill()
        with pytest.raises(DriverError) as caught:
            await call
        assert caught.value.code == "UNAVAILABLE"
        assert await first.wait() == -signal.SIGKILL
        assert await changes.next() == "lost"
        plan.write_text("{}")
        second = await asyncio.create_subprocess_exec(*command)
        assert await changes.next() == handle.facts.name
        assert (await grow(handle)).capacity_bytes == 5
        second.terminate()
        assert await second.wait() == 0


async def test_closing_the_connection_under_a_call_is_uncertain(endpoint):
    """A connection that is closed by us leaves CANCELLED behind, not a task that looks cancelled."""
    driver = ScriptedDriver(Plan(answers={"ControllerExpandVolume": (Answer(hang=True),)}))
    async with driver.serve(endpoint):
        async with connected(endpoint) as connection:
            call = asyncio.create_task(grow(await connection.wait_driver()))
            await driver.wait_calls("ControllerExpandVolume", 1)
        with pytest.raises(DriverError) as caught:
            await call
    assert caught.value.code == "CANCELLED"


async def test_driver_that_is_not_ready_is_waited_for(endpoint):
    """Probe with ready=false is asked again until it is true."""
    driver = ScriptedDriver(Plan(ready_after=2))
    async with driver.serve(endpoint), connected(endpoint) as connection:
        await connection.wait_driver()
    assert len(driver.calls_of("Probe")) == 3


async def test_a_message_that_changes_is_logged_once(endpoint):
    """A driver that refuses to say who it is, with another request id each time, makes one line, not one a second."""
    answers = tuple(Answer(code="INTERNAL", message=f"request {number}") for number in range(4))
    driver = ScriptedDriver(Plan(answers={"GetPluginInfo": (*answers, Answer())}))
    with structlog.testing.capture_logs() as logs:
        async with driver.serve(endpoint), connected(endpoint) as connection:
            await connection.wait_driver()
            assert [entry["event"] for entry in logs] == ["driver.asking", "driver.connected"]
    assert len(driver.calls_of("GetPluginInfo")) == 5


async def test_hung_identity_is_asked_again(endpoint):
    """A driver that does not answer who it is has a deadline, and is served when it comes to itself."""
    driver = ScriptedDriver(Plan(answers={"GetPluginInfo": (Answer(hang=True), Answer())}))
    async with driver.serve(endpoint), connected(endpoint, timeout_s=0.3) as connection:
        await wait_phase(connection, "asking", "connected")
        await connection.wait_driver()


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(name="not a name"), "calls itself 'not a name'"),
        (Plan(plugin_capabilities=()), "no CONTROLLER_SERVICE"),
        (Plan(controller_capabilities=(), node_capabilities=()), "EXPAND_VOLUME neither"),
        (Plan(controller_capabilities=(), node_capabilities=None), "EXPAND_VOLUME neither"),
        (Plan(protocols=()), "speaks neither"),
        (Plan(protocols=("v0",), requires_fs_resize=None), "without RequiresFSResize"),
    ],
)
async def test_unusable_drivers_are_named_and_not_served(endpoint, plan, reason):
    """What answers but cannot grow volumes is said once, with the cause, and never handed out."""
    with structlog.testing.capture_logs() as logs:
        async with ScriptedDriver(plan).serve(endpoint), connected(endpoint) as connection:
            await wait_phase(connection, "unusable")
            assert reason in connection.state.reason
            assert connection.driver is None
    assert [entry["log_level"] for entry in logs if entry["event"] == "driver.unusable"] == ["error"]


def test_malformed_address_is_said_at_once():
    """An address that can never work fails when the connection is made, not in the background."""
    with pytest.raises(MalformedAddressError, match="only unix sockets"):
        DriverConnection("tcp://1.2.3.4:5", timeout_s=1, telemetry=Recorder())
