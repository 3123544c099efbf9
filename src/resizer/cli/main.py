"""The one executable: `resizer COMMAND`, `kubectl volume-resize COMMAND`, and `/csi-resizer` with flags alone.

A first argument that begins with `-` means `run`, and so does the name csi-resizer, because manifests of CSI drivers
start the peer so; not for the kubectl plugin, which people start. `run` reads Go's flag syntax (cli/go_flags.py); the
other commands are typer's.
"""

import sys
from pathlib import Path

import typer

from resizer import __version__
from resizer.cli import demo, dev, driver, explain, grow, node, run, status
from resizer.cli.kubectl_switches import plain_switches

OWN_OPTIONS = ("--help", "-h", "--version")

app = typer.Typer(
    name="resizer",
    help="Grow Kubernetes volumes through CSI while the database on them runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def resizer(*, version: bool = typer.Option(False, "--version", help="Print the version and end.")) -> None:
    """Grow Kubernetes volumes through CSI while the database on them runs."""
    if version:
        typer.echo(f"resizer {__version__}")
        raise typer.Exit


app.command()(run.run)
app.command()(demo.demo)
app.command()(dev.dev)
app.command()(driver.driver)
app.command(epilog=status.EPILOG)(status.status)
app.command(epilog=explain.EPILOG)(explain.explain)
app.command(epilog=grow.EPILOG)(grow.grow)
app.command()(node.node)


def main() -> None:
    """Run the command line and exit with its code."""
    arguments = sys.argv[1:]
    name = Path(sys.argv[0]).name
    is_peer, is_plugin = name == "csi-resizer", name.startswith("kubectl-")
    is_flag = bool(arguments) and arguments[0].startswith("-") and arguments[0] not in OWN_OPTIONS
    if is_peer or (is_flag and not is_plugin):
        arguments = ["run", *arguments]
    if arguments[:1] == ["run"]:
        sys.exit(run.main(arguments[1:]))
    app(args=plain_switches(arguments))


if __name__ == "__main__":
    main()
