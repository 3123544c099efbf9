"""Statement 10: secrets are planted wherever the programs meet one, and everything they put out is searched for them.

Real processes, at the highest verbosity, on a control plane and a driver of the test's own. The driver is as careless
as drivers are: its errors quote the credentials that it was given, as they are, encoded, quoted, in the middle of a
dump. What is searched: logs, events, claim and volume, metrics, probes, state and page, and what `status` and
`explain` print.
"""

import asyncio
import base64
import json
import os
import ssl
import sys
from urllib.parse import quote, quote_plus

import aiohttp
import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.endpoint import EVENTS
from tests.component.obs.pem import write_pair
from tests.control_plane import ADMIN, REPLICAS
from tests.e2e.rig import Rig, awaits_node, claim_body, running_rig, volume_body
from tests.scripted_driver import Answer, Plan

pytestmark = pytest.mark.soak

DATA = {
    "password": 'pl4nt3d/"p4ss+w0rd\\<&>=%$ é',
    "username": "planted-user-name",
    "key": "-----BEGIN PLANTED KEY-----\nMIIplanted1first+line/\nMIIplanted2second+line=\n-----END PLANTED KEY-----\n",
    "connection": "  mysql://planted-dsn-user:planted-dsn-pass@db:3306/x  ",
}
MADE_UP = "planted-visitor-token-0123456789"


def forms(value: str) -> dict[str, str]:
    """How a value may stand in a text: as it is, line by line, and as programs encode and quote it."""
    raw = value.encode()
    named = {
        "raw": value,
        "stripped": value.strip(),
        "base64": base64.b64encode(raw).decode(),
        "base64 without padding": base64.b64encode(raw).decode().rstrip("="),
        "base64url": base64.urlsafe_b64encode(raw).decode(),
        "percent": quote(value, safe=""),
        "query": quote_plus(value),
        "JSON": json.dumps(value)[1:-1],
        "JSON of Go": json.dumps(value, ensure_ascii=False)[1:-1]
        .replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
        "repr": repr(value)[1:-1],
        "hex": raw.hex(),
    }  # fmt: skip
    return named | {f"line {n}": line for n, line in enumerate(value.splitlines()) if "-----" not in line}


def leaks(text: str, planted: dict[str, str]) -> list[str]:
    """Name each planted value that stands in the text in some form, with what is around it."""
    found = []
    # What was escaped on its way into a log line is searched as it was before, too.
    shown = {"": text, "unescaped ": text.replace("\\\\", "\\").replace('\\"', '"').replace("\\n", "\n")}
    for name, value in planted.items():
        for form, encoded in forms(value).items():
            for how, one in shown.items():
                at = one.find(encoded)
                if at >= 0:
                    found.append(f"{name} ({how}{form}): ...{one[max(0, at - 80) : at + 80]!r}")
    return found


def careless_messages() -> list[str]:
    """Errors that quote the credentials, in every form; a kilobyte each, so that nothing is cut off first."""
    texts = [""]
    for one in (f"{form}: {encoded}; " for value in DATA.values() for form, encoded in forms(value).items()):
        texts[-1:] = [texts[-1] + one] if len(texts[-1] + one) < 900 else [texts[-1], one]
    texts.append("request was " + json.dumps({"secrets": DATA}))
    texts.append("map[" + " ".join(f"{k}:{v}" for k, v in DATA.items()) + "]")
    texts.append("x" * 1000 + DATA["password"] + "y" * 1000)
    texts.append("x" * 960 + DATA["password"])
    return texts


def plan() -> Plan:
    """A driver that refuses each claim once, each with another of the messages and another code."""
    codes = ("INTERNAL", "ABORTED", "INVALID_ARGUMENT", "PERMISSION_DENIED", "OUT_OF_RANGE")
    answers = {
        f"ControllerExpandVolume/pv-c{n}": (Answer(code=codes[n % len(codes)], message=text), Answer())
        for n, text in enumerate(careless_messages())
    }
    return Plan(answers=answers, node_expansion_required=True)


