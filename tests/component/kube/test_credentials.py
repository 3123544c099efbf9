import asyncio
import base64
import datetime as dt
import json
import stat
import subprocess
import sys

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from resizer.devcluster.apiserver.server import ApiServer
from resizer.kube.auth import load_credentials
from resizer.kube.client import KubeClient, KubeOptions
from resizer.kube.credentials import Access, CredentialsError, ReloadedCredentials
from resizer.model.errors import ForbiddenError
from tests.component.kube.rig import add_claims, fake_time, opened, plain_server


@pytest.fixture
async def server():
    async with ApiServer.start() as server:
        add_claims(server, "a")
        yield server


def config(**changes):
    parts = {
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
    }
    return {**parts, **changes}


def user(**fields):
    return {"users": [{"name": "u", "user": fields}]}


def cluster(**fields):
    return {"clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1", **fields}}]}


def jwt(**claims):
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".s"


def certificate(*, days):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - dt.timedelta(days=30))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return [base64.b64encode(text).decode() for text in (made.public_bytes(serialization.Encoding.PEM), pem)]


def expired_certificate():
    pem, key = certificate(days=-1)
    return user(**{"client-certificate-data": pem, "client-key-data": key})


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (config(**{"current-context": ""}), "no current-context"),
        (config(contexts=[]), "no context 'c'"),
        (config(contexts=None), "no context 'c'"),
        (config(clusters=[]), "names cluster 'k', which is not there"),
        (config(users=[]), "names user 'u', which is not there"),
        (config(clusters="x"), "clusters is no list"),
        (config(users=[{"name": "u", "user": "x"}]), "user 'u' is no mapping"),
        (config(**cluster(server="127.0.0.1")), "no usable server"),
        (config(**cluster(server="https://host:port")), "no usable server"),
        (config(**cluster(**{"certificate-authority": "/nowhere/ca.crt"})), "cannot be read"),
        (config(**cluster(**{"certificate-authority-data": "%%%"})), "no base64"),
        (config(**cluster(**{"certificate-authority-data": "eA=="})), "certificate authority cannot be read"),
        (config(**user(**{"client-certificate-data": "eA=="})), "client certificate is malformed"),
        (config(**user(tokenFile="/nowhere/token")), "cannot be read"),
        (config(**user(token=jwt(exp=1_600_000_000))), "expired at 2020-09-13"),
        (config(**expired_certificate()), "client certificate expired at"),
        (config(**user(exec={"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere"})), "nowhere"),
        (config(**user(exec={"apiVersion": "client.authentication.k8s.io/v1", "command": "false"})), "returned 1"),
        (config(**user(**{"auth-provider": {"name": "oidc", "config": {}}})), "cannot refresh"),
        ("just text", "no mapping"),
    ],
)
async def test_a_kubeconfig_that_cannot_work_is_named_in_one_line(tmp_path, document, says):
    """Missing, malformed or expired: one line with the file and what is wrong, never a traceback's worth."""
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(CredentialsError, match=says) as caught:
        await load_credentials(kubeconfig=path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_missing_or_broken_file_is_named(tmp_path):
    """No such file; no YAML, with the line; no file and no cluster."""
    with pytest.raises(CredentialsError, match="no such file"):
        await load_credentials(kubeconfig=tmp_path / "nothing")
    broken = tmp_path / "broken"
    broken.write_text("a: [1\nb: {")
    with pytest.raises(CredentialsError, match=r"no YAML \(line 2\)"):
        await load_credentials(kubeconfig=broken)
    with pytest.raises(CredentialsError, match="give --kubeconfig"):
        await load_credentials(environment={})
    with pytest.raises(CredentialsError, match="write https"):
        await load_credentials(master="10.0.0.1:6443")


async def test_a_host_that_cannot_even_be_looked_up_is_told(tmp_path):
    """A label of a host name has 63 characters at most; the resolver's own error is not shown as a crash."""
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config(**cluster(server=f"https://{'x' * 64}.example"))))
    with pytest.raises(CredentialsError, match="cannot be reached"):
        await KubeClient.open(KubeOptions(kubeconfig=path))


