"""Readiness and liveness tell the truth: the whole program on a clock that jumps over every wait, and real sockets.

The pipeline, the development API server and a proxy between them share one event loop with fake time, so an hour
passes in a moment. Only the driver is missing: its socket is not there, which holds up nobody.
"""

import asyncio
import contextlib
import re
import signal

import aiohttp
import looptime
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from resizer.app import run_pipeline
from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.apiserver.faults import Fault
from resizer.obs.http import Endpoint, serve_http
from resizer.obs.metrics import LoopMetrics
from resizer.obs.probe import STUCK_AFTER_S, LoopWatch, Probe
from resizer.settings import load_settings
from tests.component.kube.rig import claim_body, grant, volume_body
from tests.e2e.rig import HTTP, running_rig

NOTICED_WITHIN_S = 75.0


def on_fake_time(test):
    """Run an asynchronous test on a loop whose time jumps over every wait."""

    def run(tmp_path):
        with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(_enabled=True)) as runner:
            runner.run(test(tmp_path))

    run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
    return run


class Gateway:
    """A TCP proxy before the API server: closed, it is as if the server were away, open connections included."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self._behind = port
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task] = set()

    async def open(self) -> None:
        """Accept connections (again), always on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._server is not None:
            self._server.close()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader, writer) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        for source, sink in ((reader, back_writer), (back_reader, writer)):
            pump = asyncio.ensure_future(_pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)


async def _pump(source, sink) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
    finally:
        sink.transport.abort()


