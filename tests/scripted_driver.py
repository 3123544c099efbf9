"""A CSI driver that answers what a plan says and writes down what it was asked: a real gRPC server on a real socket.

In process:

    plan = Plan(answers={"ControllerExpandVolume": (Answer(code="ABORTED"), Answer(node_expansion_required=True))})
    driver = ScriptedDriver(plan)
    async with driver.serve(f"unix://{socket}"):
        ...
        await driver.wait_calls("ControllerExpandVolume", 2)
        driver.release("ControllerExpandVolume")           # lets calls that hang (Answer(hang=True)) go on

As a program, for tests that kill it, and beside other resizers:

    python tests/scripted_driver.py --endpoint unix:///run/x.sock --plan plan.json --record calls.jsonl

The plan is the JSON form of `Plan`; a call is one line of JSON: {"at", "method", "request"} (`at` in Unix seconds,
secrets included: they are a test's). `answers` maps a method ("ControllerExpandVolume"), or a method of one volume
("ControllerExpandVolume/vol-1", which goes first), to answers that are used call by call; the last one repeats.
Methods without a plan answer OK. Growing answers what was asked for unless `capacity_bytes` says otherwise.
SIGHUP reads the plan again.
"""

import argparse
import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass

from resizer.rpc.pb import csi_v0_pb2, csi_v1_pb2
from resizer.rpc.server import serve_unix


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer. `raw_hex` is sent instead of a message, as it is; `hang` waits for `release` or the deadline."""

    code: str = "OK"
    message: str = ""
    capacity_bytes: int | None = None
    node_expansion_required: bool | None = None
    delay_s: float = 0.0
    hang: bool = False
    raw_hex: str | None = None


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the driver is and answers. `protocols` are served on the one socket; `ready_after` counts Probe calls."""

    name: str = "scripted.csi.example.com"
    version: str = "1.0.0"
    protocols: tuple[str, ...] = ("v1",)
    plugin_capabilities: tuple[str, ...] = ("CONTROLLER_SERVICE", "ONLINE")
    controller_capabilities: tuple[str, ...] = ("EXPAND_VOLUME", "SINGLE_NODE_MULTI_WRITER")
    node_capabilities: tuple[str, ...] | None = ("EXPAND_VOLUME",)
    """None: the Node service is not served at all, as on many controllers' sockets."""
    requires_fs_resize: bool | None = True
    """None: the v0 extension is not served."""
    node_expansion_required: bool = True
    ready_after: int = 0
    answers: dict[str, tuple[Answer, ...]] = {}


class Call(msgspec.Struct, frozen=True):
    """One call as it came in. `method` is the full name, /csi.v1.Controller/ControllerExpandVolume."""

    at: float
    method: str
    request: dict[str, Any]

    @property
    def name(self) -> str:
        return self.method.rpartition("/")[2]


NODE_ONLY = Plan(controller_capabilities=(), node_capabilities=("EXPAND_VOLUME",))
V0_ONLY = Plan(protocols=("v0",))