@fake_time
async def test_credentials_that_are_refused_all_the_time_are_not_read_all_the_time(tmp_path):  # noqa: ARG001 - given by fake_time
    """A plugin is not run for each of a hundred refused requests: at most once in five seconds."""
    loads = []

    async def load():
        loads.append(1)
        return Access("http://x")

    credentials = ReloadedCredentials(Access("http://x"), load)
    for _ in range(100):
        await credentials.refresh(credentials.access)
        await asyncio.sleep(0.1)
    assert len(loads) == 2


@fake_time
async def test_a_slow_plugin_is_not_cut_off_by_those_who_cannot_wait(tmp_path):  # noqa: ARG001 - given by fake_time
    """A plugin that takes 4 s, renewals of a lease that have 2.5 s each: it is run once, and its answer arrives."""
    loads = []

    async def load():
        loads.append(1)
        await asyncio.sleep(4)
        return Access("http://new")

    credentials = ReloadedCredentials(Access("http://x", read_again_s=60), load)
    await asyncio.sleep(60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5):
            await credentials.current()
    async with asyncio.timeout(0.1):
        assert (await credentials.current()).server == "http://x", "the old one is used meanwhile, without waiting"
    async with asyncio.timeout(2.5):
        assert (await credentials.refresh(credentials.access)).server == "http://new"
    assert len(loads) == 1


async def test_a_kubeconfig_that_points_nowhere_is_told_at_once(tmp_path):
    """A server that is not there, and a token it does not know: one line each, before anything runs."""
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config()))
    with pytest.raises(CredentialsError, match="the connection failed: Connection refused"):
        await KubeClient.open(KubeOptions(kubeconfig=path))
    async with plain_server() as server:
        server.kubeconfig(path, token="unknown")
        with pytest.raises(CredentialsError, match="401"):
            await KubeClient.open(KubeOptions(kubeconfig=path))


async def test_a_server_that_is_not_whom_we_trust_is_refused(server, tmp_path):
    """Another authority than the server's: the connection is not used, and the line says why."""
    path = tmp_path / "config"
    server.kubeconfig(path)
    document = yaml.safe_load(path.read_text())
    async with ApiServer.start() as other:
        document["clusters"][0]["cluster"]["server"] = other.url
        path.write_text(yaml.safe_dump(document))
        with pytest.raises(CredentialsError, match="certificate"):
            await KubeClient.open(KubeOptions(kubeconfig=path))


async def test_in_the_cluster_the_service_account_is_used_and_read_again(server, tmp_path):
    """Token, authority and namespace from the mounted files; a rotated token is picked up."""
    (tmp_path / "token").write_text("old")
    (tmp_path / "namespace").write_text("storage")
    (tmp_path / "ca.crt").write_bytes(server.ca_pem)
    host, port = server.url.removeprefix("https://").split(":")
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    credentials = await load_credentials(environment=environment, service_account=tmp_path)
    access = credentials.access
    assert (access.server, access.authorization, access.namespace) == (server.url, "Bearer old", "storage")
    (tmp_path / "token").write_text("new")
    assert (await credentials.current()).authorization == "Bearer old", "a minute has not passed"
    fresh = await credentials.refresh(access)
    assert fresh.authorization == "Bearer new"
    assert fresh.ssl_context is access.ssl_context, "the same authority: open connections go on"
    (tmp_path / "token").unlink()
    assert (await credentials.refresh(fresh)).authorization == "Bearer new", "an unreadable file changes nothing"
    assert "new" not in f"{credentials!r} {fresh!r}"


async def test_a_token_file_and_a_password_work(server, tmp_path):
    """The other static kinds of a kubeconfig, with paths relative to it."""
    (tmp_path / "tok").write_text(f"{server.token}\n")
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config(**user(tokenFile="tok"))))
    credentials = await load_credentials(kubeconfig=path, master=server.url)
    assert credentials.access.authorization == f"Bearer {server.token}"
    assert (credentials.access.server, credentials.access.namespace) == (server.url, "n")
    path.write_text(yaml.safe_dump(config(**user(username="me", password="pw"))))
    assert (await load_credentials(kubeconfig=path)).access.authorization == "Basic bWU6cHc="


