import asyncio
import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from tests.component.pipeline.rig import GIB, NAMESPACE, Rig, is_grown, running_rig
from tests.scripted_driver import Answer, Plan

EXPAND = "ControllerExpandVolume"
SLOW = {"retry_interval_start": "2m", "retry_interval_max": "5m"}
GOOD = Plan(node_expansion_required=False)
TEN_MEGABYTES = 10 * 1024 * 1024
BAD_ANSWERS = [
    pytest.param(Answer(capacity_bytes=0), "driver-bug", "reports 0 bytes", id="zero"),
    pytest.param(Answer(capacity_bytes=4 * GIB), "driver-bug", "reports 4294967296 bytes", id="less"),
    pytest.param(Answer(capacity_bytes=-1), "driver-bug", "reports -1 bytes", id="negative"),
    pytest.param(Answer(code="INTERNAL", message="\x00\x1b[2J\u202egarbage\n\n"), "internal", "garbage", id="garbage"),
    pytest.param(Answer(code="INTERNAL", message=""), "internal", "Internal", id="no text"),
    pytest.param(Answer(code="INTERNAL", message="x" * TEN_MEGABYTES), "internal|transient", "rpc error", id="10 MB"),
    pytest.param(Answer(raw_hex="ff" * 16), "transient", "cannot be decoded", id="no message"),
    pytest.param(Answer(raw_hex="00" * TEN_MEGABYTES), "transient", "rpc error", id="10 MB answer"),
]


async def check_explained(rig: Rig, class_: str, said: str) -> None:
    """One call or none more, one event, few patches, a class in the state, and no news while time passes."""
    await rig.wait(lambda: bool(rig.logged("claim.looked_at")))
    await rig.wait(lambda: rig.events().count("Warning/VolumeResizeFailed") == 1)
    written = rig.server.audit.count(verb="patch", resource="persistentvolumeclaims")
    await rig.wait_quiet(0.4)
    (state,) = (await rig.debug_state())["claims"]
    assert state["class"] in class_.split("|")
    assert state["failures"] == 1
    text = rig.event_messages()
    assert said in text
    assert len(text) < 4096
    assert text.replace("\n", "").isprintable()
    assert rig.server.audit.count(verb="patch", resource="persistentvolumeclaims") == written <= 2
    assert rig.volume()["spec"]["capacity"]["storage"] == "3Gi", "the volume object is left as it was"
    assert rig.claim()["status"]["capacity"]["storage"] == "3Gi"


def has_error_condition(rig: Rig) -> bool:
    return any(c["type"] == "ControllerResizeError" for c in rig.claim()["status"]["conditions"])


@pytest.mark.parametrize(("answer", "class_", "said"), BAD_ANSWERS)
async def test_what_a_driver_should_not_answer(folder, answer, class_, said):
    """An answer that makes no sense is one call, one event and an explained state; the next wish starts afresh."""
    plan = Plan(node_expansion_required=False, answers={EXPAND: (answer, Answer())})
    async with running_rig(folder, plan) as rig:
        rig.seed()
        rig.start(**SLOW)
        await check_explained(rig, class_, said)
        assert rig.sizes() == [5 * GIB]
        (state,) = (await rig.debug_state())["claims"]
        assert has_error_condition(rig) is (state["class"] != "transient"), "an unknown outcome is no error"
        rig.ask("6Gi")
        await rig.wait(is_grown(rig, "6Gi"))


@pytest.mark.parametrize(("granted", "shown"), [(7 * GIB, "7Gi"), (2**63 - 1, "9223372036854775807")])
async def test_a_driver_may_grant_more(folder, granted, shown):
    """More than asked is a growth like any other: volume and claim show what was granted, and nothing is repeated."""
    async with running_rig(
        folder, Plan(node_expansion_required=False, answers={EXPAND: (Answer(capacity_bytes=granted),)})
    ) as rig:
        rig.seed()
        rig.start()
        await rig.wait(is_grown(rig, shown))
        await rig.wait_quiet(0.4)
        assert rig.sizes() == [5 * GIB]
        assert rig.volume()["spec"]["capacity"]["storage"] == shown


class _Garbling(grpc.GenericRpcHandler):
    """Hands every call on to a real driver, but fails growths with bytes that are no UTF-8 in the message.

    A server of its own kind: the asynchronous one does not let such bytes out.
    """

    def __init__(self, driver: grpc.Channel) -> None:
        self._driver = driver

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler:
        method = handler_call_details.method

        def behave(request: bytes, context: Any) -> bytes:
            if method.endswith(EXPAND):
                context.abort(grpc.StatusCode.INTERNAL, b"caf\xe9 \xff\xfe\x80 broken")
            answer: bytes = self._driver.unary_unary(method)(request, timeout=5)
            return answer

        return grpc.unary_unary_rpc_method_handler(behave)


