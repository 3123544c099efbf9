"""Logs: structlog, one JSON object a line on standard error, or readable lines on a terminal.

`configure_logs` is called once by the composition root. Modules say `log = structlog.get_logger()` and log dotted
event names with fields; fields bound by `structlog.contextvars` go into every line of the task that bound them. A
call below the level returns before anything is formatted. Python's own logging (aiohttp, grpc, asyncio) comes
out in the same form from warning on. Every value passes through `safe_fields`.
"""

import contextlib
import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog

from resizer.model.text import printable_lines
from resizer.obs.safe_value import safe_fields

LogFormat = Literal["auto", "json", "console"]
EventDict = MutableMapping[str, Any]

DEBUG_VERBOSITY: Final = 4
"""klog's convention: -v=4 and above is for debugging, below that are steps worth reading."""
MAX_TRACEBACK: Final = 16 * 1024

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def level_of_verbosity(verbosity: int) -> int:
    """Translate klog's `-v` into a level of Python's logging: below 0 warnings only, from 4 on everything."""
    if verbosity < 0:
        return logging.WARNING
    return logging.DEBUG if verbosity >= DEBUG_VERBOSITY else logging.INFO


def configure_logs(*, format_: LogFormat = "auto", verbosity: int = 0, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error). "auto" is "console" on a terminal, else "json"."""
    out = stream if stream is not None else sys.stderr
    is_console = format_ == "console" or (format_ == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _format_exception,
            _make_safe,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *_renderers(is_console=is_console, colors=is_console and out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level_of_verbosity(verbosity)),
        logger_factory=_LineLoggerFactory(out),
        # Modules hold their logger from import on: a cached one would keep what was configured first.
        cache_logger_on_first_use=False,
    )
    _take_over_stdlib()


def _renderers(*, is_console: bool, colors: bool) -> list[Any]:
    if is_console:
        return [structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=28)]
    return [_put_first, structlog.processors.JSONRenderer(serializer=_to_json)]


def _to_json(event: EventDict, **_: Any) -> str:
    return msgspec.json.encode(event).decode()


def _put_first(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Time, level and event stand first in the line, for the eye."""
    head = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**head, **event}


def _make_safe(_logger: Any, _method: str, event: EventDict) -> EventDict:
    trace = event.pop("exception", None)
    safe = safe_fields(event)
    if trace is not None:
        safe["exception"] = printable_lines(str(trace), limit=MAX_TRACEBACK)
    return safe


def _format_exception(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Turn `exc_info` into text, without local variables (they may hold a secret)."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    info: _ExcInfo | tuple[None, None, None]
    if isinstance(given, BaseException):
        info = (type(given), given, given.__traceback__)
    else:
        info = given if isinstance(given, tuple) else sys.exc_info()
    if info[0] is not None:
        event["exception"] = "".join(traceback.format_exception(*info)).rstrip()
    return event


class _LineLogger:
    """Writes lines, each in one piece. Standard error that was closed must not end a resize: the line is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _LineLoggerFactory:
    def __init__(self, stream: TextIO) -> None:
        self._logger = _LineLogger(stream)

    def __call__(self, *_: Any) -> _LineLogger:
        return self._logger


class _Forwarder(logging.Handler):
    """Hands records of Python's own logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as the event `library.log`."""
        try:
            log = structlog.get_logger()
            level = min(record.levelno // 10 * 10, logging.CRITICAL)
            log.log(level, "library.log", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)
        except (TypeError, ValueError, OSError):  # arguments that do not fit their format; a closed stream
            self.handleError(record)


def _take_over_stdlib() -> None:
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, _Forwarder)]:
        root.removeHandler(handler)
    root.addHandler(_Forwarder(level=logging.WARNING))
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
