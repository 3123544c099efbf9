"""Try the image: `python -m tools.image.smoke ARCHIVE` (the OCI archive of tools/build_image.sh).

Its root is unpacked and run as a strict cluster runs it (tools/image/sealed_root.py): read-only, once as root and once
as 65532. It says its version, shows its help, checks its own default configuration, and then grows a claim twice on
the development cluster, beside the reference driver: started as manifests of CSI drivers start external-resizer, and
started by the entry point with flags alone. Both times the growth is asked for by the image's own kubectl plugin.

Exit code: 0 all of it worked, 1 something did not, with its output.
"""

import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final, NoReturn

from tools.image.archive import ArchiveError, Image, read_image, unpack
from tools.image.sealed_root import SOCKETS, SealedRoot
from tools.image.smoke_stage import CLAIM, Cluster, stage, wait_until

ROOT: Final = "0:0"
NOBODY: Final = "65532:65532"
PEERS_FLAGS: Final = (
    "-v=5",
    f"--csi-address={SOCKETS}/socket",
    "--leader-election=true",
    "--leader-election-namespace=default",
    "--timeout=15s",
    f"--kubeconfig={SOCKETS}/kubeconfig",
)
KUBECONFIG: Final = ("--kubeconfig", f"{SOCKETS}/kubeconfig")


class SmokeError(Exception):
    """The image does not do what it should; the text says what was run and what came out."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """The image under trial."""

    image: Image
    sealed: SealedRoot
    work: Path

    @property
    def entrypoint(self) -> list[str]:
        """What a container engine starts."""
        return list(self.image.config["Entrypoint"])

    def say(self, *arguments: str, user: str = NOBODY, contains: str) -> str:
        """Run a command to its end; it must succeed and say this."""
        start = monotonic()
        done = self.sealed.run(list(arguments), user=user)
        if done.returncode or contains not in done.stdout:
            shown = " ".join(arguments)
            raise SmokeError(f"{shown}: exit code {done.returncode}, no {contains!r} in\n{done.stdout}{done.stderr}")
        return f"{done.stdout.strip()}  ({monotonic() - start:.2f} s)"

    def grow(self, cluster: Cluster, start: list[str], *, user: str, to: str) -> None:
        """Start the pipeline so, grow the claim, end it by SIGTERM."""
        port = _free_port()
        command = [*start, *PEERS_FLAGS, f"--http-endpoint=127.0.0.1:{port}"]
        _print(f"$ {' '.join(command)}   # as {user}, read-only root")
        log = self.work / "run.log"
        with log.open("wb") as output, self.sealed.running(command, user=user, log=output) as running:
            try:
                ready_s = wait_until(lambda: _answers(port) or running.process.poll() is not None, "readiness")
                if running.process.poll() is not None:
                    raise SmokeError("the pipeline ended by itself")
                self.say(
                    "/usr/local/bin/kubectl-volume_resize", "grow", CLAIM, "--to", to, "--wait", "--timeout", "60s",
                    *KUBECONFIG, contains=CLAIM,
                )  # fmt: skip
                capacity = cluster.claim()["status"]["capacity"]["storage"]
                if capacity != to:
                    raise SmokeError(f"the claim's capacity is {capacity}, not {to}")
                memory_mib = running.memory_mib()
                code = running.terminate()
            except (SmokeError, TimeoutError, OSError, subprocess.SubprocessError) as error:
                raise SmokeError(f"{error}\n--- the pipeline said\n{log.read_text()[-4000:]}") from error
        if code:
            raise SmokeError(f"after SIGTERM the exit code was {code}\n{log.read_text()[-4000:]}")
        _print(
            f"  ready after {ready_s:.1f} s; claim grown to {capacity}; {memory_mib:.0f} MiB resident; SIGTERM: exit 0"
        )


def smoke(archive: Path, work: Path) -> None:
    """Do all of it."""
    image = read_image(archive)
    root, sockets = work / "root", work / "sockets"
    for folder in (root, sockets):
        folder.mkdir(mode=0o755)
    work.chmod(0o755)
    unpack(image, root)
    trial = Smoke(image, SealedRoot(root=root, environment=tuple(image.config["Env"]), sockets=sockets), work)
    version = image.config["Labels"]["org.opencontainers.image.version"]
    _print(f"$ resizer --version\n{trial.say(*trial.entrypoint, '--version', contains=f'resizer {version}')}")
    _print(f"$ /csi-resizer --version\n{trial.say('/csi-resizer', '--version', user=ROOT, contains=version)}")
    trial.say(*trial.entrypoint, "run", "--help", contains="--leader-election")
    _print("$ resizer run --help\n  ... names every flag")
    _check_contents(trial)
    with stage(work, sockets) as cluster:
        trial.grow(cluster, ["/csi-resizer"], user=ROOT, to="2Gi")
        trial.grow(cluster, trial.entrypoint, user=NOBODY, to="3Gi")


def _check_contents(trial: Smoke) -> None:
    """What the documentation promises to be in the image, and what must not be."""
    share = "/opt/resizer/share/resizer"
    trial.say(*trial.entrypoint, "run", "--check-config", "--config", f"{share}/default.yaml", contains="# file")
    rules = "import importlib.resources as r; print(len(list((r.files('resizer.csi') / 'known_drivers').iterdir())))"
    count = trial.say("/opt/resizer/bin/python3", "-c", rules, contains="")
    if count.startswith("0"):
        raise SmokeError("no rules of known drivers in the image")
    root = trial.sealed.root
    tools = [path for name in ("pip*", "gcc*", "cc", "make") for path in root.glob(f"usr/*bin/{name}")]
    tools += root.glob("opt/resizer/lib/python3*/site-packages/pip")
    if tools:
        raise SmokeError(f"not for the final stage: {', '.join(map(str, tools))}")
    _print(
        "$ resizer run --check-config ...   # default.yaml, rules of known drivers: there; pip, compilers: not there"
    )


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what was tried is the output


def main(arguments: list[str]) -> int:
    """Try the archive named; return the exit code."""
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="resizer-image-", ignore_cleanup_errors=True) as folder:
        try:
            smoke(Path(arguments[0]), Path(folder))
        except (ArchiveError, SmokeError, TimeoutError) as error:
            print(f"image: {error}", file=sys.stderr)  # noqa: T201 - likewise
            return 1
    return 0


def _end(number: int, _frame: object) -> NoReturn:
    """Leave by the usual way out, so that what was started is ended."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
