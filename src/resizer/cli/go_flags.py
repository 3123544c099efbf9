"""Flags in Go's syntax, because manifests of CSI drivers are written in it.

`-v=5`, `--v 5`, `-timeout=15s`, `--leader-election`, `--leader-election=true` all work, and a repeated flag adds up
where its setting is a list. Flags of the peer and of klog that have no effect here (`idle_flags.py`) are taken and
named, so that a manifest starts as it is. What Go's parser or the peer refuses is refused here, each mistake with a
line of its own that names the nearest flag there is. One difference: behind the first word that is no flag Go ignores
all that follows; we call such a word a mistake.
"""

import difflib
from typing import Any, Final

from msgspec import Struct

from resizer.cli.idle_flags import IDLE_FLAGS, read_bool, read_idle
from resizer.settings import SETTINGS, SWITCH, SettingsError

SWITCHES: Final = {
    "version": "Print the version and end.",
    "help": "Print this and end.",
    "check-config": "Check the settings, print each with its origin, and end: 0 usable, 2 not.",
}
LOGGING_FORMAT: Final = {"json": "json", "text": "console"}
"""The peer's --logging-format, and the --log-format that does the same."""

_SETTINGS: Final = {name.replace("_", "-"): name for name in SETTINGS}
_BOOLEANS: Final = frozenset(flag for flag, name in _SETTINGS.items() if SETTINGS[name].kind is SWITCH)
_OTHERS: Final = ("config", "logging-format")
FLAGS: Final = (*_SETTINGS, *_OTHERS, *SWITCHES, *IDLE_FLAGS)
"""Every flag there is, spelled as on the command line."""


class GoFlags(Struct):
    """What a command line said."""

    settings: dict[str, Any]
    config: str = ""
    without_effect: tuple[str, ...] = ()
    switches: frozenset[str] = frozenset()
    """Which of --version, --help and --check-config were given."""
    mistakes: tuple[str, ...] = ()
    """A line for each thing that is wrong; when there are any, the rest is what could be read nevertheless."""


def parse_go_flags(arguments: list[str]) -> GoFlags:
    """Read a command line. Raises SettingsError with a line for each mistake."""
    found = read_go_flags(arguments)
    if found.mistakes:
        raise SettingsError(*found.mistakes)
    return found


def read_go_flags(arguments: list[str]) -> GoFlags:
    """Read a command line as far as it can be read; what is wrong with it stands in `mistakes`."""
    found = GoFlags(settings={})
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word == "--" and not queue:
            break
        try:
            _read_word(found, word, queue)
        except SettingsError as error:
            found.mistakes += error.mistakes
    return found


def _read_word(found: GoFlags, word: str, queue: list[str]) -> None:
    if not word.startswith("-") or word in ("-", "--"):
        raise SettingsError(f"{word!r} is no flag; `resizer run` takes flags only")
    name, given, value = word.removeprefix("-").removeprefix("-").partition("=")
    if not name or name.startswith("-"):
        raise SettingsError(f"{word!r} is no flag: write --name=value")
    name = "help" if name == "h" else name
    if name not in FLAGS:
        _skip_value(queue, given)
        near = _nearest(name)
        raise SettingsError(f"--{name} is no flag" + (f"; did you mean --{near}?" if near else "; see --help"))
    if not given and not _is_switch(name):
        if not queue:
            raise SettingsError(f"--{name} needs a value, as in --{name}=VALUE")
        value = queue.pop(0)
    elif not given:
        value = "true"
        if queue and queue[0].lower() in ("true", "false"):
            raise SettingsError(f"--{name} {queue.pop(0)}: a switch takes its value with =, as in --{name}=false")
    _take(found, name, value)


def _skip_value(queue: list[str], given: str) -> None:
    """Take what is most likely the value of an unknown flag, so that it is not called a mistake of its own."""
    if not given and queue and not queue[0].startswith("-"):
        queue.pop(0)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), FLAGS, n=1) or difflib.get_close_matches(name, FLAGS, n=1)
    return near[0] if near else ""


def _is_switch(name: str) -> bool:
    return name in SWITCHES or name in _BOOLEANS or (name in IDLE_FLAGS and IDLE_FLAGS[name].kind == "switch")


def _take(found: GoFlags, name: str, value: str) -> None:
    if name in SWITCHES:
        found.switches |= {name} if read_bool(name, value) else set()
    elif name == "config":
        found.config = value
    elif name == "logging-format":
        _take_logging_format(found, value)
    elif name in IDLE_FLAGS:
        read_idle(name, value)
        if name not in found.without_effect:
            found.without_effect = (*found.without_effect, name)
    else:
        _take_setting(found, _SETTINGS[name], name, value)


def _take_setting(found: GoFlags, field: str, name: str, value: str) -> None:
    """A repeated list adds up, as the peer's do; of anything else the last counts, as everywhere in Go."""
    if name == "csi-address":
        found.settings.setdefault(field, []).append(value)
    elif name in ("feature-gates", "leader-election-labels"):
        found.settings[field] = ",".join(filter(None, (found.settings.get(field), value)))
    else:
        found.settings[field] = read_bool(name, value) if name in _BOOLEANS else value


def _take_logging_format(found: GoFlags, value: str) -> None:
    if value not in LOGGING_FORMAT:
        raise SettingsError(f"--logging-format={value}: write text or json")
    found.settings.setdefault("log_format", LOGGING_FORMAT[value])
