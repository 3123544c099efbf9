"""A control plane for tests: the development API server, or a real etcd and kube-apiserver (envtest's convention).

    @ON_EACH_PLANE
    async def test_something(tmp_path, plane):
        async with control_plane(plane, tmp_path) as cluster:
            await cluster.client.create(...)
            cluster.write_kubeconfig(tmp_path / "kubeconfig", user=REPLICAS[0])

The real one needs KUBEBUILDER_ASSETS to name a folder with `etcd` and `kube-apiserver`; without it those cases are
skipped with that reason. It is begun for the test alone and killed at its end: nothing in it is worth a clean end, and
a kube-apiserver may take a minute for one. Both know the same users, each with a token; RBAC is on, ServiceAccount
admission off. What only the development one has (faults, audit, history) is behind `server`; a test that asks for it
runs there only.
"""

import asyncio
import contextlib
import csv
import datetime as dt
import os
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from resizer.devcluster.apiserver import ApiServer
from resizer.devcluster.apiserver.certificate import Authority
from resizer.devcluster.apiserver.server import kubeconfig_text, write_privately
from resizer.devcluster.client import Client

ADMIN = "test-admin"
REPLICAS = ("replica-0", "replica-1")
SERVICE_ACCOUNT = "system:serviceaccount:default:csi-resizer"
MASTERS = "system:masters"
USERS: dict[str, tuple[str, ...]] = {
    ADMIN: (MASTERS,),
    **dict.fromkeys(REPLICAS, (MASTERS,)),
    SERVICE_ACCOUNT: ("system:serviceaccounts", "system:serviceaccounts:default"),
}
"""Who may come, and the groups they are in. `system:masters` may do everything."""

PROGRAMS = ("etcd", "kube-apiserver")
START_WITHIN_S = 120.0
"""A cold start takes some ten seconds of one processor; several of them at once share what there is."""
REAL_WITHIN_S = 360.0
NAMESPACES_AT_START = ("default", "kube-system")


class ControlPlaneError(Exception):
    """The control plane did not come up; the text says which program, and the end of what it wrote."""


def missing_assets(folder: str | None) -> str:
    """Why no real control plane can be had from this folder; empty when one can."""
    if not folder:
        return "KUBEBUILDER_ASSETS is not set to a folder with etcd and kube-apiserver"
    absent = [name for name in PROGRAMS if not os.access(Path(folder) / name, os.X_OK)]
    return f"KUBEBUILDER_ASSETS={folder} has no executable {' and no '.join(absent)}" if absent else ""


_WHY_NOT = missing_assets(os.environ.get("KUBEBUILDER_ASSETS"))
_REAL = (pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT), pytest.mark.timeout(REAL_WITHIN_S))
ON_EACH_PLANE = pytest.mark.parametrize("plane", ["development", pytest.param("real", marks=_REAL)])


class ControlPlane:
    """One running control plane, and an administrator's client of it."""

    def __init__(self, *, url: str, ca_pem: bytes, tokens: dict[str, str], server: ApiServer | None) -> None:
        self.url = url
        self.ca_pem = ca_pem
        self.tokens = tokens
        self.client = Client(url, token=tokens[ADMIN], ca_pem=ca_pem)
        self._server = server

    @property
    def server(self) -> ApiServer:
        """The development API server, for tests that look behind the socket."""
        assert self._server is not None, "this test looks behind the socket: it cannot run on a real control plane"
        return self._server

    def write_kubeconfig(self, path: Path, *, user: str = ADMIN, token: str = "") -> None:
        """Write a kubeconfig of one of USERS, or with a token of the test's own."""
        write_privately(path, kubeconfig_text(self.url, self.ca_pem, token or self.tokens[user], "default"))


@contextlib.asynccontextmanager
async def control_plane(kind: str, folder: Path, *, bookmark_every_s: float = 60.0) -> AsyncIterator[ControlPlane]:
    """Run a control plane of this kind for the block; its files lie in the folder."""
    tokens = {user: secrets.token_hex(16) for user in USERS}
    run = _development(tokens, bookmark_every_s) if kind == "development" else _real(tokens, folder)
    async with run as plane, plane.client:
        yield plane


