"""All commands, for typer: what `resizer --help` lists, and what people type.

Imported by `cli.main` for every command but `run`, which has a parser of its own and starts without the others.
"""

import typer

from resizer import __version__
from resizer.cli import demo, dev, driver, explain, grow, node, status

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


@app.command()
def run() -> None:
    """Run the pipeline: watch claims, grow volumes (flags as external-resizer's)."""
    # `cli.main` has already sent `run` with its flags to `cli.run`: what arrives here has none.
    from resizer.cli.run import main

    raise typer.Exit(main([]))


app.command()(demo.demo)
app.command()(dev.dev)
app.command()(driver.driver)
app.command(epilog=status.EPILOG)(status.status)
app.command(epilog=explain.EPILOG)(explain.explain)
app.command(epilog=grow.EPILOG)(grow.grow)
app.command()(node.node)
