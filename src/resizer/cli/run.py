"""`resizer run`: the pipeline, as a sidecar, as a Deployment of its own or on a laptop."""

import asyncio
import signal
import sys
from typing import Final

import structlog
import typer

from resizer import __version__
from resizer.cli.go_flags import NO_EFFECT, parse_go_flags
from resizer.settings import Settings, SettingsError, load_settings

INTRODUCTION: Final = """\
Usage: resizer run [FLAGS]

Watch claims, and grow the volume and the filesystem of each that asks for more than it has.
Flags are those of external-resizer, in Go's syntax (-v=5, --timeout 15s, --leader-election=true);
each may also stand in the environment (RESIZER_TIMEOUT=15s) or in the file that --config names.
"""

EXAMPLES: Final = """\
Examples:
  resizer run --kubeconfig ~/.kube/config --csi-address /tmp/csi.sock --http-endpoint :8080
  resizer run --csi-address /csi/a.sock --csi-address /csi/b.sock --leader-election

Exit codes: 0 ended on SIGTERM or Ctrl-C, 1 failed, 2 a setting or the kubeconfig cannot be used.
"""


def run() -> None:
    """Run the pipeline: watch claims, grow volumes (flags as external-resizer's)."""
    # `main` has already sent `run` with its flags to `main()` below: what arrives here has none.
    raise typer.Exit(main([]))


def main(arguments: list[str]) -> int:
    """Run the pipeline with these flags until a signal; return the exit code."""
    try:
        flags = parse_go_flags(arguments)
        if "help" in flags.switches:
            typer.echo(help_text())
            return 0
        if "version" in flags.switches:
            typer.echo(f"resizer {__version__}")
            return 0
        settings = load_settings(flags.settings, file=flags.config)
    except SettingsError as error:
        typer.echo(f"resizer run: {error}", err=True)
        return 2
    if "check_config" in flags.switches:
        typer.echo("the configuration is usable")
        return 0
    return _run(settings, flags.without_effect)


def help_text() -> str:
    """Return the help, made from the settings themselves."""
    lines = [INTRODUCTION, "Flags:"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default in ("", 0, False) or default == {} else f" [{_shown(default)}]"
        lines.append(f"  --{name.replace('_', '-'):34} {field.description}{shown}")
    lines.append(f"  --{'config':34} YAML file with settings by these names.")
    lines.append(f"  --{'check-config':34} Check the settings and end.")
    lines.append(f"  --{'version':34} Print the version and end.")
    taken = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(NO_EFFECT))
    lines.append(f"\nTaken without effect, so that manifests start as they are: {taken}.\n")
    return "\n".join([*lines, EXAMPLES])


def _shown(default: object) -> str:
    return ",".join(map(str, default)) if isinstance(default, list) else str(default).lower()


def _run(settings: Settings, without_effect: tuple[str, ...]) -> int:
    import uvloop

    from resizer.app import StartError, run_pipeline
    from resizer.obs.logs import configure_logs

    configure_logs(verbosity=settings.v, format_=settings.log_format, stream=sys.stderr)
    log = structlog.get_logger()
    for name in without_effect:
        log.info("flag.without_effect", flag=name.replace("_", "-"), reason=NO_EFFECT[name])

    async def until_signal() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await run_pipeline(settings, stop=stop)

    try:
        uvloop.run(until_signal())
    except StartError as error:
        typer.echo(f"resizer run: {error}", err=True)
        return error.exit_code
    return 0
