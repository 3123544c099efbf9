"""Everything that has to run before a claim can be grown, put up and taken down in the right order.

    run folder and its lock > driver > development cluster > pipeline > writers in pods

Down goes the reverse way, whatever ended the run: then what the driver left mounted or attached is released, and the
folder removed. So nothing is left behind after success, failure, Ctrl-C or SIGTERM; what kill -9 leaves, the next
run finds by the free lock.
"""

import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from resizer.demo import objects
from resizer.demo.choice import Choice, choose
from resizer.demo.display import Display
from resizer.demo.observer import Observer
from resizer.demo.options import Options
from resizer.demo.parts import DemoError, Parts
from resizer.demo.state import choose_root, held_by_kernel, own_run
from resizer.devcluster.cluster import Cluster
from resizer.devcluster.kubelet import Containers

_FULL_BYTES: Final = 16 * 1024 * 1024
"""With less than this free no filesystem is made or grown; some is free again by the time a failure is seen."""


class RunningPods(Containers, Protocol):
    """What runs in the demo's pods."""

    async def stop_all(self) -> None:
        """End everything that was started in them."""


P = TypeVar("P", bound=RunningPods)
MakePods = Callable[[Choice, Path], P]
"""Called with what was chosen and the folder of the run, before anything runs."""


class Stage(msgspec.Struct, Generic[P], frozen=True):
    """A running demo: what the growths are made on. `run` is the folder of the run."""

    cluster: Cluster
    observer: Observer
    pods: P
    choice: Choice
    run: Path
    kubeconfig: Path
    log: Path
    http_port: int


@contextlib.asynccontextmanager
async def set_stage(
    options: Options, *, parts: Parts, display: Display, make_pods: MakePods[P]
) -> AsyncIterator[Stage[P]]:
    """Run driver, cluster and pipeline for the block. DemoError when one of them cannot be had."""
    http_port = free_port(options.http_port)
    with own_run(choose_root()) as run:
        choice = await choose(options, parts=parts, folder=run)
        display.note(f"backend {choice.backend}, filesystem {choice.filesystem}: {choice.reason}")
        pods = make_pods(choice, run)
        parts.log_to(run / "log")
        try:
            async with _running(
                run, options=options, choice=choice, parts=parts, display=display, pods=pods, port=http_port
            ) as stage:
                yield stage
        except DemoError as error:
            if shutil.disk_usage(run).free < _FULL_BYTES:
                raise DemoError(f"the disk with {run} is full: free some, or set TMPDIR elsewhere; {error}") from error
            raise
        finally:
            await pods.stop_all()
            failures = await parts.release(run / "driver")
            held = held_by_kernel(run)
            # A failure that left nothing standing (a full disk, say) is no news: the folder goes now.
            for line in [*failures, *held] if held else []:
                display.note(f"left behind: {line}")


@contextlib.asynccontextmanager
async def _running(
    run: Path, *, options: Options, choice: Choice, parts: Parts, display: Display, pods: P, port: int
) -> AsyncIterator[Stage[P]]:
    csi = run / "csi.sock"
    async with contextlib.AsyncExitStack() as stack:
        driver = parts.start_driver(
            state_dir=run / "driver",
            socket=csi,
            node_id=objects.NODE,
            backend=choice.backend,
            protocol=options.protocol,
        )
        await stack.enter_async_context(driver)
        cluster = await stack.enter_async_context(
            Cluster.start(state_dir=run, drivers=[f"unix://{csi}"], nodes=[objects.NODE], containers=pods)
        )
        observer = Observer(cluster, on_stage=display.stage)
        parts.on_driver_call(observer.on_driver_call)
        kubeconfig = run / "kubeconfig"
        cluster.server.kubeconfig(kubeconfig)
        pipeline = parts.start_pipeline(kubeconfig=kubeconfig, drivers=[f"unix://{csi}"], http_port=port)
        await stack.enter_async_context(pipeline)
        display.note(f"metrics at http://127.0.0.1:{port}/metrics while this runs")
        yield Stage(cluster, observer, pods, choice, run, kubeconfig, run / "log", port)


def free_port(port: int) -> int:
    """Return the port if it can be listened on, or a free one for 0."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError as error:
            raise DemoError(
                f"port {port} on 127.0.0.1 cannot be used: {error.strerror}; name another with --http-port"
            ) from error
        return int(probe.getsockname()[1])
