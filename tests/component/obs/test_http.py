import asyncio
import html
import json
import socket

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from resizer.obs.address import MalformedListenAddressError
from resizer.obs.http import EndpointError, serve_http
from resizer.obs.probe import Probe
from tests.component.obs.obs_sample import DRIVER, busy_metrics, claim, client, endpoint

HOSTILE = "<script>alert(1)</script>\x1b[2J\n\u202e&\"'"


async def test_metrics_in_both_formats():
    """Prometheus's own header gets OpenMetrics, curl gets the plain text; both carry the stages' zero series."""
    async with client(endpoint()) as session:
        async with session.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}) as answer:
            assert answer.content_type == "application/openmetrics-text"
            families = list(text_string_to_metric_families(await answer.text()))
            assert "workqueue_depth" in {family.name for family in families}
        async with session.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await answer.text()
    for stage in ("controller-resize", "node-resize", "status-patch"):
        assert f'resizer_stage_inflight{{driver="{DRIVER}",stage="{stage}"}} 0.0' in text
        assert f'resizer_stage_retries_total{{driver="{DRIVER}",stage="{stage}"}} 0.0' in text
        assert f'resizer_stage_failures_total{{class="quota",driver="{DRIVER}",stage="{stage}"}} 0.0' in text
        labels = f'driver="{DRIVER}",outcome="success",stage="{stage}"'
        assert f"resizer_stage_duration_seconds_count{{{labels}}} 0.0" in text


async def test_ten_thousand_claims_leave_nothing():
    """Claims that come and go leave /metrics at the size it began, and even while pending it is bounded."""

    async def size(session) -> int:
        async with session.get("/metrics") as answer:
            return len(await answer.read())

    metrics = busy_metrics()
    async with client(endpoint(metrics)) as session:
        before = await size(session)
        for number in range(1, 10_001):
            metrics.resizes.resize_phase(
                claim(number), driver=DRIVER, phase="controller-resize", class_="quota", since=float(number)
            )
        async with session.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        assert sum(line.startswith("resizer_claim_pending_since_timestamp_seconds{") for line in lines) == 1000
        assert "resizer_claim_pending_series_omitted 9001.0" in lines
        assert f'resizer_resizes_pending{{driver="{DRIVER}",phase="controller-resize"}} 10000.0' in lines
        for number in range(1, 10_001):
            metrics.resizes.resize_settled(claim(number), driver=DRIVER)
        assert abs(await size(session) - before) <= before * 0.05


async def test_probes_say_what_is_wrong():
    """A probe is 200 ok, or 503 with each check on a line; checks are asked each time."""
    wrong: list[str | None] = [None]
    readiness, leader = Probe(), Probe()
    readiness.add("watch/claims", lambda: wrong[0])
    readiness.add("driver", lambda: None)
    async with client(endpoint(readiness=readiness, leader_election=leader)) as session:
        async with session.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with session.get("/readyz?verbose") as answer:
            assert await answer.text() == "[+] watch/claims: ok\n[+] driver: ok\n"
        wrong[0] = "no sign of life for 80 s"
        async with session.get("/readyz") as answer:
            assert answer.status == 503
            assert "[-] watch/claims: no sign of life for 80 s\n" in await answer.text()
        for path in ("/healthz", "/livez", "/healthz/leader-election"):
            async with session.get(path) as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
        leader.add("lease", lambda: "not renewed")
        async with session.get("/healthz/leader-election") as answer:
            assert answer.status == 503


async def test_state_and_page_show_hostile_text_safely():
    """A driver's hostile message is escaped and bounded in the JSON and on the page, secrets are left out."""
    state = {
        "claims": [{"claim": "db/data-0", "reason": HOSTILE + "x" * 1_000_000, "next_try_s": 1.5}],
        "drivers": {"a": {"connected": True}},
        "token": "hunter2",
        "empty": [],
    }
    async with client(endpoint(state=lambda: state)) as session:
        async with session.get("/debug/state") as answer:
            shown = json.loads(await answer.text())
        async with session.get("/") as answer:
            assert answer.content_type == "text/html"
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            page = await answer.text()
    assert shown["token"] == "[redacted]"
    assert shown["claims"][0]["reason"].startswith("<script>alert(1)</script>\\x1b[2J\\n\\u202e&")
    assert len(shown["claims"][0]["reason"]) < 5000
    assert "<script" not in page
    assert html.escape("<script>alert(1)</script>\\x1b") in page
    assert "hunter2" not in page
    assert len(page) < 20_000
    assert '<th scope="col">Next try s</th>' in page


@pytest.mark.parametrize("path", ["/", "/debug/state"])
@pytest.mark.parametrize(
    "headers", [{"Host": "attacker.example"}, {"X-Forwarded-For": "1.2.3.4"}, {"Host": "10.0.0.7:8080"}]
)
async def test_state_is_for_this_machine_only(path, headers):
    """What a proxy hands on, or a web page asks for under a name of its own, gets 403 and the flag to set."""
    async with client(endpoint()) as session, session.get(path, headers=headers) as answer:
        assert answer.status == 403
        assert "--debug-endpoints" in await answer.text()
    async with client(endpoint(debug_open=True)) as session, session.get(path, headers=headers) as answer:
        assert answer.status == 200


async def test_a_client_from_elsewhere_is_refused():
    """A client whose address is not loopback gets no state, but gets metrics."""
    own = _own_address()
    if own is None:
        pytest.skip("this machine has no address but loopback")
    async with serve_http(":0", endpoint()) as port:
        for path, status in (("/debug/state", "403"), ("/metrics", "200")):
            reader, writer = await asyncio.open_connection(own, port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.readline()).split()[1].decode() == status
            writer.close()
            await writer.wait_closed()


def _own_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


async def test_port_in_use_is_one_clear_line():
    """A taken port names the address and the next step, and leaves nothing running."""
    async with serve_http("127.0.0.1:0", endpoint()) as port:
        with pytest.raises(EndpointError, match=rf"127\.0\.0\.1:{port}: cannot listen") as caught:
            async with serve_http(f"127.0.0.1:{port}", endpoint()):
                pass
    assert "\n" not in str(caught.value)
    async with serve_http(f"127.0.0.1:{port}", endpoint()) as again:
        assert again == port


@pytest.mark.parametrize("address", ["", "8080", "http://x:1", "a b:1", ":99999", "::1:80"])
async def test_malformed_address(address):
    """An address that cannot be read says how one is written."""
    with pytest.raises(MalformedListenAddressError, match=":8080"):
        async with serve_http(address, endpoint()):
            pass


@pytest.mark.parametrize("path", ["metrics", "/", "/healthz"])
async def test_metrics_path_that_is_taken(path):
    """A metrics path that collides with another is refused by its flag's name."""
    with pytest.raises(EndpointError, match="--metrics-path"):
        async with serve_http("127.0.0.1:0", endpoint(metrics_path=path)):
            pass


async def test_only_reading_is_answered():
    """Nothing but GET and HEAD is served, and refusals carry the headers too."""
    async with client(endpoint()) as session:
        async with session.post("/debug/state") as answer:
            assert answer.status == 405
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with session.get("/nothing") as answer:
            assert answer.status == 404
