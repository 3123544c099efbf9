"""`resizer node`: the node agent, one on every node, where kubelets are not to grow filesystems."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from resizer.cli.lean_imports import lean_imports

if TYPE_CHECKING:
    from resizer.node.service import AgentOptions


def node(
    *,
    node_name: Annotated[
        str, typer.Option(envvar=["RESIZER_NODE_NAME", "NODE_NAME"], help="Name of the Node object of this node.")
    ] = "",
    kubelet_dir: Annotated[
        Path,
        typer.Option(envvar="RESIZER_KUBELET_DIR", help="The kubelet's directory, at the path it has on the host."),
    ] = Path("/var/lib/kubelet"),
    csi_address: Annotated[
        list[str] | None,
        typer.Option(help="Socket of a node plugin that does not register with the kubelet; repeatable."),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(envvar="RESIZER_KUBECONFIG", help="Kubeconfig file; none: the pod's own credentials.")
    ] = None,
    timeout: Annotated[str, typer.Option(help="Deadline of one call to a driver, as 2m or 90s.")] = "2m",
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Claims worked on at the same time.")] = 10,
    http_endpoint: Annotated[str, typer.Option(help="Address of metrics and probes, as :8081; empty: none.")] = "",
    log_format: Annotated[
        Literal["auto", "json", "console"], typer.Option(help="json: one object a line; console: for people.")
    ] = "auto",
    v: Annotated[int, typer.Option("-v", "--v", min=0, max=10, help="4 and above logs debug lines.")] = 0,
) -> None:
    """Grow filesystems on this node by NodeExpandVolume, for claims that `resizer run --node-mode agent` labels.

    Runs as root in a DaemonSet with the kubelet's directory mounted at its own path. Exit codes: 0 ended on SIGTERM
    or Ctrl-C, 1 failed, 2 a flag or the kubeconfig cannot be used.
    """
    from resizer.model.flag_value import parse_duration

    with lean_imports():
        from resizer.node.service import AgentOptions

    if not node_name:
        raise typer.Exit(_fail("--node-name is empty: set it to the pod's spec.nodeName (downward API)", 2))
    try:
        timeout_s = parse_duration(timeout)
    except ValueError as error:
        raise typer.Exit(_fail(f"--timeout: {error}", 2)) from error
    if timeout_s <= 0:
        raise typer.Exit(_fail("--timeout must be above 0: a call without a deadline could hang for ever", 2))
    options = AgentOptions(
        node=node_name,
        kubelet_dir=kubelet_dir,
        csi_addresses=tuple(csi_address or ()),
        kubeconfig=kubeconfig,
        workers=workers,
        timeout_s=timeout_s,
        http_address=http_endpoint,
    )
    raise typer.Exit(_run(options, verbosity=v, log_format=log_format))


def _run(options: "AgentOptions", *, verbosity: int, log_format: Literal["auto", "json", "console"]) -> int:
    import uvloop

    from resizer.node.service import AgentStartError, run_agent
    from resizer.obs.logs import configure_logs

    configure_logs(verbosity=verbosity, format_=log_format, stream=sys.stderr)

    async def until_signal() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run_agent(options, stop=stop)

    try:
        uvloop.run(until_signal())
    except AgentStartError as error:
        return _fail(str(error), error.exit_code)
    return 0


def _fail(text: str, exit_code: int) -> int:
    typer.echo(f"resizer node: {text}", err=True)
    return exit_code
