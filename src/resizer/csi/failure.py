"""From gRPC's failures to ours: every exception a call can end with becomes a DriverError with a safe message.

Called by `call` only. Three things are decided here:

- *Uncertain stays uncertain.* gRPC's own client reports some transport failures under codes that a driver uses
  for a known failure (a stream that broke off: UNKNOWN or INTERNAL), and an answer that cannot be decoded is no
  failure of the growth at all: the driver may well have grown the volume. Both become UNAVAILABLE, whose outcome
  is uncertain, so the recorded target stands and the call is repeated (CSI: ControllerExpandVolume is idempotent).
- *A message is foreign text.* It is bounded and made printable; one byte that is no UTF-8 makes it arrive as Latin-1.
- *Secrets.* A driver may quote a credential it was given: every value of the call's secrets, and each of its lines,
  is taken out of the message before anything else, as it is and as programs write it (base64, percent-encoded, as a
  JSON or Go string, hexadecimal). The original exception is not chained, since it carries the raw text.
"""

import base64
import json
from collections.abc import Iterable
from typing import Final, get_args
from urllib.parse import quote, quote_plus

import grpc

from resizer.model.errors import DriverError, GrpcCode
from resizer.model.text import printable

MAX_MESSAGE: Final = 1024
_SEARCHED: Final = 64 * 1024
MAX_PARTS: Final = 5_000
MAX_ENCODED_PARTS: Final = 200
HIDDEN: Final = "[redacted]"
_CUT_FROM: Final = 8
"""So much of a value at a message's end is taken for its beginning."""
_SHORTEST_SECRET: Final = 4
"""Values shorter than this are ordinary words; taking them out would garble the message and hide nothing."""

_CODES: Final[dict[str, GrpcCode]] = {code: code for code in get_args(GrpcCode)}
_BROKEN_STREAM: Final[tuple[tuple[GrpcCode, str], ...]] = (
    ("UNKNOWN", "Stream removed"),
    ("INTERNAL", "Stream removed"),
    ("INTERNAL", "Received RST_STREAM"),
    ("INTERNAL", "RST_STREAM"),
    ("INTERNAL", "Compression bit set"),
    ("UNKNOWN", "No status received"),
)


def go_code_name(code: str) -> str:
    """Write a code as Go's gRPC does (`DEADLINE_EXCEEDED` is `DeadlineExceeded`), as the peer's metrics have it."""
    if code in ("OK", "CANCELLED"):
        return {"OK": "OK", "CANCELLED": "Canceled"}[code]
    return "".join(part.capitalize() for part in code.split("_"))


def driver_error(error: grpc.aio.AioRpcError, *, secrets: Iterable[str] = ()) -> DriverError:
    """Map gRPC's error of one call. `secrets` are the values that the message may not contain."""
    code = _CODES.get(error.code().name, "UNKNOWN")
    text = error.details() or ""
    if any(code == broken and text.startswith(start) for broken, start in _BROKEN_STREAM):
        code = "UNAVAILABLE"
    return DriverError(code, safe_message(text, secrets=secrets))


def undecodable_answer(method: str) -> DriverError:
    """The driver answered, and nobody can read what: the outcome is unknown."""
    return DriverError("UNAVAILABLE", f"the driver's answer to {method} cannot be decoded, so what it did is not known")


def cancelled_call() -> DriverError:
    """The connection was closed under a call in flight."""
    return DriverError("CANCELLED", "the connection to the driver was closed during the call")


def safe_message(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Return a driver's message without secrets, on one line, at most some 1,024 characters."""
    text = text[:_SEARCHED]
    parts = _parts(secrets)
    if len(parts) > MAX_PARTS:
        return f"[the driver's message is withheld: its secret has {len(parts)} lines, too many to take out]"
    # Beyond some hundred lines (a bundle of certificates) they are looked for as they are: cost stays bounded.
    hidden = {form for part in parts for form in (_written(part) if len(parts) <= MAX_ENCODED_PARTS else (part,))}
    for form in sorted(hidden, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return printable(_without_cut_end(text, hidden), limit=MAX_MESSAGE)


def _parts(secrets: Iterable[str]) -> set[str]:
    """The values and their lines, as far as they are no ordinary words and could stand in the text at all."""
    candidates = (part for value in secrets for part in (value, value.strip(), *value.splitlines()))
    return {part for part in candidates if _SHORTEST_SECRET <= len(part) <= _SEARCHED}


def _without_cut_end(text: str, hidden: Iterable[str]) -> str:
    """Take out a value's beginning at the very end: the driver has cut its message in the middle of it."""
    kept = text.rstrip(" .\u2026\"'")
    for form in hidden:
        at = kept.rfind(form[:_CUT_FROM], max(0, len(kept) - len(form))) if len(form) > _CUT_FROM else -1
        if at >= 0 and form.startswith(kept[at:]):
            return kept[:at] + HIDDEN
    return text


def _written(value: str) -> set[str]:
    """The forms in which a program may write a value."""
    raw = value.encode("utf-8", "surrogatepass")
    plain, url = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    strings = {json.dumps(value), json.dumps(value, ensure_ascii=False), repr(value)}
    # Go's JSON escapes these three, too.
    strings |= {s.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e") for s in strings}
    encoded = {plain, plain.rstrip("="), url, url.rstrip("="), raw.hex(), raw.hex().upper()}
    percent = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    misread = raw.decode("latin-1")  # how gRPC reads a message with a byte in it that is no UTF-8
    return {value, misread, *(s[1:-1] for s in strings), *encoded, *percent}