@contextlib.asynccontextmanager
async def _development(tokens: dict[str, str], bookmark_every_s: float) -> AsyncIterator[ControlPlane]:
    async with ApiServer.start(bookmark_every_s=bookmark_every_s) as server:
        for user, groups in USERS.items():
            server.add_token(user, groups, token=tokens[user])
        yield ControlPlane(url=server.url, ca_pem=server.ca_pem, tokens=tokens, server=server)


@contextlib.asynccontextmanager
async def _real(tokens: dict[str, str], folder: Path) -> AsyncIterator[ControlPlane]:
    assets, folder = Path(os.environ["KUBEBUILDER_ASSETS"]), folder / "control-plane"
    folder.mkdir()
    ca_pem = _write_credentials(folder, tokens)
    with _reserved_ports(3) as (etcd_port, peer_port, port):
        async with (
            _running(assets / "etcd", _etcd_arguments(folder, etcd_port, peer_port), folder),
            _running(assets / "kube-apiserver", _apiserver_arguments(folder, etcd_port, port), folder) as process,
        ):
            plane = ControlPlane(url=f"https://127.0.0.1:{port}", ca_pem=ca_pem, tokens=tokens, server=None)
            await _wait_ready(plane, process, folder / "kube-apiserver.log")
            yield plane


def _etcd_arguments(folder: Path, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        f"--data-dir={folder / 'etcd-data'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--socket-reuse-port",
    ]


def _apiserver_arguments(folder: Path, etcd_port: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--cert-dir={folder}",
        f"--tls-cert-file={folder / 'server.pem'}",
        f"--tls-private-key-file={folder / 'server.pem'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--service-account-issuer=https://127.0.0.1/",
        f"--service-account-key-file={folder / 'service-account.pem'}",
        f"--service-account-signing-key-file={folder / 'service-account.pem'}",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--allow-privileged=true",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        "--permit-port-sharing=true",
    ]


def _write_credentials(folder: Path, tokens: dict[str, str]) -> bytes:
    """Write the server's certificate, the key for ServiceAccount tokens and the users' tokens; return the CA."""
    authority = Authority(["127.0.0.1", "localhost"], now=dt.datetime.now(dt.UTC))
    write_privately(folder / "server.pem", authority._chain)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    write_privately(folder / "service-account.pem", key)
    with (folder / "tokens.csv").open("w", newline="") as file:
        for user, groups in USERS.items():
            csv.writer(file).writerow([tokens[user], user, user, ",".join(groups)])
    return authority.ca_pem


@contextlib.asynccontextmanager
async def _running(program: Path, arguments: list[str], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program of its own process group for the block; what it writes goes to `<name>.log`."""
    with (folder / f"{program.name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _wait_ready(plane: ControlPlane, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until /readyz is well (RBAC's own roles are there by then) and the first namespaces are.

    Raises ControlPlaneError.
    """
    loop = asyncio.get_running_loop()
    end, missing = loop.time() + START_WITHIN_S, ["/readyz", *(f"/api/v1/namespaces/{n}" for n in NAMESPACES_AT_START)]
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=plane.ca_pem.decode()))
    headers = {"Authorization": f"Bearer {plane.tokens[ADMIN]}"}
    async with aiohttp.ClientSession(plane.url, connector=connector, headers=headers) as session:
        while missing:
            if await _is_well(session, missing[0]):
                del missing[0]
                continue
            if process.returncode is not None or loop.time() > end:
                state = "did not get ready" if process.returncode is None else f"ended with {process.returncode}"
                raise ControlPlaneError(f"kube-apiserver {state}; the end of its log:\n{_tail(log)}")
            await asyncio.sleep(0.1)


async def _is_well(session: aiohttp.ClientSession, path: str) -> bool:
    try:
        async with session.get(path, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, OSError):
        return False


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


@contextlib.contextmanager
def _reserved_ports(count: int) -> Iterator[list[int]]:
    """Free ports that nobody else is given for the block: they stay bound here, and the programs share them."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in sockets]