async def place(rig: Rig, name: str) -> None:
    """A bound claim whose volume names the secret for its expansion."""
    claim = rig.server.create("", "persistentvolumeclaims", claim_body(name, "5Gi"))
    body = volume_body(name, "3Gi", driver=rig.driver.plan.name, claim_uid=claim["metadata"]["uid"])
    ref = {"name": "planted", "namespace": "default"}
    body["spec"]["csi"] |= {"controllerExpandSecretRef": ref, "nodeExpandSecretRef": ref}
    rig.server.create("", "persistentvolumes", body)
    await rig.bind(name)


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def fetch_pages(port: int, tokens: list[str], when: str) -> dict[str, str]:
    """Every page, with each token; answers with their headers, named by page, token and `when`."""
    pages = {}
    async with aiohttp.ClientSession() as session:
        for path in ("/metrics", "/readyz?verbose", "/healthz?verbose", "/debug/state", "/", "/nothing"):
            for token in tokens:
                headers = {"Authorization": f"Bearer {token}"}
                url = f"https://127.0.0.1:{port}{path}"
                async with session.get(url, headers=headers, ssl=client_context()) as answer:
                    pages[f"{path} {token[:3]} {when}"] = f"{answer.status} {answer.headers} {await answer.text()}"
    return pages


async def run_command(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command of ours to its end: exit code, and everything it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "resizer.cli.main",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_no_planted_secret_in_any_output(tmp_path):
    """A careless driver, a hostile visitor, faults, debug logs: no output of a whole run holds any planted value."""
    async with running_rig(tmp_path, plan()) as rig:
        certificate, key = write_pair(tmp_path / "tls")
        planted = {
            **DATA,
            "our token": rig.plane.tokens[REPLICAS[0]],
            "visitor's token": rig.plane.tokens[ADMIN],
            "made-up token": MADE_UP,
            "TLS key": key.read_text(),
        }
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in DATA.items()}
        meta = {"name": "planted", "namespace": "default"}
        rig.server.create("", "secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": encoded})
        rig.plane.write_kubeconfig(rig.kubeconfig, user=REPLICAS[0])
        names = [method.rpartition("pv-")[2] for method in rig.driver.plan.answers]
        for name in names:
            await place(rig, name)
        process = await rig.start_resizer(
            "-v=9",
            "--http-endpoint=127.0.0.1:0",
            f"--tls-cert-file={certificate}",
            f"--tls-key-file={key}",
            "--debug-authentication",
            "--leader-election",
        )
        port = (await rig.wait_log(process, "http.serving"))["port"]
        texts = await fetch_pages(port, [rig.plane.tokens[ADMIN], MADE_UP, "none"], "at the start")
        assert any(text.startswith("200") and '"claims"' in text for text in texts.values())
        for kind in ("unauthorized", "error", "reset-after"):
            rig.server.faults.add(Fault(kind=kind, user_agent="resizer/", probability=0.1, count=8, seed=len(kind)))
        texts |= await fetch_pages(port, [rig.plane.tokens[ADMIN], MADE_UP], "under faults")
        for name in names:
            await rig.wait_claim(awaits_node("5Gi"), name, timeout_s=30)
        texts |= await fetch_pages(port, [rig.plane.tokens[ADMIN]], "at the end")
        for command in (("status", "-A"), ("status", "-A", "-o", "json"), ("explain", names[0]), ("explain", names[3])):
            texts[" ".join(command)] = (await run_command(*command, f"--kubeconfig={rig.kubeconfig}"))[1]
        assert await rig.stop(process) == 0
        texts["log"] = rig.logs()
        events = (await rig.client.list(EVENTS)).items
        texts["events"] = json.dumps(events, ensure_ascii=False)
        texts["claims"] = json.dumps([await rig.claim(name) for name in names], ensure_ascii=False)
        texts["volumes"] = json.dumps([await rig.volume(name) for name in names], ensure_ascii=False)
    asked = json.dumps([call.request for call in rig.driver.calls_of("ControllerExpandVolume")])
    assert {line.split(" ")[0] for line in leaks(asked, DATA)} == set(DATA), "the driver was given the credentials"
    assert texts["events"].count("[redacted]") >= len(DATA)
    assert max(len(event["message"]) for event in events) <= 1024
    assert {where: found for where, text in texts.items() if (found := leaks(text, planted))} == {}
