"""The runner of a real control plane, tried with stand-ins for its two programs: none of the real ones is at hand.

The stand-in `etcd` only waits. The stand-in `kube-apiserver` reads the flags it is given as the real one would (port,
certificate, tokens) and serves the development API server there: a whole test through it shows that nothing reaches
behind the socket. That the real programs take these flags is for whoever has them to see.
"""

import json
import os
import sys

import pytest

from resizer.devcluster.client import CLAIMS, Client, ForbiddenError
from tests.control_plane import (
    SERVICE_ACCOUNT,
    ControlPlaneError,
    control_plane,
    missing_assets,
)
from tests.e2e.rig import is_grown_to, running_rig

RECORD = """\
#!{python}
import json, os, pathlib, sys
pathlib.Path(sys.argv[0] + ".started").write_text(json.dumps([os.getpid(), *sys.argv[1:]]))
"""
ETCD = "import signal\nsignal.pause()\n"
APISERVER = """\
import asyncio, csv, functools, signal, ssl
from aiohttp import web
from resizer.devcluster.apiserver import ApiServer, server

flags = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])

class Given:
    ca_pem = b""
    def __init__(self, hosts, *, now): pass
    def server_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(flags["tls-cert-file"], flags["tls-private-key-file"])
        return context

async def main():
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    server.Authority = Given
    if flags["permit-port-sharing"] == "true":
        web.TCPSite = functools.partial(web.TCPSite, reuse_port=True)
    port = int(flags["secure-port"])
    async with ApiServer.start(flags["bind-address"], port) as api:
        for token, user, _, groups in csv.reader(open(flags["token-auth-file"])):
            api.add_token(user, groups.split(","), token=token)
        await end.wait()

asyncio.run(main())
"""


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """A folder with both stand-ins, named as envtest's are."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for name, body in (("etcd", ETCD), ("kube-apiserver", APISERVER)):
        _write_program(folder / name, RECORD.format(python=sys.executable) + body)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    return folder


def _write_program(path, text):
    path.write_text(text)
    path.chmod(0o755)


def _started(assets, name):
    return json.loads((assets / f"{name}.started").read_text())


async def test_a_control_plane_is_started_used_and_ended(tmp_path, assets):
    """Both programs run with the flags envtest gives, users are told apart by RBAC, and nothing is left behind."""
    async with control_plane("real", tmp_path) as plane:
        assert (await plane.client.list(CLAIMS)).items == []
        token = plane.tokens[SERVICE_ACCOUNT]
        async with Client(plane.url, token=token, ca_pem=plane.ca_pem) as account:
            with pytest.raises(ForbiddenError, match="csi-resizer"):
                await account.list(CLAIMS)
        plane.write_kubeconfig(tmp_path / "kubeconfig")
        async with Client.from_kubeconfig(tmp_path / "kubeconfig") as admin:
            assert (await admin.list(CLAIMS)).items == []
        with pytest.raises(AssertionError, match="cannot run on a real control plane"):
            _ = plane.server

    flags = {flag.split("=", 1)[0] for flag in _started(assets, "kube-apiserver")[1:]}
    assert flags >= {"--authorization-mode", "--token-auth-file", "--service-account-signing-key-file"}
    assert "--disable-admission-plugins=ServiceAccount" in _started(assets, "kube-apiserver")
    url = next(flag for flag in _started(assets, "etcd")[1:] if flag.startswith("--listen-client-urls="))
    assert f"--etcd-servers={url.split('=')[1]}" in _started(assets, "kube-apiserver")
    for name in ("etcd", "kube-apiserver"):
        with pytest.raises(ProcessLookupError):
            os.kill(_started(assets, name)[0], 0)


@pytest.mark.usefixtures("assets")
async def test_the_rig_needs_nothing_but_the_socket(tmp_path):
    """A claim is grown by `resizer run` on a control plane of which only address and tokens are known."""
    async with running_rig(tmp_path, plane="real") as rig:
        await rig.place()
        await rig.start_resizer()
        await rig.edit(size="5Gi")
        await rig.wait_claim(is_grown_to("5Gi"))


async def test_a_program_that_ends_is_named_with_its_last_words(tmp_path, assets):
    """A kube-apiserver that gives up at once fails the test at once, with what it said."""
    _write_program(assets / "kube-apiserver", "#!/bin/sh\necho no such flag >&2\nexit 3\n")
    with pytest.raises(ControlPlaneError, match=r"(?s)ended with 3.*no such flag"):
        async with control_plane("real", tmp_path):
            pass


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (None, "KUBEBUILDER_ASSETS is not set"),
        ((), "no executable etcd and no kube-apiserver"),
        (("etcd",), "no executable kube-apiserver"),
        (("etcd", "kube-apiserver"), ""),
    ],
)
def test_the_reason_to_skip_says_what_is_missing(tmp_path, names, reason):
    """Without the two programs the real cases are skipped, and the reason says which is missing."""
    for name in names or ():
        _write_program(tmp_path / name, "#!/bin/sh\n")
    found = missing_assets(None if names is None else str(tmp_path))
    assert reason in found
    assert bool(reason) == bool(found)
