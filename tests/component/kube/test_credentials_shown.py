"""Statement 10 at the start: what is said of credentials that cannot be used holds none of them."""

import asyncio
import base64
import contextlib
import json
import logging
from pathlib import Path

import pytest
import yaml

from resizer.kube.auth import load_credentials
from resizer.kube.client import KubeClient, KubeOptions
from resizer.kube.credentials import CredentialsError
from resizer.kube.redaction import without_credentials


def _kubeconfig(path: Path, *, cluster: dict, user: dict) -> Path:
    parts = {
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(parts))
    return path


SECRET = "planted-kube-secret"
EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
PLUGIN = {"env": [{"name": "PLUGIN_SECRET", "value": SECRET}]}
CLUSTER = {"server": "https://127.0.0.1:1"}


@contextlib.asynccontextmanager
async def refusing_proxy():
    """A proxy that refuses, as one does whose password has changed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("cluster", "user", "says"),
    [
        (CLUSTER, {"exec": EXEC | PLUGIN | {"command": "sh", "args": ["-c", 'echo "no $PLUGIN_SECRET" >&2; exit 3']}},
         "process returned 3"),
        (CLUSTER, {"exec": EXEC | PLUGIN | {"command": "sh", "args": ["-c", 'echo "$PLUGIN_SECRET"']}},
         "could not be obtained"),
        (CLUSTER, {"exec": EXEC | {"command": "sh", "args": ["-c", f"echo Bearer {SECRET} >&2; exit 3"]}},
         "process returned 3"),
        ({"server": "https://127.0.0.1:1", "proxy-url": f"http://me:{SECRET}@127.0.0.1:PORT"}, {"token": "t"}, "407"),
        ({"server": f"https://me:{SECRET}@127.0.0.1:1"}, {"token": "t"}, "server"),
        ({"server": f"ftp://me:{SECRET}@127.0.0.1:1"}, {"token": "t"}, "no usable server"),
        (CLUSTER, {"token": SECRET}, "cannot be reached"),
        (CLUSTER, {"username": "me", "password": SECRET}, "cannot be reached"),
        ({"server": "https://127.0.0.1:1", "certificate-authority-data": SECRET}, {"token": "t"}, "no base64"),
        (CLUSTER, {"auth-provider": {"name": "oidc", "config": {"client-secret": SECRET, "id-token": SECRET}}},
         "could not be obtained"),
        (CLUSTER, {"client-certificate-data": base64.b64encode(SECRET.encode()).decode(), "token": SECRET},
         "certificate is malformed"),
    ],
    ids=[
        "plugin-fails", "plugin-prints", "plugin-token", "proxy", "server", "scheme", "token", "password", "ca",
        "oidc", "cert",
    ],
)  # fmt: skip
async def test_a_start_that_fails_shows_no_credentials(tmp_path, caplog, cluster, user, says):
    """A kubeconfig that cannot be used is explained in one line that holds none of its credentials, nor do logs."""
    caplog.set_level(logging.DEBUG)
    async with refusing_proxy() as port:
        changed = json.loads(json.dumps(cluster).replace("PORT", str(port)))
        path = _kubeconfig(tmp_path / "kubeconfig", cluster=changed, user=user)
        with pytest.raises(CredentialsError, match=says) as caught:
            await KubeClient.open(KubeOptions(kubeconfig=path))
    assert SECRET not in f"{caught.value} {caught.value!r} {caplog.text}"
    assert "\n" not in str(caught.value)


async def test_an_address_with_a_password_is_refused_without_showing_it():
    """--master takes no user and password, and does not repeat them."""
    with pytest.raises(CredentialsError, match="is no address of an API server") as caught:
        await load_credentials(master=f"https://me:{SECRET}@10.0.0.1:6443")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("407, url='http://me:pass@proxy:3128'", "407, url='http://[redacted]@proxy:3128'"),
        ("Authorization: Bearer abcdefgh.ijklmnop", "Authorization: Bearer [redacted]"),
        ("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln back", "got [redacted] back"),
        ("the value abc1 and abc12345", "the value [redacted] and [redacted]"),
        ("a basic error: mail me@example.com, see https://example.com/a@b", None),
        ("://" * 20_000 + "@", None),
    ],
)
def test_what_looks_like_a_credential_is_taken_out(text, clean):
    """URLs' passwords, bearer tokens, JWTs and known values go; ordinary text stays, hostile text costs nothing."""
    assert without_credentials(text, known=["abc1", "abc12345", "a"]) == (text if clean is None else clean)


@pytest.mark.parametrize(
    ("content", "says"), [("a: " + "x" * 5_000_000, "longer than"), ("[" * 50_000, "nested too deeply")]
)
async def test_a_kubeconfig_has_bounds(tmp_path, content, says):
    """A kubeconfig that is too long or too deep is refused in a line, not read whole."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(CredentialsError, match=says):
        await load_credentials(kubeconfig=path)