async def test_invalid_utf8_in_an_error(folder):
    """Bytes that are no text in a driver's error are made readable, and the failure keeps its code."""
    async with running_rig(folder, GOOD) as rig:
        rig.seed()
        server = grpc.server(ThreadPoolExecutor(4))
        with grpc.insecure_channel(f"unix:{rig.socket(rig.driver)}") as channel:
            server.add_generic_rpc_handlers((_Garbling(channel),))
            server.add_insecure_port(f"unix:{folder}/garbling.sock")
            server.start()
            try:
                rig.start(csi_address=[f"{folder}/garbling.sock"], **SLOW)
                await check_explained(rig, "internal", "broken")
                assert has_error_condition(rig)
                await rig.stop()
            finally:
                await asyncio.to_thread(server.stop(0).wait)


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ({"data": {"password": "/////w=="}}, "no base64 of UTF-8 text"),
        ({"data": {"password": 5}}, "cannot be read"),
        ({"data": "text"}, "cannot be read"),
        (None, "not found"),
    ],
    ids=["no text", "number", "no mapping", "missing"],
)
async def test_a_secret_of_the_wrong_shape(folder, secret, said):
    """Without its secret a volume is not called for: one event names the secret, and nothing is taken for failed."""
    async with running_rig(folder, GOOD) as rig:
        if secret is not None:
            document = {
                "metadata": {"name": "odd", "namespace": NAMESPACE, "uid": "u", "resourceVersion": "1"},
                **secret,
            }
            rig.server.inject("", "secrets", "odd", json.dumps(document).encode(), namespace=NAMESPACE)
        rig.seed(secret="odd")
        rig.start(**SLOW)
        await check_explained(rig, "not-called", said)
        assert "secret odd in namespace default" in rig.event_messages()
        assert rig.sizes() == []
        assert not has_error_condition(rig)
        assert "password" not in rig.event_messages() + json.dumps(rig.logs, default=str)


NONSENSE = [
    {"csi-resizer.dev/retry": "tomorrow"},
    {"csi-resizer.dev/retry": '{"class":"quota","target":"5Gi","notBefore":"9999-12-31T00:00:00Z"}'},
    {"csi-resizer.dev/retry": '{"class":{"a":[]},"target":5,"notBefore":-1}'},
    {"csi-resizer.dev/retry": "[" * 10_000},
    {"volume.kubernetes.io/storage-resizer": "nobody \u202e"},
    {"volume.kubernetes.io/node-expansion-not-required": "banana"},
]


@pytest.mark.parametrize("annotations", NONSENSE, ids=range(len(NONSENSE)))
async def test_a_claim_annotated_by_hand_with_nonsense(folder, annotations):
    """Annotations of ours that somebody else wrote, whatever they say, neither stop a growth nor repeat it."""
    async with running_rig(folder, GOOD) as rig:
        rig.seed(annotations=annotations)
        rig.start(**SLOW)
        await rig.wait(is_grown(rig))
        await rig.wait_quiet(0.3)
        assert rig.sizes() == [5 * GIB]
        assert "csi-resizer.dev/retry" not in rig.claim()["metadata"].get("annotations", {})


async def test_a_wait_that_another_process_recorded_is_shown_as_what_it_is(folder):
    """After a change of leader nobody is paged for a claim that its provider lets wait: metrics and state name it."""
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=14)).strftime("%Y-%m-%dT%H:%M:%SZ")
    wait = json.dumps({"class": "rate-limited", "target": "5Gi", "notBefore": until})
    async with running_rig(folder, GOOD) as rig:
        rig.seed(annotations={"csi-resizer.dev/retry": wait})
        rig.start(**SLOW)
        await rig.wait(lambda: bool(rig.server.audit.count(resource="persistentvolumes", verb="watch")))
        while not (states := (await rig.debug_state())["claims"]):  # noqa: ASYNC110 -- another task's state
            await asyncio.sleep(0.02)
        assert (states[0]["class"], rig.sizes()) == ("rate-limited", [])
        _, metrics = await rig.fetch("/metrics")
        assert 'resizer_claim_pending_since_timestamp_seconds{class="rate-limited"' in metrics


async def test_a_claim_that_cannot_be_read_stops_no_other(folder):
    """A claim whose sizes are no quantities is skipped, and said once; the others grow."""
    async with running_rig(folder, GOOD) as rig:
        rig.seed("odd")
        document = rig.claim("odd")
        document["spec"]["resources"]["requests"]["storage"] = "banana"
        document["metadata"]["resourceVersion"] = str(rig.server.store.revision + 1)
        rig.server.inject("", "persistentvolumeclaims", "odd", json.dumps(document).encode(), namespace=NAMESPACE)
        rig.seed()
        rig.start()
        await rig.wait(is_grown(rig))
        assert rig.sizes("odd") == []


DROPPED = ("status.allocatedResources", "status.allocatedResourceStatuses")


@pytest.mark.parametrize("dropped", [DROPPED, DROPPED[:1], DROPPED[1:]], ids=["both", "sizes", "states"])
async def test_an_api_server_that_drops_the_recovery_fields(folder, dropped):
    """Kubernetes before 1.32: no driver is called; one event a claim, one log line with the gate, /readyz red.

    When the server keeps the fields the next wish is grown, and /readyz is green again.
    """
    async with running_rig(folder, GOOD) as rig:
        rig.server.engine.dropped_fields["persistentvolumeclaims"] = dropped
        names = ("data", "second", "third")
        for name in names:
            rig.seed(name)
        rig.start()
        await rig.wait(lambda: all(rig.events(name) for name in names))
        await rig.wait_quiet(0.6)
        assert [rig.events(name) for name in names] == [["Warning/VolumeResizeFailed"]] * 3
        assert rig.driver.calls_of(EXPAND) == []
        (line,) = rig.logged("kubernetes.fields_dropped")
        assert "RecoverVolumeExpansionFailure" in line["reason"]
        status, text = await rig.fetch("/readyz?verbose")
        assert (status, "RecoverVolumeExpansionFailure" in text) == (503, True)

        rig.server.engine.dropped_fields.clear()
        for name in names:
            rig.ask("6Gi", name)
        await rig.wait(lambda: all(is_grown(rig, "6Gi", name)() for name in names))
        assert (await rig.fetch("/readyz"))[0] == 200
