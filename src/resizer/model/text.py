"""Text that others wrote (a driver, a server, a user), made safe to show: bounded, one line, nothing invisible.

Pure. Whoever prints, logs or stores foreign text sends it through `printable` first: a terminal cannot be driven
by it, a log line cannot be forged by it, and a megabyte of it costs nothing further on. What is not shown as it
is stands there escaped, so that a reader still sees that it was sent.
"""

import re
from typing import Final

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0 (newlines and escape sequences among them), DEL, C1
    "\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # invisible, line-breaking, direction-changing
    "\ufff9-\ufffb\ud800-\udfff]"  # interlinear marks; surrogates, which no UTF-8 encoder takes
)
_UNSAFE_EXCEPT_LAYOUT: Final = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def printable(text: str, *, limit: int) -> str:
    """Return `text` on one line, at most about `limit` characters of it, control characters escaped.

    What is cut off is counted at the end. The text is cut before it is searched: cost is bounded by `limit`.
    """
    if len(text) <= limit and text.isprintable():  # hardly any text is not; what is unsafe never is printable
        return text
    return _shorten(text, _UNSAFE, limit)


def printable_lines(text: str, *, limit: int) -> str:
    """Like `printable`, for text that is meant to have lines (a traceback): newline and tab stay."""
    return _shorten(text, _UNSAFE_EXCEPT_LAYOUT, limit)


def _shorten(text: str, pattern: re.Pattern[str], limit: int) -> str:
    clean = pattern.sub(_escape, text[:limit])
    omitted = max(0, len(text) - limit)
    if len(clean) > limit:  # escapes are longer than what they stand for
        clean = clean[:limit]
        return f"{clean}... (cut)" if not omitted else f"{clean}... ({omitted} more characters)"
    return f"{clean}... ({omitted} more characters)" if omitted else clean
