"""Finding a driver's node socket, by real registrars on real sockets."""

import contextlib
import socket

import grpc
import pytest

from resizer.csi.telemetry import NullCsiTelemetry
from resizer.node.driver_socket import DriverNotFoundError, SocketFinder
from resizer.rpc.pb import plugin_registration_pb2 as pb
from resizer.rpc.pb import plugin_registration_pb2_grpc as stubs
from resizer.rpc.server import serve_unix
from tests.scripted_driver import Plan, ScriptedDriver


class Registrar(stubs.RegistrationServicer):
    """Says what it is told to say, and counts."""

    def __init__(self, info: pb.PluginInfo) -> None:
        self.info = info
        self.asked = 0
        self.notified = 0

    async def GetInfo(self, request, context):  # noqa: ARG002, N802 -- gRPC's
        self.asked += 1
        return self.info

    async def NotifyRegistrationStatus(self, request, context):  # noqa: ARG002, N802 -- gRPC's
        self.notified += 1
        return pb.RegistrationStatusResponse()


@contextlib.asynccontextmanager
async def registered(folder, name, *, endpoint="", type_="CSIPlugin", file=""):
    registry = folder / "plugins_registry"
    registry.mkdir(exist_ok=True)
    registrar = Registrar(pb.PluginInfo(type=type_, name=name, endpoint=endpoint, supported_versions=["1.0.0"]))

    def register(server: grpc.aio.Server) -> None:
        stubs.add_RegistrationServicer_to_server(registrar, server)

    async with serve_unix(f"unix://{registry}/{file or name}-reg.sock", register=register, grace_s=0.1):
        yield registrar


def finder(folder, *addresses):
    return SocketFinder(folder, addresses=addresses, telemetry=NullCsiTelemetry())


async def test_the_registration_says_where_the_driver_answers(folder):
    """Asked once, remembered until a call fails; the kubelet's word of registration is never spoken for it."""
    async with registered(folder, "d.csi", endpoint="/x/csi.sock") as one, registered(folder, "e.csi", endpoint="/y"):
        find = finder(folder)
        assert (await find.find("d.csi")).address == "/x/csi.sock"
        assert (await find.find("e.csi")).address == "/y"
        await find.find("d.csi")
        assert (one.asked, one.notified) == (1, 0)
        one.info.endpoint = "/moved"
        find.forget("d.csi")
        assert (await find.find("d.csi")).address == "/moved"


async def test_an_empty_endpoint_is_the_registrars_own_socket(folder):
    """As the kubelet reads it: the driver answers on the socket that was asked."""
    async with registered(folder, "d.csi"):
        assert (await finder(folder).find("d.csi")).address == str(folder / "plugins_registry/d.csi-reg.sock")


@pytest.mark.parametrize("protocol", ["v1", "v0"])
async def test_a_socket_given_by_a_flag_is_asked_for_its_name(folder, protocol):
    """It goes before a registration of the same driver."""
    path = folder / "own.sock"
    driver = ScriptedDriver(Plan(name="d.csi", protocols=(protocol,)))
    async with driver.serve(f"unix://{path}"), registered(folder, "d.csi", endpoint="/other"):
        assert (await finder(folder, str(path)).find("d.csi")).address == str(path)


async def test_what_is_no_driver_is_named_and_passed_over(folder):
    """A device plugin, a bad name, a socket that nobody serves, a plain file: the one good driver is found."""
    registry = folder / "plugins_registry"
    registry.mkdir()
    (registry / "file-reg.sock").write_text("")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(registry / "dead-reg.sock"))
    async with (
        registered(folder, "gpu.example.com", type_="DevicePlugin"),
        registered(folder, "not a name", file="odd"),
        registered(folder, "far.csi", endpoint="tcp://10.0.0.1:1"),
        registered(folder, "d.csi", endpoint="/x"),
    ):
        assert (await finder(folder).find("d.csi")).address == "/x"
        with pytest.raises(DriverNotFoundError) as caught:
            await finder(folder).find("missing.csi")
    text = str(caught.value)
    assert text.startswith("no node plugin of driver missing.csi answers on this node")
    assert "--csi-address" in text
    for word in ("dead-reg.sock", "registers a DevicePlugin", "'not a name'"):
        assert word in text


async def test_no_registry_at_all_is_one_clear_line(folder):
    """The text says where was looked and what to do."""
    with pytest.raises(DriverNotFoundError, match=r"plugins_registry/\*-reg\.sock is there"):
        await finder(folder).find("d.csi")
