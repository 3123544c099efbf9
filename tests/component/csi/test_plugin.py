"""A growth through a real gRPC server: what is sent, what comes back, what every kind of failure becomes."""

import asyncio
import gc
import json
import weakref
from pathlib import Path

import pytest

from resizer.csi.interrogation import UnusableDriverError, valid_name
from resizer.model.errors import DriverError, NotCalledError
from resizer.model.objects import Volume
from tests.component.csi.csi_recorder import Recorder, connected
from tests.scripted_driver import NODE_ONLY, V0_ONLY, Answer, Plan, ScriptedDriver

GIB = 2**30
VOLUME = Volume(
    name="pv-1",
    uid="u",
    version="1",
    driver="scripted.csi.example.com",
    handle="vol-1",
    fs_type="ext4",
    access_modes=("ReadWriteOnce",),
    mount_options=("noatime",),
)
SECRETS = {"user": "orain", "key": "s3cr3t-value\nsecond-line-of-key"}


async def grow(driver, *, volume: Volume = VOLUME, size: int = 5 * GIB, secrets=SECRETS):
    return await driver.expand_volume_device(volume, new_size_bytes=size, old_size_bytes=3 * GIB, secrets=secrets)


async def fail(endpoint: str, answer: Answer, *, timeout_s: float = 5.0) -> DriverError:
    driver = ScriptedDriver(Plan(answers={"ControllerExpandVolume": (answer,)}))
    async with driver.serve(endpoint), connected(endpoint, timeout_s=timeout_s) as connection:
        handle = await connection.wait_driver()
        with pytest.raises(DriverError) as caught:
            await grow(handle)
    return caught.value


async def test_request_says_what_the_peer_says(endpoint):
    """Handle, required_bytes alone, secrets, and the capability with its mount flags reach the driver."""
    recorder = Recorder()
    driver = ScriptedDriver()
    async with driver.serve(endpoint), connected(endpoint, recorder=recorder) as connection:
        plugin = await connection.wait_driver()
        answer = await grow(plugin)
    assert (answer.capacity_bytes, answer.node_expansion_required) == (5 * GIB, True)
    [call] = driver.calls_of("ControllerExpandVolume")
    assert call.request == {
        "volume_id": "vol-1",
        "capacity_range": {"required_bytes": str(5 * GIB)},
        "secrets": SECRETS,
        "volume_capability": {
            "mount": {"fs_type": "ext4", "mount_flags": ["noatime"]},
            "access_mode": {"mode": "SINGLE_NODE_MULTI_WRITER"},
        },
    }
    assert recorder.calls[0] == ("unknown-driver", "GetPluginInfo", "OK")
    assert recorder.calls[-1] == ("scripted.csi.example.com", "ControllerExpandVolume", "OK")
    assert "s3cr3t" not in f"{plugin!r} {connection!r} {connection.state!r} {vars(plugin)!r}"


async def test_the_peers_recorded_calls(endpoint):
    """For every volume of the recorded cases that names modes, fs or flags, our call is the peer's call."""
    recorded = [json.loads(line) for line in (Path(__file__).parent / "peer_calls.jsonl").read_text().splitlines()]
    driver = ScriptedDriver()
    async with driver.serve(endpoint), connected(endpoint) as connection:
        plugin = await connection.wait_driver()
        for case in recorded:
            driver.calls.clear()
            volume = Volume(
                name="pv",
                uid="u",
                version="1",
                handle="h",
                fs_type=case["fs"],
                volume_mode=case["mode"],
                access_modes=tuple(case["modes"]),
                mount_options=tuple(case["flags"]),
            )
            if case["call"] is None:
                with pytest.raises(NotCalledError):
                    await grow(plugin, volume=volume, secrets={})
                assert not driver.calls
                continue
            await grow(plugin, volume=volume, secrets={})
            capability = driver.calls[0].request["volume_capability"]
            kind = "block" if "block" in capability else "mount"
            mount = capability.get("mount", {})
            sent = [capability["access_mode"]["mode"], kind, mount.get("fs_type", ""), mount.get("mount_flags", [])]
            assert sent == case["call"], case
    assert len(recorded) == 7


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "ABORTED", "RESOURCE_EXHAUSTED", "CANCELLED", "INTERNAL"])
async def test_codes_come_through(endpoint, code):
    """A driver's own code and message arrive as they are."""
    error = await fail(endpoint, Answer(code=code, message="no room left"))
    assert (error.code, error.message) == (code, "no room left")


