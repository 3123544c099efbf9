"""A kubeconfig that cannot be used: one line that says which, exit code 2. And objects that no sane server sends."""

import asyncio
import base64
import contextlib
import datetime as dt
import json
import os
import re
import signal
import socket

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from resizer.app import StartError, run_pipeline
from resizer.settings import load_settings
from tests.e2e.rig import HTTP, is_grown_to, running_rig


def _edit(rig, change) -> None:
    config = yaml.safe_load(rig.kubeconfig.read_text())
    change(config, config["clusters"][0]["cluster"], config["users"][0]["user"])
    rig.kubeconfig.write_text(yaml.safe_dump(config))


def _part(data: dict) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


def _old_certificate() -> dict[str, str]:
    """A client certificate that ended yesterday, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")]), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    dated = builder.not_valid_before(now - dt.timedelta(days=9)).not_valid_after(now - dt.timedelta(days=1))
    pem = dated.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    text = {"client-certificate-data": pem, "client-key-data": secret}
    return {name: base64.b64encode(value).decode() for name, value in text.items()}


def missing(rig):
    rig.kubeconfig.unlink()


def no_yaml(rig):
    rig.kubeconfig.write_text("clusters: [\n  - {")


def no_mapping(rig):
    rig.kubeconfig.write_text("just a line")


def no_context(rig):
    _edit(rig, lambda config, *_: config.pop("current-context"))


def unknown_user(rig):
    _edit(rig, lambda config, *_: config["contexts"][0]["context"].update(user="nobody"))


def no_server(rig):
    _edit(rig, lambda _, cluster, __: cluster.update(server="somewhere"))


def old_token(rig):
    token = ".".join([_part({"alg": "none"}), _part({"exp": 1_600_000_000}), "x"])
    _edit(rig, lambda _, __, user: user.update(token=token))


def old_certificate(rig):
    _edit(rig, lambda config, *_: config["users"][0].update(user=_old_certificate()))


def revoked_token(rig):
    _edit(rig, lambda _, __, user: user.update(token="no-longer-known"))


def nobody_there(rig):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _edit(rig, lambda _, cluster, __: cluster.update(server=f"https://127.0.0.1:{port}"))


def no_such_host(rig):
    _edit(rig, lambda _, cluster, __: cluster.update(server="https://api.invalid:6443"))


def foreign_authority(rig):
    _edit(rig, lambda _, cluster, __: cluster.pop("certificate-authority-data"))


SPOILED = [
    (missing, "no such file"),
    (no_yaml, "malformed, no YAML"),
    (no_mapping, "malformed, no mapping"),
    (no_context, "no current-context"),
    (unknown_user, "names user 'nobody', which is not there"),
    (no_server, "no usable server"),
    (old_token, "token expired at 2020-09-13"),
    (old_certificate, "client certificate expired at"),
    (revoked_token, "does not accept these credentials"),
    (nobody_there, "cannot be reached"),
    (no_such_host, "cannot be reached"),
    (foreign_authority, "certificate"),
]


def _check(rig, text: str, reason: str) -> None:
    assert len(text.splitlines()) == 1, text
    assert text.startswith(f"kubeconfig {rig.kubeconfig}")
    assert reason in text
    assert "no-longer-known" not in text, "a token is never shown"


@pytest.mark.parametrize(("spoil", "reason"), SPOILED, ids=[spoil.__name__ for spoil, _ in SPOILED])
async def test_a_kubeconfig_that_cannot_be_used_is_refused_in_one_line(tmp_path, spoil, reason):
    """Missing, malformed, expired, refused or pointing nowhere: the line names the file and the cause."""
    async with running_rig(tmp_path) as rig:
        spoil(rig)
        settings = load_settings({"kubeconfig": str(rig.kubeconfig), "csi_address": str(rig.socket)})
        with pytest.raises(StartError) as refusal:
            await run_pipeline(settings, stop=asyncio.Event())
    assert refusal.value.exit_code == 2
    _check(rig, str(refusal.value), reason)


async def test_resizer_run_says_it_and_ends_with_2(tmp_path):
    """The program writes that one line, nothing else, and its exit code is 2."""
    shown = dict(SPOILED)
    async with running_rig(tmp_path) as rig:
        good = rig.kubeconfig.read_text()
        started = {}
        for number, spoil in enumerate((missing, no_yaml, old_token, nobody_there)):
            rig.kubeconfig = tmp_path / f"kubeconfig-{number}"
            rig.kubeconfig.write_text(good)
            spoil(rig)
            started[spoil] = rig.kubeconfig, await rig.start_resizer()
        for spoil, (path, process) in started.items():
            async with asyncio.timeout(60):
                assert await process.wait() == 2
            rig.kubeconfig = path
            text = rig.log_text(process).strip()
            assert text.startswith("resizer run: ")
            _check(rig, text.removeprefix("resizer run: "), shown[spoil])


async def test_a_plugin_that_does_not_answer_holds_up_no_end(tmp_path):
    """SIGTERM while credentials are still waited for: the program ends at once, and without a complaint."""
    async with running_rig(tmp_path) as rig:
        config = yaml.safe_load(rig.kubeconfig.read_text())
        started = tmp_path / "started"
        plugin = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "sh"}
        config["users"][0]["user"] = {"exec": {**plugin, "args": ["-c", f"echo $$ > {started}; exec sleep 50"]}}
        rig.kubeconfig.write_text(yaml.safe_dump(config))
        settings = load_settings({"kubeconfig": str(rig.kubeconfig), "csi_address": str(rig.socket)})
        stop = asyncio.Event()
        running = asyncio.create_task(run_pipeline(settings, stop=stop))
        await rig.until(lambda: started.exists() and started.read_text().endswith("\n"), "the plugin runs")
        stop.set()
        try:
            async with asyncio.timeout(10):
                await running
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(started.read_text()), signal.SIGKILL)


def _claim(name: str, **changes) -> bytes:
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1"},
        "spec": {"resources": {"requests": {"storage": "5Gi"}}, "volumeName": "pv-data"},
        "status": {"phase": "Bound", "capacity": {"storage": "3Gi"}},
    }
    return json.dumps({**body, **changes}).encode()


HOSTILE = {
    "no-metadata": b'{"apiVersion":"v1","kind":"PersistentVolumeClaim","spec":{}}',
    "metadata-is-text": _claim("metadata-is-text", metadata="odd"),
    "spec-is-a-list": _claim("spec-is-a-list", spec=[1, 2]),
    "capacity-is-a-number": _claim("capacity-is-a-number", status={"phase": "Bound", "capacity": 7}),
    "no-quantity": _claim(
        "no-quantity", spec={"resources": {"requests": {"storage": "lots"}}, "volumeName": "pv-data"}
    ),
    "too-large-quantity": _claim(
        "too-large-quantity", spec={"resources": {"requests": {"storage": f"1{'0' * 30}"}}, "volumeName": "pv-data"}
    ),
    "five-megabytes": _claim(
        "five-megabytes",
        metadata={
            "name": "five-megabytes",
            "namespace": "default",
            "uid": "uid-5",
            "resourceVersion": "1",
            "annotations": {"a": "x" * 5_000_000},
        },
    ),
}


async def test_objects_that_no_sane_server_sends_are_skipped_and_the_watch_goes_on(tmp_path):
    """Listed or watched, each is counted, logged once with its name, and skipped; the sane claim beside them grows."""
    async with running_rig(tmp_path) as rig:

        def inject(names):
            for name in names:
                rig.server.inject("", "persistentvolumeclaims", name, HOSTILE[name], namespace="default")

        await rig.place()
        inject(list(HOSTILE)[::2])
        process = await rig.start_resizer(HTTP)
        await rig.wait_http(process, "/readyz", 200)
        await rig.edit(size="5Gi")
        await rig.wait_claim(is_grown_to("5Gi"))
        inject(HOSTILE)  # some of them once more: said once all the same
        await rig.edit(size="6Gi")
        await rig.wait_claim(is_grown_to("6Gi"))

        lines = rig.log_of(process, "object.malformed")
        _, metrics = await rig.http(process, "/metrics")
        status, text = await rig.http(process, "/readyz")
        assert process.returncode is None
    counted = re.search(r'resizer_objects_malformed_total\{resource="persistentvolumeclaims"\} (\d+)', metrics)
    assert int(counted[1]) >= len(HOSTILE)
    assert status == 200, text
    said = [line.get("object") for line in lines]
    assert len(said) == len(set(said))
    nameless = {"no-metadata", "metadata-is-text"}
    assert {f"default/{name}" for name in HOSTILE.keys() - nameless} | {"(no name)"} == set(said)
