"""Values on their way out (a log line, `/debug/state`), made safe: bounded, printable, without secrets.

The second line of defence. The first is that secrets are never handed to a logger; should one be, by its name or
inside something that was logged whole, it is not printed here. Only kinds of values that are known to be plain are
written out: of everything else (a protobuf message, an HTTP request) only the type is named.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Final

from resizer.model.text import printable

MAX_TEXT: Final = 4096
MAX_ITEMS: Final = 1000
MAX_DEPTH: Final = 6
REDACTED: Final = "[redacted]"
_NUMBERS: Final = (bool, int, float)
_SECRET_WORDS: Final = ("secret", "secrets", "token", "password", "passphrase", "authorization", "credentials")


def is_secret_key(key: str) -> bool:
    """Whether what stands under this key may not be shown: `token`, `bearer_token`, `X-Auth-Token`, `secrets`."""
    return key.lower().replace("-", "_").endswith(_SECRET_WORDS)


def safe_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a log line, each made safe, in their order.

    What most of them are, plain short text and numbers, is let pass at a look: a growth writes one line of 15 fields.
    """
    safe: dict[str, Any] = {}
    for key, value in fields.items():
        name, is_secret = _name_of(key)
        kind = type(value)
        is_plain = (kind is str and len(value) <= MAX_TEXT and value.isprintable()) or kind is int or value is None
        safe[name] = value if is_plain and not is_secret else safe_value(value, key=key)
    return safe


@lru_cache(maxsize=1024)  # names of fields are few, and stand in the source
def _name_of(key: str) -> tuple[str, bool]:
    return printable(key, limit=256), is_secret_key(key)


def safe_value(value: Any, *, key: str = "", depth: int = 0) -> Any:
    """Return the value in a form that can be shown and written as JSON. `key` is what it stands under."""
    if key and value and is_secret_key(key):
        return REDACTED
    if isinstance(value, str):
        return printable(value, limit=MAX_TEXT)
    if value is None or isinstance(value, _NUMBERS):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if isinstance(value, Mapping | AbstractSet | list | tuple):
        return _safe_collection(value, depth=depth)
    return _safe_object(value)


def _safe_collection(value: Any, *, depth: int) -> Any:
    if depth >= MAX_DEPTH:
        return "[nested too deeply]"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_ITEMS]
        shown = {printable(str(k), limit=256): safe_value(v, key=str(k), depth=depth + 1) for k, v in pairs}
        if len(value) > MAX_ITEMS:
            shown["..."] = f"{len(value) - MAX_ITEMS} more"
        return shown
    items = [safe_value(item, depth=depth + 1) for item in list(value)[:MAX_ITEMS]]
    return items if len(value) <= MAX_ITEMS else [*items, f"... {len(value) - MAX_ITEMS} more"]


def _safe_object(value: Any) -> Any:
    if isinstance(value, BaseException):
        return printable(f"{type(value).__name__}: {value}", limit=MAX_TEXT)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, PurePath):
        return printable(str(value), limit=MAX_TEXT)
    return f"[{type(value).__module__}.{type(value).__qualname__}]"
