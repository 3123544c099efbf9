"""`resizer run`: the pipeline, as a sidecar, as a Deployment of its own or on a laptop."""

import asyncio
import gc
import os
import signal
import sys
import textwrap
from typing import Final

import structlog

from resizer import __version__
from resizer.cli.check_config import describe, find_start_problems
from resizer.cli.go_flags import SWITCHES, GoFlags, read_go_flags
from resizer.cli.idle_flags import IDLE_FLAGS
from resizer.cli.lean_imports import lean_imports
from resizer.cli.notices import Notice, find_notices
from resizer.model.flag_value import format_duration
from resizer.settings import SETTINGS, Loaded, Setting, Settings, SettingsError, is_duration, load

log = structlog.get_logger()

INTRODUCTION: Final = """\
Usage: resizer run [FLAGS]

Watch claims, and grow the volume and the filesystem of each that asks for more than it has.
Flags are those of external-resizer, in Go's syntax (-v=5, --timeout 15s, --leader-election=true);
each setting may also stand in the environment (RESIZER_TIMEOUT=15s) or in the file that --config names.
A flag wins over the environment, that over the file. All are read at the start: a change needs a restart (SIGHUP ends
the program in order, and in a pod the kubelet starts it anew).
"""

YOUNG_OBJECTS: Final = 10_000
"""So many new objects between two garbage collections (Python's own: 700): each request makes dozens."""

EXAMPLES: Final = """\
Examples:
  resizer run --kubeconfig ~/.kube/config --csi-address /tmp/csi.sock --http-endpoint :8080
  resizer run --csi-address /csi/a.sock --csi-address /csi/b.sock --leader-election

Exit codes: 0 ended on SIGTERM, SIGHUP or Ctrl-C (130: Ctrl-C while still starting), 1 failed, 2 a setting or the
kubeconfig cannot be used.
"""


def main(arguments: list[str]) -> int:
    """Run the pipeline with these flags until a signal; return the exit code."""
    flags = read_go_flags(arguments)
    if "help" in flags.switches:
        _say(help_text())
        return 0
    if "version" in flags.switches and not flags.mistakes:
        _say(f"resizer {__version__}")
        return 0
    try:
        loaded = _load(flags)
    except SettingsError as error:
        for mistake in error.mistakes:
            _complain(f"resizer run: {mistake}")
        return 2
    notices = find_notices(loaded.settings, flags.without_effect, os.environ)
    if "check-config" in flags.switches:
        return _report(loaded, notices)
    return _run(loaded.settings, notices)


def _load(flags: GoFlags) -> Loaded:
    """Load the settings. Raises SettingsError with the mistakes of the flags and of their values together."""
    try:
        loaded = load(flags.settings, file=flags.config)
    except SettingsError as error:
        raise SettingsError(*flags.mistakes, *error.mistakes) from error
    if flags.mistakes:
        raise SettingsError(*flags.mistakes)
    return loaded


def _report(loaded: Loaded, notices: list[Notice]) -> int:
    """Say what --check-config has found; return the exit code."""
    for notice in notices:
        kind = "warning" if notice.is_warning else "note"
        _complain(f"resizer run: {kind}: {notice.subject}: {notice.reason}")
    problems = find_start_problems(loaded.settings)
    for problem in problems:
        _complain(f"resizer run: {problem}")
    if problems:
        return 2
    _say(describe(loaded))
    return 0


def help_text() -> str:
    """Return the help, made from the settings themselves."""
    lines = [INTRODUCTION, "Flags:"]
    for setting in SETTINGS.values():
        default = _default_text(setting)
        shown = f" [{default}]" if default else ""
        lines.append(_help_line(setting.name.replace("_", "-"), f"{setting.description}{shown}"))
    lines.append(_help_line("config", "YAML file with settings by these names."))
    lines.append(_help_line("logging-format", "The peer's name for log-format: text is console, json is json."))
    lines.extend(_help_line(name, text) for name, text in SWITCHES.items())
    taken = "Taken without effect, so that manifests start as they are: " + ", ".join(
        f"--{flag}" for flag in IDLE_FLAGS
    )
    lines.append("\n" + textwrap.fill(taken, 118, break_on_hyphens=False) + "\n")
    return "\n".join([*lines, EXAMPLES])


def _default_text(setting: Setting) -> str:
    """Return the default as a flag would have it; empty where it is nothing."""
    default = setting.default
    if is_duration(setting.name):
        return format_duration(default)
    if not default:
        return ""
    return ",".join(default) if isinstance(default, list) else str(default).lower()


def _help_line(flag: str, text: str) -> str:
    return f"  --{flag:34} {text}"


def _run(settings: Settings, notices: list[Notice]) -> int:
    with lean_imports():
        import uvloop

        from resizer.app import StartError, run_pipeline
        from resizer.obs.logs import configure_logs

    configure_logs(verbosity=settings.v, format_=settings.log_format, stream=sys.stderr)
    for notice in notices:
        say = log.warning if notice.is_warning else log.info
        say(notice.event, subject=notice.subject, reason=notice.reason)

    async def until_signal() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, _end_to_reload, stop)
        await run_pipeline(settings, stop=stop)

    # Modules and classes stay for ever: a collection that walks over them each time holds up the event loop.
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    try:
        uvloop.run(until_signal())
    except StartError as error:
        _complain(f"resizer run: {error}")
        return error.exit_code
    return 0


def _say(text: str) -> None:
    if sys.stdout is not None:  # closed by whoever started us
        sys.stdout.write(f"{text}\n")


def _complain(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")


def _end_to_reload(stop: asyncio.Event) -> None:
    """End as on SIGTERM: settings are read at a start, and in a pod the kubelet starts the container anew."""
    log.info("settings.reload_by_restart", signal="SIGHUP", consequence="ending; settings are read at the next start")
    stop.set()
