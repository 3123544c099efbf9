import ssl

import pytest

from resizer.kube.credentials import Access, ReloadedCredentials
from resizer.kube.limiter import Limiter, Share
from resizer.kube.request import Answer, Request
from resizer.kube.resource import CLAIMS
from resizer.kube.rights import Rights
from resizer.kube.telemetry import NullKubeTelemetry
from resizer.kube.transport import Transport, _teach
from resizer.model.errors import UnavailableError


class Learning:
    def __init__(self):
        self.learned = []

    def succeeded(self, latency_s):
        self.learned.append(latency_s)

    def refused(self, retry_after_s):
        raise AssertionError(retry_after_s)


@pytest.mark.parametrize(
    ("verb", "share", "status", "learned"),
    [
        ("patch", Share.WRITE, 200, [0.1]),
        ("patch", Share.WRITE, 409, []),
        ("patch", Share.WRITE, 422, []),
        ("create", Share.READ, 201, []),  # a review of rights
        ("get", Share.READ, 200, []),
        ("list", Share.READ, 200, []),
        ("create", Share.EVENT, 201, []),
    ],
)
def test_only_writes_that_were_done_tell_how_long_a_write_takes(verb, share, status, learned):
    """An answer from the server's memory comes in no time, and would make every write seem to wait in a queue."""
    slot = Learning()
    _teach(slot, Request(verb=verb, resource=CLAIMS, share=share), Answer(status, {}, b""), 0.1)
    assert slot.learned == learned


@pytest.mark.parametrize(
    ("server", "proxy", "is_system"),
    [
        ("http://api.example", "https://proxy.example:3128", True),
        ("http://api.example", "", False),
    ],
)
async def test_tls_to_a_proxy_is_checked_by_the_systems_authorities(server, proxy, is_system, monkeypatch):
    """An API server without TLS has no context of its own; aiohttp's has no authorities in `resizer run`."""
    access = Access(server=server, proxy=proxy)

    async def load():
        return access

    transport = Transport(
        ReloadedCredentials(access, load), limiter=Limiter(), rights=Rights(), telemetry=NullKubeTelemetry()
    )
    seen = []

    async def request(*_, **options):
        seen.append(options["ssl"])
        raise OSError

    monkeypatch.setattr(transport._session, "request", request)
    try:
        with pytest.raises(UnavailableError):
            await transport.request(Request(verb="get", resource=CLAIMS, namespace="shop", name="data"))
    finally:
        monkeypatch.undo()
        await transport.close()
    assert [isinstance(context, ssl.SSLContext) for context in seen] == [is_system]