async def test_hostile_message_is_bounded_and_printable(endpoint):
    """Newlines, escape sequences, direction marks and length do no harm."""
    error = await fail(endpoint, Answer(code="INTERNAL", message="a\nb\x1b[31m\u202e<b>" + "x" * 5000))
    assert error.message.startswith("a\\nb\\x1b[31m\\u202e<b>xxx")
    assert error.message.isprintable()
    assert len(error.message) < 1100


async def test_megabytes_of_message_do_no_harm(endpoint):
    """A message beyond what HTTP/2 metadata may hold still ends as a bounded, uncertain error."""
    error = await fail(endpoint, Answer(code="ABORTED", message="y" * 10_000_000))
    assert error.code in ("RESOURCE_EXHAUSTED", "ABORTED")
    assert len(error.message) < 1100


async def test_secrets_quoted_by_the_driver_are_taken_out(endpoint):
    """A driver that puts a credential into its error text does not get it into ours, nor into a traceback."""
    error = await fail(
        endpoint, Answer(code="UNAUTHENTICATED", message="login orain/s3cr3t-value failed, line second-line-of-key")
    )
    assert error.message == "login [redacted]/[redacted] failed, line [redacted]"
    assert error.__cause__ is None
    assert error.__suppress_context__


async def test_nothing_of_a_failed_call_waits_for_the_garbage_collector(endpoint):
    """The error goes when its handler ends, and with it the request and the secrets in its traceback."""
    driver = ScriptedDriver(Plan(answers={"ControllerExpandVolume": (Answer(code="ABORTED", message="busy"),)}))
    async with driver.serve(endpoint), connected(endpoint) as connection:
        handle = await connection.wait_driver()
        gc.disable()
        try:
            try:
                await grow(handle)
            except DriverError as error:
                left = weakref.ref(error)
            assert left() is None
        finally:
            gc.enable()