class Program:
    """The pipeline under test: its pages, and what it logged."""

    def __init__(self, server: ApiServer, gateway: Gateway, port: int, lines: list) -> None:
        self.server = server
        self.gateway = gateway
        self.lines = lines
        self._port = port

    async def get(self, path: str) -> tuple[int, str]:
        """GET a page."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self._port}{path}") as answer:
            return answer.status, await answer.text()

    async def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics."""
        _, text = await self.get("/metrics")
        inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        found = re.search(rf"^{re.escape(f'{name}{{{inside}}}')} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def wait(self, path: str, status: int, *, within_s: float) -> str:
        """Wait, in fake time, until a page answers so; return its text."""
        async with asyncio.timeout(within_s):
            while (answer := await self.get(path))[0] != status:  # noqa: ASYNC110 -- only asking tells
                await asyncio.sleep(1)
        return answer[1]


@contextlib.asynccontextmanager
async def running_program(folder, *, user: str = "", groups=("system:masters",), **settings):
    """Run API server, proxy and pipeline."""
    async with ApiServer.start(tls=False) as server:
        gateway = Gateway(int(server.url.rpartition(":")[2]))
        await gateway.open()
        token = server.add_token(user, groups) if user else server.token
        server.create("", "persistentvolumeclaims", claim_body("data"))
        server.create("", "persistentvolumes", volume_body("pv-data"))
        server.kubeconfig(folder / "kubeconfig", token=token)
        chosen = {
            "kubeconfig": str(folder / "kubeconfig"),
            "master": f"http://127.0.0.1:{gateway.port}",
            "csi_address": str(folder / "absent.sock"),
            "http_endpoint": "127.0.0.1:0",
            **settings,
        }
        stop = asyncio.Event()
        with capture_logs() as lines:
            running = asyncio.create_task(run_pipeline(load_settings(chosen), stop=stop))
            try:
                yield Program(server, gateway, await _wait_port(lines, running), lines)
            finally:
                stop.set()
                await running
                await gateway.close()


async def _wait_port(lines: list, running: asyncio.Task) -> int:
    def ports() -> list[int]:
        return [line["port"] for line in lines if line["event"] == "http.serving"]

    async with asyncio.timeout(30):
        while not ports():
            assert not running.done(), await running
            await asyncio.sleep(0.01)
    return ports()[0]


CLAIMS = "persistentvolumeclaims"


@on_fake_time
async def test_a_silent_watch_is_noticed_within_75_seconds(tmp_path):
    """The server accepts watches of claims and never speaks again: /readyz and the metrics say so, then all is well."""
    clock = asyncio.get_running_loop().time
    async with running_program(tmp_path) as program:
        await program.wait("/readyz", 200, within_s=30)
        fault = program.server.faults.add(Fault(kind="silent", resource=CLAIMS))
        began_s = clock()
        text = await program.wait("/readyz", 503, within_s=120)
        noticed_s = clock() - began_s

        assert noticed_s < NOTICED_WITHIN_S
        assert f"{CLAIMS}: the watch has shown no life for" in text
        assert await program.metric("resizer_watch_age_seconds", resource=CLAIMS) > 70
        assert await program.metric("resizer_watch_restarts_total", resource=CLAIMS, reason="silent") == 1
        assert await program.metric("resizer_watch_age_seconds", resource="persistentvolumes") < 70
        assert [line["resource"] for line in program.lines if line["event"] == "watch.silent"] == [CLAIMS]
        assert (await program.get("/healthz"))[0] == 200

        program.server.faults.remove(fault.id)
        await program.wait("/readyz", 200, within_s=90)


@on_fake_time
async def test_a_quiet_cluster_is_not_a_silent_watch(tmp_path):
    """Twenty minutes in which nothing changes: bookmarks keep the watches known to be alive, and us ready."""
    async with running_program(tmp_path) as program:
        await program.wait("/readyz", 200, within_s=30)
        for _ in range(120):
            await asyncio.sleep(10)
            status, text = await program.get("/readyz")
            assert status == 200, text
        assert await program.metric("resizer_watch_restarts_total", resource=CLAIMS, reason="silent") == 0


@on_fake_time
async def test_an_api_server_away_for_an_hour_costs_readiness_only(tmp_path):
    """Connections refused for an hour: alive all the time, not ready, caches kept; back, all is well in a minute."""
    async with running_program(tmp_path) as program:
        await program.wait("/readyz", 200, within_s=30)
        await program.gateway.close()
        for _ in range(60):
            await asyncio.sleep(60)
            for path in ("/healthz", "/healthz/leader-election"):
                assert (await program.get(path))[0] == 200
        assert (await program.get("/readyz"))[0] == 503
        for resource in (CLAIMS, "persistentvolumes"):
            assert await program.metric("resizer_cache_objects", resource=resource) == 1
            assert await program.metric("resizer_watch_age_seconds", resource=resource) > 3500
        failures = [line for line in program.lines if line["event"] == "watch.failed"]
        assert len(failures) == 2, "said once for each watch, not once for each try"

        await program.gateway.open()
        await program.wait("/readyz", 200, within_s=60)


@on_fake_time
async def test_a_right_that_is_granted_later_is_noticed(tmp_path):
    """Not ready for want of a right that nothing has used yet; ready soon after somebody granted it."""
    reads = ["get", "list", "watch"]
    async with running_program(tmp_path, user="sa", groups=()) as program:
        grant(program.server, "sa", [{"apiGroups": [""], "resources": [CLAIMS], "verbs": reads}])
        grant(program.server, "sa", [{"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": reads}])
        grant(program.server, "sa", [{"apiGroups": [""], "resources": [f"{CLAIMS}/status"], "verbs": ["patch"]}])
        await asyncio.sleep(60)
        status, text = await program.get("/readyz")
        assert status == 503
        assert "the right to patch persistentvolumes is missing" in text
        grant(program.server, "sa", [{"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["patch"]}])
        await program.wait("/readyz", 200, within_s=11)


async def test_a_stuck_event_loop_turns_liveness_red():
    """The loop's beat is late by more than it may be: 503, with the reason; green again once it beats."""
    now_s = 100.0
    watch = LoopWatch(LoopMetrics(CollectorRegistry()), monotonic=lambda: now_s)
    liveness = Probe()
    liveness.add("event-loop", watch.check)
    endpoint = Endpoint(
        registry=CollectorRegistry(), liveness=liveness, readiness=Probe(), leader_election=Probe(), state=dict
    )
    async with serve_http("127.0.0.1:0", endpoint) as port, aiohttp.ClientSession() as session:

        async def ask() -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                return answer.status, await answer.text()

        assert (await ask())[0] == 200
        now_s += STUCK_AFTER_S + 1
        status, text = await ask()
        assert status == 503
        assert "the event loop is 16 s late" in text
        beating = asyncio.create_task(watch.run())
        await asyncio.sleep(0)
        assert (await ask())[0] == 200
        beating.cancel()


async def test_a_process_that_does_not_run_answers_no_probe(tmp_path):
    """Stopped altogether, /healthz gives no answer, which a kubelet counts as red; running again, it does."""
    async with running_rig(tmp_path) as rig:
        process = await rig.start_resizer(HTTP)
        await rig.wait_http(process, "/healthz", 200)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await rig.http(process, "/healthz", timeout_s=1.0)
        process.send_signal(signal.SIGCONT)
        await rig.wait_http(process, "/healthz", 200)
