"""Flags of the peer and of klog that have no effect here: what each takes, and why it changes nothing.

The names are those of external-resizer 2.2 and of klog 2.140, spelled as these register them (klog's underscores too).
Each is accepted with the values that Go accepts and named in one line of the log (`flag.without_effect`); a value that
Go refuses is refused.
"""

import re
from typing import Final, Literal

from msgspec import Struct

from resizer.model.flag_value import parse_bool, parse_duration
from resizer.settings import SettingsError

_STDERR: Final = "logs go to standard error, where Kubernetes collects them"
_STRUCTURED: Final = "log lines are structured, they have no headers"
_AT_ONCE: Final = "every line is written at once"

Kind = Literal["switch", "text", "number", "duration", "bytes", "severity", "pattern", "place"]


class IdleFlag(Struct, frozen=True):
    """What kind of value a flag takes, and why it has no effect."""

    kind: Kind
    reason: str


IDLE_FLAGS: Final = {
    # The peer's own.
    "automaxprocs": IdleFlag("switch", "one event loop uses one processor"),
    "extra-modify-metadata": IdleFlag("switch", "it speaks of volume modification, which Resizer does not do"),
    # k8s.io/component-base/logs; --logging-format and -v do have an effect.
    "log-flush-frequency": IdleFlag("duration", _AT_ONCE),
    "log-json-info-buffer-size": IdleFlag("bytes", _AT_ONCE),
    "log-json-split-stream": IdleFlag("switch", _STDERR),
    "log-text-info-buffer-size": IdleFlag("bytes", _AT_ONCE),
    "log-text-split-stream": IdleFlag("switch", _STDERR),
    "vmodule": IdleFlag("pattern", "there are no Go files to choose by; -v sets the level of all"),
    # klog.
    "add_dir_header": IdleFlag("switch", _STRUCTURED),
    "alsologtostderr": IdleFlag("switch", _STDERR),
    "alsologtostderrthreshold": IdleFlag("severity", _STDERR),
    "legacy_stderr_threshold_behavior": IdleFlag("switch", _STDERR),
    "log_backtrace_at": IdleFlag("place", "there are no Go files; an exception is logged with its traceback"),
    "log_dir": IdleFlag("text", _STDERR),
    "log_file": IdleFlag("text", _STDERR),
    "log_file_max_size": IdleFlag("number", _STDERR),
    "logtostderr": IdleFlag("switch", _STDERR),
    "one_output": IdleFlag("switch", _STDERR),
    "skip_headers": IdleFlag("switch", _STRUCTURED),
    "skip_log_headers": IdleFlag("switch", _STRUCTURED),
    "stderrthreshold": IdleFlag("severity", _STDERR),
}

_RIGHT: Final[dict[Kind, tuple[str, str]]] = {
    "text": (r".*", ""),
    "number": (r"\d+", "write a number"),
    "severity": (r"(?i:info|warning|error|fatal)|-?\d+", "write INFO, WARNING, ERROR or FATAL"),
    "bytes": (r"\d+(\.\d+)?([kKMGTPE]i?)?", "write a number of bytes, as 512, 1K or 4Mi"),
    "pattern": (r"([^=,]+=\d+(,[^=,]+=\d+)*)?", "write pattern=N, several with commas"),
    "place": (r"([^:]+:\d+)?", "write file:line"),
}


def read_idle(name: str, value: str) -> None:
    """Check the value of a flag without effect as Go would. Raises SettingsError for what Go refuses."""
    kind = IDLE_FLAGS[name].kind
    if kind == "switch":
        read_bool(name, value)
    elif kind == "duration":
        try:
            parse_duration(value)
        except ValueError as error:
            raise SettingsError(f"--{name}: {error}") from error
    elif re.fullmatch(_RIGHT[kind][0], value) is None:
        raise SettingsError(f"--{name}={value}: {_RIGHT[kind][1]}")


def read_bool(name: str, value: str) -> bool:
    """Read the value of a switch. Raises SettingsError."""
    try:
        return parse_bool(value)
    except ValueError as error:
        raise SettingsError(f"--{name}={value}: write true or false") from error
