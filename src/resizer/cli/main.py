"""The one executable: `resizer COMMAND`, `kubectl volume-resize COMMAND`, and `/csi-resizer` with flags alone.

A first argument that begins with `-` means `run`, and so does the name csi-resizer, because manifests of CSI drivers
start the peer so; not for the kubectl plugin, which people start. `run` reads Go's flag syntax (cli/go_flags.py); the
other commands are typer's (cli/commands.py). Each side is imported only where it is meant: a claim that is edited
while the program starts waits for every import. Ctrl-C during these imports ends it as later: quietly, with 130.
"""

import sys
from pathlib import Path

OWN_OPTIONS = ("--help", "-h", "--version")
INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        _main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _main(arguments: list[str]) -> None:
    name = Path(sys.argv[0]).name
    is_peer, is_plugin = name == "csi-resizer", name.startswith("kubectl-")
    is_flag = bool(arguments) and arguments[0].startswith("-") and arguments[0] not in OWN_OPTIONS
    if is_peer or (is_flag and not is_plugin):
        arguments = ["run", *arguments]
    if arguments[:1] == ["run"]:
        _run(arguments[1:])
    else:
        _run_command(arguments)


def _run(arguments: list[str]) -> None:
    from resizer.cli.lean_imports import lean_imports

    with lean_imports():
        from resizer.cli.run import main as run

    sys.exit(run(arguments))


def _run_command(arguments: list[str]) -> None:
    from resizer.cli.commands import NAMES, make_app
    from resizer.cli.kubectl_switches import plain_switches

    app = make_app(arguments[0]) if arguments[:1] and arguments[0] in NAMES else make_app()
    app(args=plain_switches(arguments))


if __name__ == "__main__":
    main()