class ScriptedDriver:
    """Answers by its plan, which may be replaced at any time; `calls` holds every call since it was made."""

    def __init__(self, plan: Plan | None = None, *, record: Callable[[Call], None] | None = None) -> None:
        self.plan = plan or Plan()
        self.calls: list[Call] = []
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight: Counter[str] = Counter()
        self._record = record
        self._used: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def serve(self, endpoint: str, *, grace_s: float = 0.0) -> AsyncIterator[Path]:
        """Serve on the socket until the block ends. May be entered again: a driver that restarts."""
        async with serve_unix(endpoint, register=self.register, grace_s=grace_s) as path:
            yield path

    def calls_of(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.name == name]

    async def wait_calls(self, name: str, count: int, *, timeout_s: float = 10.0) -> list[Call]:
        """Wait until this method has been called so often."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: len(self.calls_of(name)) >= count)
        return self.calls_of(name)

    def release(self, name: str) -> None:
        """Let calls of this method that hang, now and later, go on."""
        self._gate(name).set()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the services of the plan to a server."""
        for protocol, file in (("v1", csi_v1_pb2.DESCRIPTOR), ("v0", csi_v0_pb2.DESCRIPTOR)):
            if protocol not in self.plan.protocols:
                continue
            for service in file.services_by_name.values():
                handlers = {m.name: self._handler(m) for m in service.methods if self._serves(service.name, m.name)}
                server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))

    def _serves(self, service: str, method: str) -> bool:
        if service == "Node" and self.plan.node_capabilities is None:
            return False
        return not (method in ("RequiresFSResize", "ControllerResizeVolume") and self.plan.requires_fs_resize is None)

    def _handler(self, method: Any) -> grpc.RpcMethodHandler:
        service = method.containing_service.full_name
        response = GetMessageClass(method.output_type)

        async def behaviour(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            await self._note(f"/{service}/{method.name}", request)
            self.in_flight[method.name] += 1
            self.most_in_flight[method.name] = max(self.most_in_flight[method.name], self.in_flight[method.name])
            try:
                return await self._answer(method.name, request, response, context)
            finally:
                self.in_flight[method.name] -= 1

        # No serializer: answers are bytes, so that a plan can send what is no message.
        return grpc.unary_unary_rpc_method_handler(
            behaviour, request_deserializer=GetMessageClass(method.input_type).FromString
        )

    async def _note(self, method: str, request: Any) -> None:
        call = Call(time.time(), method, MessageToDict(request, preserving_proto_field_name=True))
        self.calls.append(call)
        if self._record is not None:
            self._record(call)
        async with self._changed:
            self._changed.notify_all()

    def _next(self, name: str, request: Any) -> Answer:
        own = f"{name}/{getattr(request, 'volume_id', '')}"
        key = own if own in self.plan.answers else name
        answers = self.plan.answers.get(key) or (Answer(),)
        used = self._used[key]
        self._used[key] += 1
        return answers[min(used, len(answers) - 1)]

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def _answer(self, name: str, request: Any, response: Any, context: Any) -> bytes:
        answer = self._next(name, request)
        if answer.delay_s:
            await asyncio.sleep(answer.delay_s)
        if answer.hang:
            await self._gate(name).wait()
        if answer.code != "OK":
            await context.abort(grpc.StatusCode[answer.code], answer.message)
        if answer.raw_hex is not None:
            return bytes.fromhex(answer.raw_hex)
        message = response()
        fill = getattr(self, f"_fill_{name}", None)
        if fill is not None:
            fill(message, request, answer)
        return message.SerializeToString()

    # What an OK says, by method; the protocols' messages share the field names used here.

    def _fill_GetPluginInfo(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802 -- the RPC's name
        del request, answer
        message.name, message.vendor_version = self.plan.name, self.plan.version

    def _fill_Probe(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        del request, answer
        if "ready" in message.DESCRIPTOR.fields_by_name:
            message.ready.value = self._used["Probe"] > self.plan.ready_after

    def _fill_GetPluginCapabilities(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        del request, answer
        for name in self.plan.plugin_capabilities:
            capability = message.capabilities.add()
            if name in ("ONLINE", "OFFLINE"):
                capability.volume_expansion.type = csi_v1_pb2.PluginCapability.VolumeExpansion.Type.Value(name)
            else:
                capability.service.type = csi_v1_pb2.PluginCapability.Service.Type.Value(name)

    def _fill_ControllerGetCapabilities(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        del request, answer
        types = message.DESCRIPTOR.fields_by_name["capabilities"].message_type.nested_types_by_name["RPC"]
        for name in self.plan.controller_capabilities:
            number = types.enum_types_by_name["Type"].values_by_name.get(name)
            if number is not None:
                message.capabilities.add().rpc.type = number.number

    def _fill_NodeGetCapabilities(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        del request, answer
        types = message.DESCRIPTOR.fields_by_name["capabilities"].message_type.nested_types_by_name["RPC"]
        for name in self.plan.node_capabilities or ():
            number = types.enum_types_by_name["Type"].values_by_name.get(name)
            if number is not None:
                message.capabilities.add().rpc.type = number.number

    def _fill_ControllerExpandVolume(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        self._fill_NodeExpandVolume(message, request, answer)
        needed = answer.node_expansion_required
        message.node_expansion_required = self.plan.node_expansion_required if needed is None else needed

    def _fill_NodeExpandVolume(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        asked = request.capacity_range.required_bytes
        message.capacity_bytes = asked if answer.capacity_bytes is None else answer.capacity_bytes

    def _fill_ControllerResizeVolume(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        self._fill_NodeExpandVolume(message, request, answer)

    def _fill_NodeResizeVolume(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        self._fill_NodeExpandVolume(message, request, answer)

    def _fill_RequiresFSResize(self, message: Any, request: Any, answer: Answer) -> None:  # noqa: N802
        del request, answer
        message.requires_fs_resize = bool(self.plan.requires_fs_resize)


def _read_plan(path: Path | None) -> Plan:
    return msgspec.json.decode(path.read_bytes(), type=Plan) if path else Plan()


async def _serve_until_signal(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    with contextlib.ExitStack() as stack:
        record: Callable[[Call], None] | None = None
        if options.record:
            file = stack.enter_context(options.record.open("ab", buffering=0))

            def write(call: Call) -> None:
                file.write(msgspec.json.encode(call) + b"\n")

            record = write
        driver = ScriptedDriver(_read_plan(options.plan), record=record)

        def reload() -> None:
            driver.plan = _read_plan(options.plan)
            driver._used.clear()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload)
        async with driver.serve(options.endpoint):
            await stop.wait()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="a CSI driver that answers what a plan says")
    parser.add_argument("--endpoint", required=True, help="unix:///path/of/socket")
    parser.add_argument("--plan", type=Path, help="JSON file; SIGHUP reads it again")
    parser.add_argument("--record", type=Path, help="file that each call is appended to, one JSON object a line")
    asyncio.run(_serve_until_signal(parser.parse_args()))


if __name__ == "__main__":
    main()
