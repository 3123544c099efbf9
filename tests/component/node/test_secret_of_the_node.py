"""Statement 10 on the node: what a node plugin quotes of its credentials goes no further."""

import pytest

from resizer.csi.telemetry import NullCsiTelemetry
from resizer.model.errors import DriverError
from resizer.model.objects import Volume
from resizer.node.driver_socket import NodeSocket
from resizer.node.plugin import open_node_plugin
from resizer.node.published import Published
from tests.scripted_driver import Answer, Plan, ScriptedDriver

SECRETS = {"user": "planted-node-user", "key": "planted line one\nplanted+line/two="}


async def test_what_the_node_plugin_quotes_is_taken_out(tmp_path):
    """A NodeExpandVolume that fails with its request in the text yields an error without the secret's values."""
    text = f"cannot grow as {SECRETS['user']} with {SECRETS['key']!r} (planted%2Bline%2Ftwo%3D)"
    driver = ScriptedDriver(Plan(answers={"NodeExpandVolume": (Answer(code="INTERNAL", message=text),)}))
    volume = Volume(
        name="pv", uid="u", version="1", driver=driver.plan.name, handle="h", access_modes=("ReadWriteOnce",)
    )
    place = Published("pod", str(tmp_path / "mount"), str(tmp_path / "staging"))
    socket = NodeSocket(driver.plan.name, f"unix://{tmp_path}/csi.sock")
    async with (
        driver.serve(socket.address),
        open_node_plugin(socket, telemetry=NullCsiTelemetry(), timeout_s=5) as plugin,
    ):
        with pytest.raises(DriverError) as caught:
            await plugin.expand(volume, place, size_bytes=2 << 30, secrets=SECRETS)
    assert driver.calls_of("NodeExpandVolume")[0].request["secrets"] == SECRETS
    assert caught.value.message.startswith("cannot grow as [redacted] with ")
    assert "planted" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
