"""Kubernetes quantities, exactly: text in, whole bytes and canonical text out.

The API server writes sizes as quantities ("300Gi", "6G", "5368709120500m", "1e3"). This module reads every
notation it accepts and gives back what it would store. Values are kept as whole billionths (10^-9, the
smallest unit a quantity can hold) in Python integers: no float, no rounding but the two that Kubernetes
itself does, both away from zero (below a billionth when read, below a byte when asked for bytes).

Source: Kubernetes API reference, "Quantity"; the tests hold it against recorded answers of the Go library.
"""

import re
from functools import cached_property, lru_cache, total_ordering
from typing import Final

MAX_BYTES: Final = 2**63 - 1
"""Largest size a CSI call or a claim can carry: int64, in bytes."""

_NANO: Final = 10**9
_MAX_TEXT: Final = 128
_MAX_EXPONENT: Final = 400

_SHAPE: Final = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]+|[a-zA-Z]{0,2})", re.ASCII)
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_TEXT: Final = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_TEXT: Final = {0: "", **{exponent: suffix for suffix, exponent in _BINARY.items()}}


class MalformedQuantityError(ValueError):
    """The text is no Kubernetes quantity."""

    def __init__(self, text: str, reason: str) -> None:
        shown = text if len(text) <= 40 else text[:37] + "..."
        super().__init__(f"{shown!r} is not a quantity: {reason} (write a size as 300Gi or 5368709120)")


@total_ordering
class Quantity:
    """One quantity: its exact value and the notation family it was written in.

    Equality and order are by value: 1Gi equals 1024Mi. `nanos` is the value in billionths.
    """

    def __init__(self, nanos: int, notation: str, *, as_written: str = "") -> None:
        self.nanos = nanos
        self.notation = notation
        self._as_written = as_written

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __lt__(self, other: "Quantity") -> bool:
        return self.nanos < other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __repr__(self) -> str:
        return f"Quantity({self.canonical})"

    @cached_property
    def bytes(self) -> int:
        """Value in whole bytes, rounded away from zero, as the API machinery's Value() does."""
        whole = -(-abs(self.nanos) // _NANO)
        return whole if self.nanos >= 0 else -whole

    @cached_property
    def canonical(self) -> str:
        """Return the text that the API server would store for this value."""
        if self._as_written:
            return self._as_written
        if self.nanos == 0:
            return "0"
        whole = self.nanos % _NANO == 0
        if self.notation == "binary" and whole and abs(self.nanos) >= 1024 * _NANO:
            return _binary_text(self.nanos // _NANO)
        return _decimal_text(self.nanos, exponent_form=self.notation == "exponent")


def _binary_text(value: int) -> str:
    power = 0
    while value % 1024 == 0 and power < 60:
        value //= 1024
        power += 10
    return f"{value}{_BINARY_TEXT[power]}"


def _decimal_text(nanos: int, *, exponent_form: bool) -> str:
    mantissa, exponent = nanos, -9
    while mantissa % 1000 == 0 and (exponent_form or exponent < 18):
        mantissa //= 1000
        exponent += 3
    if exponent_form:
        return f"{mantissa}e{exponent}" if exponent else f"{mantissa}"
    return f"{mantissa}{_DECIMAL_TEXT[exponent]}"


@lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Quantity:
    """Read one quantity.

    Raises MalformedQuantityError for anything the API server would refuse, for text over 128 characters and
    for exponents beyond 400 either way (no size needs them, and their digits would fill the memory).
    """
    text = text.strip()
    if not text:
        raise MalformedQuantityError(text, "it is empty")
    if len(text) > _MAX_TEXT:
        raise MalformedQuantityError(text, f"it is longer than {_MAX_TEXT} characters")
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise MalformedQuantityError(text, "it is not a number with a suffix")
    sign, whole, fraction, suffix = match[1], match[2].lstrip("0"), match[3] or "", match[4]
    nanos, notation = _scaled(text, int(whole + fraction or "0"), places=len(fraction), suffix=suffix)
    if notation == "binary":
        nanos = min(nanos, MAX_BYTES * _NANO)
        if 0 < nanos < _NANO:
            notation = "decimal"
    kept = _is_kept_as_written(whole or "0", fraction, suffix=suffix)
    return Quantity(-nanos if sign == "-" else nanos, notation, as_written=text if kept else "")


def _is_kept_as_written(whole: str, fraction: str, *, suffix: str) -> bool:
    """Whether the Go library stores the text itself: it does for numbers that already look canonical.

    So "+5Gi" and "1.5k" stay as they are, while "4.5Gi" becomes 4608Mi and 1024Mi becomes 1Gi.
    """
    digits = whole + fraction
    if suffix in _BINARY:
        room = 14 - len(whole) - _BINARY[suffix] * 3 // 10
        return not fraction and room >= 0 and int(whole) % 8 != 0
    scale = (_DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])) - len(fraction)
    fits = len(digits) <= 18 and scale >= -9
    return fits and scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


def _scaled(text: str, digits: int, *, places: int, suffix: str) -> tuple[int, str]:
    """Return (billionths, rounded away from zero; notation family)."""
    if suffix in _BINARY:
        return -(-(digits * 2 ** _BINARY[suffix] * _NANO) // 10**places), "binary"
    if suffix in _DECIMAL:
        exponent, notation = _DECIMAL[suffix], "decimal"
    elif len(suffix) > 1 and suffix[0] in "eE" and suffix[1:].lstrip("+-").isdigit():
        exponent, notation = int(suffix[1:]), "exponent"
        if abs(exponent) > _MAX_EXPONENT:
            raise MalformedQuantityError(text, f"its exponent is beyond {_MAX_EXPONENT}")
    else:
        raise MalformedQuantityError(text, f"{suffix!r} is no suffix (known: n u m k M G T P E Ki..Ei)")
    power = exponent + 9 - places
    return (digits * 10**power if power >= 0 else -(-digits // 10**-power)), notation


@lru_cache(maxsize=4096)
def parse_bytes(text: str) -> int:
    """Whole bytes of a quantity, rounded up. Raises MalformedQuantityError, also below 0 or above 2^63-1."""
    size_bytes = parse_quantity(text).bytes
    if not 0 <= size_bytes <= MAX_BYTES:
        raise MalformedQuantityError(text, "a size lies between 0 and 2^63-1 bytes")
    return size_bytes


@lru_cache(maxsize=4096)
def format_bytes(size_bytes: int) -> str:
    """Canonical binary text of a size: 322122547200 is 300Gi, 6000000000 is 5859375Ki."""
    return Quantity(size_bytes * _NANO, "binary").canonical