async def test_several_files_are_read_as_one(server, tmp_path):
    """$KUBECONFIG as kubectl reads it: cluster, user and context may stand apart, and the first of a name counts."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tok").write_text(name)
    (tmp_path / "two/tok").write_text(server.token)
    own = {**cluster(server=server.url), "users": [], "current-context": "", "contexts": None}
    contexts = [{"name": name, "context": {"cluster": "k", "user": "u", "namespace": name}} for name in ("c", "d")]
    (tmp_path / "one/config").write_text(yaml.safe_dump(own))
    (tmp_path / "two/config").write_text(yaml.safe_dump(config(**user(tokenFile="tok"), contexts=contexts)))
    names = ("nowhere", "one/config", "", "two/config")
    environment = {"KUBECONFIG": ":".join(str(tmp_path / name) if name else "" for name in names)}
    for context, namespace in (("", "c"), ("d", "d")):
        found = await load_credentials(context=context, use_default_kubeconfig=True, environment=environment)
        assert (found.access.server, found.access.namespace) == (server.url, namespace)
        assert found.access.authorization == f"Bearer {server.token}"
    with pytest.raises(CredentialsError, match=r"two/config: it has no context 'e'"):
        await load_credentials(context="e", use_default_kubeconfig=True, environment=environment)
    with pytest.raises(CredentialsError, match="nowhere: no such file"):
        await load_credentials(use_default_kubeconfig=True, environment={"KUBECONFIG": str(tmp_path / "nowhere")})


async def test_a_client_certificate_is_loaded_and_nothing_is_left_on_disk(tmp_path, monkeypatch):
    """The key goes into the TLS context by one private file, which is gone afterwards."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pem, key = certificate(days=1)
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config(**user(**{"client-certificate-data": pem, "client-key-data": key}))))
    assert (await load_credentials(kubeconfig=path)).access.ssl_context is not None
    assert [file.name for file in tmp_path.iterdir()] == ["config"]


async def test_an_exec_plugin_gives_the_token_and_is_asked_again_after_a_401(server, tmp_path):
    """The plugin's token works; when it is refused, the plugin is run again and nobody notices."""
    plugin, token = tmp_path / "plugin", tmp_path / "token"
    token.write_text(server.token)
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "T"}}
    head, tail = json.dumps(answer).split("T", 1)[0], '"}}'
    plugin.write_text(f"#!/bin/sh\nprintf '%s%s%s' '{head}' \"$(cat {token})\" '{tail}'\n")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    path = tmp_path / "config"
    server.kubeconfig(path)
    document = yaml.safe_load(path.read_text())
    execution = {"apiVersion": answer["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}
    document["users"][0]["user"] = {"exec": execution}
    path.write_text(yaml.safe_dump(document))
    client = await KubeClient.open(KubeOptions(kubeconfig=path))
    try:
        assert (await client.writer.read_claim("default/a")).name == "a"
        token.write_text(server.add_token("resizer-dev-admin", ["system:masters"]))
        server.tokens.revoke(server.token)
        assert (await client.writer.read_claim("default/a")).name == "a"
    finally:
        await client.close()


async def test_a_kubeconfig_that_impersonates_gives_those_rights_and_no_others(server, tmp_path):
    """`as`, `as-groups`, `as-uid` and `as-user-extra` go with every request: whoever steps down stays down."""
    extra = {"as": "jane", "as-groups": ["ops", "dev"], "as-uid": "7", "as-user-extra": {"Example.org/Why": ["night"]}}
    path = tmp_path / "config"
    server.kubeconfig(path)
    document = yaml.safe_load(path.read_text())
    document["users"][0]["user"] |= extra
    path.write_text(yaml.safe_dump(document))
    access = (await load_credentials(kubeconfig=path)).access
    assert access.impersonation == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Extra-example.org%2Fwhy", "night"),
    )
    client = await KubeClient.open(KubeOptions(kubeconfig=path))
    try:
        with pytest.raises(ForbiddenError, match="jane"):
            await client.writer.read_claim("default/a")
    finally:
        await client.close()


async def test_requests_name_the_program(server, tmp_path):
    """The server's audit log shows who asked."""
    async with opened(server, tmp_path) as client:
        await client.writer.read_claim("default/a")
    assert server.audit.select(verb="get", resource="persistentvolumeclaims")[0].user_agent.startswith("resizer/")


def test_static_credentials_do_not_cost_the_librarys_memory(tmp_path):
    """kubernetes_asyncio (53 MB) is not imported for a kubeconfig with a token."""
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config()))
    code = (
        "import asyncio, pathlib, sys; from resizer.kube.auth import load_credentials; import resizer.kube.client;"
        f"asyncio.run(load_credentials(kubeconfig=pathlib.Path({str(path)!r})));"
        "print('kubernetes_asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"