async def test_hanging_driver_ends_at_the_deadline(endpoint):
    """A call that is not answered is DEADLINE_EXCEEDED (uncertain), after the time-out and not later."""
    started = asyncio.get_running_loop().time()
    error = await fail(endpoint, Answer(hang=True), timeout_s=0.3)
    assert error.code == "DEADLINE_EXCEEDED"
    assert asyncio.get_running_loop().time() - started < 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [(Answer(raw_hex="ffffffff"), "UNAVAILABLE"), (Answer(raw_hex="0a" + "00" * 5_000_000), "RESOURCE_EXHAUSTED")],
    ids=["undecodable", "too-long"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_garbage_answers_are_uncertain(endpoint, answer, code):
    """An answer nobody can read may stand for a growth that happened: never a final failure."""
    assert (await fail(endpoint, answer)).code == code


async def test_negative_and_short_capacity_are_handed_on(endpoint):
    """What a driver claims to have granted is for the core to judge, not bent on the way."""
    plan = Plan(answers={"ControllerExpandVolume": (Answer(capacity_bytes=-5), Answer(capacity_bytes=0))})
    async with ScriptedDriver(plan).serve(endpoint), connected(endpoint) as connection:
        plugin = await connection.wait_driver()
        assert (await grow(plugin)).capacity_bytes == -5
        assert (await grow(plugin)).capacity_bytes == 0


@pytest.mark.parametrize(
    ("volume", "size"),
    [
        (Volume(name="pv", uid="u", version="1", handle="", access_modes=("ReadWriteOnce",)), GIB),
        (Volume(name="pv", uid="u", version="1", handle="h", access_modes=("ReadWriteOnce",)), 2**63),
        (Volume(name="pv", uid="u", version="1", handle="h\ud800", access_modes=("ReadWriteOnce",)), GIB),
        (Volume(name="pv", uid="u", version="1", handle="h", access_modes=()), GIB),
    ],
    ids=["no handle", "beyond int64", "no UTF-8", "no mode"],
)
async def test_what_cannot_be_asked_is_not_sent(endpoint, volume, size):
    """A request that cannot be formed is NotCalledError, names the volume, and the driver sees nothing."""
    driver = ScriptedDriver()
    async with driver.serve(endpoint), connected(endpoint) as connection:
        with pytest.raises(NotCalledError, match='"pv"'):
            await grow(await connection.wait_driver(), volume=volume, size=size)
    assert not driver.calls_of("ControllerExpandVolume")


async def test_cancelled_task_stays_cancelled(endpoint):
    """A fenced or stopped worker's call ends in CancelledError, and the driver's side is told."""
    recorder = Recorder()
    driver = ScriptedDriver(Plan(answers={"ControllerExpandVolume": (Answer(hang=True),)}))
    async with driver.serve(endpoint), connected(endpoint, recorder=recorder) as connection:
        task = asyncio.create_task(grow(await connection.wait_driver()))
        await driver.wait_calls("ControllerExpandVolume", 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert recorder.calls[-1][1:] == ("ControllerExpandVolume", "Canceled")


async def test_node_only_driver(endpoint):
    """A driver without the controller's EXPAND_VOLUME is served, and its facts say that the node acts."""
    async with ScriptedDriver(NODE_ONLY).serve(endpoint), connected(endpoint) as connection:
        facts = (await connection.wait_driver()).facts
    assert (facts.controller_expansion, facts.node_expansion) == (False, True)


async def test_facts_follow_capabilities(endpoint):
    """Each capability has its fact; a controller's socket without a Node service is no obstacle."""
    plan = Plan(
        plugin_capabilities=("CONTROLLER_SERVICE", "OFFLINE"),
        controller_capabilities=("EXPAND_VOLUME", "MODIFY_VOLUME"),
        node_capabilities=None,
    )
    async with ScriptedDriver(plan).serve(endpoint), connected(endpoint) as connection:
        facts = (await connection.wait_driver()).facts
    assert facts.controller_expansion
    assert facts.node_expansion
    assert facts.modify_volume
    assert not facts.single_node_multi_writer
    assert not facts.online_expansion


@pytest.mark.parametrize("needs_node", [True, False])
async def test_the_articles_protocol(endpoint, needs_node):
    """A driver that speaks csi.v0 only is grown by ControllerResizeVolume; RequiresFSResize decides for the node."""
    plan = Plan(protocols=("v0",), requires_fs_resize=needs_node, answers={})
    driver = ScriptedDriver(plan)
    async with driver.serve(endpoint), connected(endpoint) as connection:
        plugin = await connection.wait_driver()
        answer = await grow(plugin)
        assert await plugin.requires_fs_resize(VOLUME) is needs_node
    assert plugin.facts.protocol == "v0"
    assert (answer.capacity_bytes, answer.node_expansion_required) == (5 * GIB, needs_node)
    [call] = driver.calls_of("ControllerResizeVolume")
    assert call.request["controller_resize_secrets"] == SECRETS
    assert call.request["capacity_range"] == {"required_bytes": str(5 * GIB)}


async def test_v1_is_preferred(endpoint):
    """A driver that speaks both is spoken to in csi.v1."""
    driver = ScriptedDriver(Plan(protocols=("v1", "v0")))
    async with driver.serve(endpoint), connected(endpoint) as connection:
        assert (await connection.wait_driver()).facts.protocol == "v1"
    assert not [call for call in driver.calls if call.method.startswith("/csi.v0.")]
    assert V0_ONLY.protocols == ("v0",)


@pytest.mark.parametrize("name", ["", "-a", "a.", "a_b", "a" * 64, "a/b", "a\nb", "ü"])
def test_malformed_names_are_refused(name):
    """A name that the CSI specification does not allow never becomes a label, a lease or a log field."""
    with pytest.raises(UnusableDriverError, match="driver"):
        valid_name(name)


@pytest.mark.parametrize("name", ["a", "csi-qcfsplugin", "ebs.csi.aws.com", "a" * 63, "Pure.CSI.1"])
def test_names_as_drivers_have_them(name):
    """Names that the specification allows pass as they are."""
    assert valid_name(name) == name


async def test_slow_volumes_hold_up_no_others(endpoint):
    """While fifty growths hang in the driver, fifty others of the same driver are answered."""
    slow = {f"ControllerExpandVolume/slow-{number}": (Answer(hang=True),) for number in range(50)}
    driver = ScriptedDriver(Plan(answers=slow))

    def volume(name: str) -> Volume:
        return Volume(name=name, uid=name, version="1", handle=name, access_modes=("ReadWriteOnce",))

    async with driver.serve(endpoint), connected(endpoint, timeout_s=20) as connection:
        handle = await connection.wait_driver()
        hanging = [asyncio.create_task(grow(handle, volume=volume(f"slow-{number}"))) for number in range(50)]
        await driver.wait_calls("ControllerExpandVolume", 50)
        async with asyncio.timeout(10):
            await asyncio.gather(*(grow(handle, volume=volume(f"fast-{number}")) for number in range(50)))
        assert not any(task.done() for task in hanging)
        driver.release("ControllerExpandVolume")
        assert {answer.capacity_bytes for answer in await asyncio.gather(*hanging)} == {5 * GIB}
