"""`resizer dev`, `resizer driver` and `resizer run` as programs, the last with every flag that external-resizer has."""

import asyncio
import contextlib
import json
import signal
import socket
import sys

import aiohttp
import pytest
import yaml

from resizer.devcluster.client import Client
from resizer.devcluster.endpoint import CLAIMS, LEASES, STORAGE_CLASSES

DRIVER = "csi-qcfsplugin"


@pytest.fixture
async def start(tmp_path):
    """Start a program of ours; at the end all are ended in the opposite order."""
    async with contextlib.AsyncExitStack() as stack:

        async def end(process):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                await process.wait()

        async def start(*arguments):
            log = stack.enter_context((tmp_path / f"{arguments[0]}.log").open("wb"))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "resizer.cli.main", *map(str, arguments), stdout=log, stderr=log
            )
            stack.push_async_callback(end, process)
            return process

        yield start


async def until(holds, what, *, timeout_s=20.0):
    try:
        async with asyncio.timeout(timeout_s):
            while not (found := await holds()):  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None
    return found


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def all_flags(folder, kubeconfig, server):
    """Every flag that the peer documents, each in some spelling of Go's."""
    return [
        f"-csi-address={folder}/csi.sock",
        "--kubeconfig",
        kubeconfig,
        f"--master={server}",
        "-v=5",
        "--vmodule=controller=4",
        "--logging-format=json",
        "--log-flush-frequency=5s",
        "--log-json-split-stream=false",
        "--log-json-info-buffer-size=0",
        "--log-text-split-stream=false",
        "--log-text-info-buffer-size=0",
        "--leader-election",
        "--leader-election-namespace=kube-system",
        "--leader-election-lease-duration=15s",
        "--leader-election-renew-deadline=10s",
        "--leader-election-retry-period=5s",
        "--leader-election-labels=team:storage,tier:one",
        "-timeout=15s",
        "--workers",
        "10",
        "--retry-interval-start=1s",
        "--retry-interval-max=5m",
        "--kube-api-qps=50",
        "--kube-api-burst=100",
        f"--http-endpoint=127.0.0.1:{free_port()}",
        "--metrics-path=/peer-metrics",
        "--handle-volume-inuse-error=true",
        "--feature-gates=AnnotateFsResize=true,RecoverVolumeExpansionFailure=true,ReleaseLeaderElectionOnExit=true",
        "--resync-period=10m",
        "--automaxprocs",
        "--extra-modify-metadata=false",
        "--alsologtostderr=true",
    ]


@pytest.mark.soak
async def test_a_run_with_all_flags_of_the_peer_grows_a_claim(start, tmp_path):
    """Swapped in with the peer's whole command line it grows a claim, elects, serves and says what has no effect."""
    kubeconfig = tmp_path / "kubeconfig"
    endpoint = f"unix://{tmp_path}/csi.sock"
    await start("driver", "--endpoint", endpoint, "--state-dir", tmp_path / "v", "--node-id", "n", "--backend", "image")
    await until(lambda: asyncio.to_thread((tmp_path / "csi.sock").exists), "the driver's socket")
    await start("dev", "--kubeconfig-out", kubeconfig, "--csi-address", tmp_path / "csi.sock", "--node", "n")
    await until(lambda: asyncio.to_thread(kubeconfig.exists), "the kubeconfig")
    config = yaml.safe_load(kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]
    flags = all_flags(tmp_path, kubeconfig, server)
    run = await start("run", *flags)

    async with Client.from_kubeconfig(kubeconfig) as client:
        await client.create(STORAGE_CLASSES, storage_class())
        await client.create(CLAIMS, claim("64Mi"))

        async def has(size):
            status = (await client.get(CLAIMS, "data", namespace="default")).get("status", {})
            return status.get("capacity", {}).get("storage") == size and not status.get("conditions")

        await until(lambda: has("64Mi"), "the claim is bound")
        wish = {"spec": {"resources": {"requests": {"storage": "96Mi"}}}}
        await client.patch(CLAIMS, "data", wish, namespace="default")
        await until(lambda: has("96Mi"), "the claim is grown")
        lease = await client.get(LEASES, f"external-resizer-{DRIVER}", namespace="kube-system")
    assert lease["spec"]["leaseDurationSeconds"] == 15
    assert lease["metadata"]["labels"] == {"team": "storage", "tier": "one"}
    address = next(flag for flag in flags if str(flag).startswith("--http-endpoint")).partition("=")[2]
    async with aiohttp.ClientSession() as session, session.get(f"http://{address}/peer-metrics") as response:
        assert "csi_sidecar_operations_seconds" in await response.text()
    run.send_signal(signal.SIGHUP)
    async with asyncio.timeout(20):
        assert await run.wait() == 0
    lines = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    idle = [line["subject"] for line in lines if line["event"] == "flag.without_effect"]
    assert len(idle) == len(set(idle)) == 9
    assert [line["signal"] for line in lines if line["event"] == "settings.reload_by_restart"] == ["SIGHUP"]


def storage_class():
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "fast"},
        "provisioner": DRIVER,
        "allowVolumeExpansion": True,
    }


def claim(size):
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            "storageClassName": "fast",
            "volumeMode": "Block",
        },
    }
