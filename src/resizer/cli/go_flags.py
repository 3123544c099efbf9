"""Flags in Go's syntax, because manifests of CSI drivers are written in it.

`-v=5`, `--v 5`, `-timeout=15s`, `--leader-election`, `--leader-election=true` all work, and a repeated flag adds up
where its setting is a list. Flags of the peer and of klog that have no effect here are taken and named, so that a
manifest starts as it is. Anything else is an error that names the nearest flag there is.
"""

from typing import Any, Final

from msgspec import Struct

from resizer.settings import Settings, SettingsError, suggest_setting

NO_EFFECT: Final = {
    "automaxprocs": "one event loop uses one processor",
    "extra_modify_metadata": "volumes are not modified",
    "add_dir_header": "log lines are structured",
    "alsologtostderr": "logs go to standard error",
    "log_backtrace_at": "log lines are structured",
    "log_dir": "logs go to standard error",
    "log_file": "logs go to standard error",
    "log_file_max_size": "logs go to standard error",
    "log_flush_frequency": "every line is written at once",
    "log_json_info_buffer_size": "every line is written at once",
    "log_json_split_stream": "logs go to standard error",
    "log_text_info_buffer_size": "every line is written at once",
    "log_text_split_stream": "logs go to standard error",
    "logging_format": "use --log-format",
    "logtostderr": "logs go to standard error",
    "one_output": "logs go to standard error",
    "skip_headers": "log lines are structured",
    "skip_log_headers": "log lines are structured",
    "stderrthreshold": "logs go to standard error",
    "vmodule": "use -v",
}
_NO_EFFECT_SWITCHES: Final = frozenset(
    {
        "automaxprocs",
        "extra_modify_metadata",
        "add_dir_header",
        "alsologtostderr",
        "log_json_split_stream",
        "log_text_split_stream",
        "logtostderr",
        "one_output",
        "skip_headers",
        "skip_log_headers",
    }
)
_SWITCHES: Final = frozenset({"version", "help", "check_config"})


class GoFlags(Struct):
    """What a command line said."""

    settings: dict[str, Any]
    config: str = ""
    without_effect: tuple[str, ...] = ()
    switches: frozenset[str] = frozenset()
    """Which of --version, --help and --check-config were given."""


def parse_go_flags(arguments: list[str]) -> GoFlags:
    """Read a command line. Raises SettingsError with one line for the first mistake."""
    found = GoFlags(settings={})
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if not word.startswith("-") or word in ("-", "--"):
            raise SettingsError(f"{word!r} is no flag; `resizer run` takes flags only")
        name, given, value = word.lstrip("-").partition("=")
        field = {"h": "help"}.get(name, name).replace("-", "_")
        _refuse_unknown(field, name)
        if _is_switch(field):
            value = value if given else "true"
        elif not given:
            if not queue:
                raise SettingsError(f"--{name} needs a value, as in --{name}=VALUE")
            value = queue.pop(0)
        _take(found, field, name, value)
    return found


def _refuse_unknown(field: str, name: str) -> None:
    if field not in _SWITCHES and field not in NO_EFFECT and field not in ("config", *Settings.model_fields):
        near = suggest_setting(field)
        raise SettingsError(f"--{name} is no flag" + (f"; did you mean --{near}?" if near else "; see --help"))


def _is_switch(field: str) -> bool:
    known = Settings.model_fields.get(field)
    return field in _SWITCHES | _NO_EFFECT_SWITCHES or (known is not None and known.annotation is bool)


def _take(found: GoFlags, field: str, name: str, value: str) -> None:
    if field in _SWITCHES:
        if _read_bool(name, value):
            found.switches |= {field}
    elif field == "config":
        found.config = value
    elif field in NO_EFFECT:
        found.without_effect = (*found.without_effect, field)
    elif field == "csi_address":
        found.settings.setdefault(field, []).append(value)
    elif Settings.model_fields[field].annotation is bool:
        found.settings[field] = _read_bool(name, value)
    else:
        found.settings[field] = value


def _read_bool(name: str, value: str) -> bool:
    """Read a boolean as Go's strconv.ParseBool does."""
    if value in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise SettingsError(f"--{name}={value}: write true or false")
