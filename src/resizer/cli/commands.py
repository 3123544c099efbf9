"""The commands, for typer: what `resizer --help` lists, and what people type.

Used by `cli.main` for every command but `run`, which has a parser of its own and starts without the others. Each is a
function of the module of its name; only the one that is asked for is imported, and all of them for the list.
"""

from importlib import import_module
from typing import Final

import typer

from resizer import __version__

NAMES: Final = ("demo", "dev", "driver", "status", "explain", "grow", "node")


def make_app(*names: str) -> typer.Typer:
    """Return the command line with these commands, or with all."""
    app = typer.Typer(
        name="resizer",
        help="Grow Kubernetes volumes through CSI while the database on them runs.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_resizer)
    app.command("run")(_run)
    for name in names or NAMES:
        module = import_module(f"resizer.cli.{name}")
        app.command(name, epilog=getattr(module, "EPILOG", None))(getattr(module, name))
    return app


def _resizer(*, version: bool = typer.Option(False, "--version", help="Print the version and end.")) -> None:
    """Grow Kubernetes volumes through CSI while the database on them runs."""
    if version:
        typer.echo(f"resizer {__version__}")
        raise typer.Exit


def _run() -> None:
    """Run the pipeline: watch claims, grow volumes (flags as external-resizer's)."""
    # `cli.main` has already sent `run` with its flags to `cli.run`: what arrives here has none.
    from resizer.cli.run import main

    raise typer.Exit(main([]))
