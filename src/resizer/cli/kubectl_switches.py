"""Switches with a value, as kubectl's users write them: `--watch=false`, `--wait=true`, `--dry-run=client`.

kubectl's flags are Go's, where every switch takes a value after "="; those of the flag library take none. Before it
reads them the command line is put into its form. `run` has a parser of its own (go_flags.py).
"""

from typing import Final

from resizer.model.flag_value import parse_bool

COMMANDS: Final = ("status", "explain", "grow")
_OFF: Final = {"--watch": ["--no-watch"]}
"""What says no to a switch that is not simply off when it is left out."""
_SWITCHES: Final = ("--watch", "--all-namespaces", "--wait", "--keep-going", "--dry-run")


def plain_switches(arguments: list[str]) -> list[str]:
    """Return the command line without values of switches. What is no value of one stays, to be refused by name."""
    if not arguments or arguments[0] not in COMMANDS:
        return arguments
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [plain for word in arguments[:end] for plain in _plain(word)] + arguments[end:]


def _plain(word: str) -> list[str]:
    name, given, value = word.partition("=")
    if not given or name not in _SWITCHES:
        return [word]
    if name == "--dry-run" and value in ("client", "server", "none"):
        value = "false" if value == "none" else "true"
    try:
        return [name] if parse_bool(value) else _OFF.get(name, [])
    except ValueError:
        return [word]
