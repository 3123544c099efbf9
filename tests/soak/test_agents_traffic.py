"""What an agent receives does not grow with claims that are not its own: counted on the wire, 100 agents."""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from resizer.core.node_label import node_label
from resizer.devcluster.apiserver import ApiServer
from resizer.kube.client import KubeClient, KubeOptions

pytestmark = pytest.mark.soak
AGENTS = 100
FEW, MANY = 500, 5000


class Meter:
    """Passes bytes on to the API server and counts what comes back."""

    def __init__(self, port: int) -> None:
        self.received = 0
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(self._pass_on(reader, to_server, counted=False))
        self._tasks.add(up)
        up.add_done_callback(self._tasks.discard)
        await self._pass_on(from_server, writer, counted=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while data := await reader.read(1 << 16):
                self.received += len(data) if counted else 0
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def metered_agent(server: ApiServer, folder: Path, node: str) -> AsyncIterator[tuple[Meter, KubeClient]]:
    """What an agent has open: a watch of its own claims, through a meter."""
    port = int(server.url.rpartition(":")[2])
    meter = Meter(port)
    proxy = await asyncio.start_server(meter.connected, "127.0.0.1", 0)
    kubeconfig = folder / f"{node}.kubeconfig"
    server.kubeconfig(kubeconfig)
    text = await asyncio.to_thread(kubeconfig.read_text)
    own = proxy.sockets[0].getsockname()[1]
    await asyncio.to_thread(kubeconfig.write_text, text.replace(f":{port}", f":{own}"))
    kube = await KubeClient.open(
        KubeOptions(kubeconfig=kubeconfig, claim_selector=node_label(node), watch_volumes=False)
    )
    sources = asyncio.create_task(kube.run_sources())
    try:
        await kube.wait_synced()
        yield meter, kube
    finally:
        sources.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sources
        await kube.close()
        proxy.close()


def claim(number: int, node: str = "") -> dict[str, object]:
    labels = {node_label(node): ""} if node else {}
    return {
        "metadata": {"name": f"c{number}", "namespace": "default", "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


async def _received(tmp_path: Path, foreign: int) -> tuple[float, int]:
    """Bytes an agent received, median of all, with so many claims of others made before and while it watched."""
    async with ApiServer.start() as server, contextlib.AsyncExitStack() as stack:
        for number in range(foreign // 2):
            server.create("", "persistentvolumeclaims", claim(number))
        agents = [
            await stack.enter_async_context(metered_agent(server, tmp_path, f"node-{number}"))
            for number in range(AGENTS)
        ]
        for number in range(foreign // 2, foreign):
            server.create("", "persistentvolumeclaims", claim(number))
            if number % 50 == 0:
                await asyncio.sleep(0)  # the server's watches take their turn
        for number in range(AGENTS):
            server.create("", "persistentvolumeclaims", claim(foreign + number, f"node-{number}"))
        async with asyncio.timeout(60):
            for number, (_, kube) in enumerate(agents):
                key = f"default/c{foreign + number}"
                while kube.store.claim(key) is None:  # noqa: ASYNC110 -- seen through its own watch, in order
                    await asyncio.sleep(0.01)
        held = max(len(kube.store.claim_shelf) for _, kube in agents)
        return statistics.median(meter.received for meter, _ in agents), held


@pytest.mark.timeout(240)
async def test_an_agent_receives_its_own_claims_only(tmp_path, capsys):
    """Ten times as many claims of others cost each agent no more bytes; it holds its own claim and no other."""
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    few, held_few = await _received(tmp_path / "few", FEW)
    many, held_many = await _received(tmp_path / "many", MANY)
    with capsys.disabled():
        print(f"\n{AGENTS} agents: {few:.0f} bytes each beside {FEW} claims, {many:.0f} beside {MANY}", end="")  # noqa: T201
    assert held_few == held_many == 1
    assert many < few * 1.2
