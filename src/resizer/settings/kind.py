"""Kinds of settings: how a value is read that somebody wrote in a flag, a variable or a YAML file.

In: the text of a flag or a variable, or what YAML made of it (a text, number, boolean, list or mapping). Out: the value
that the program uses. A reader raises ValueError for what it does not take, with a line for each mistake that says
what is wrong and what to write instead; `source` puts the setting's name and place before it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, get_args

from msgspec import Struct

from resizer.model.flag_value import parse_bool, parse_duration

_T = TypeVar("_T")
_TRUE: Final = frozenset({"true", "t", "yes", "y", "on", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "off", "0"})
_MOST_BITS: Final = 64
_MOST_DIGITS: Final = 18
_TOO_LONG: Final = "this number is too long: write a smaller one"
_WHOLE: Final = re.compile(r"([+-]?[0-9]+(?:_[0-9]+)*)(?:\.0+)?")


class Kind(Struct, frozen=True):
    """What a setting holds."""

    name: str
    """For people: duration, switch, number, text, list, mapping."""
    read: Callable[[object], Any]
    words: tuple[str, ...] = ()
    """All that it takes; empty where that is no list of words."""


def _read_text(value: object) -> str:
    if isinstance(value, str):
        return value
    how = "give one value" if isinstance(value, list | dict) else "put it into quotes"
    raise _refused(value, f"is no text: {'write a value' if value is None else how}")


def _read_switch(value: object) -> bool:
    """Read a boolean as Go, YAML and shells write it, in any case."""
    word = value.lower() if isinstance(value, str) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise _refused(value, "is neither true nor false: write one of these")


def _read_duration(value: object) -> float:
    if isinstance(value, list | dict):
        raise _refused(value, "is not a duration: write it as 15s, 5m, 1h30m or 300ms")
    return parse_duration(value)


def _read_number(value: object) -> float:
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, int) and text.bit_length() >= _MOST_BITS:
        raise ValueError(_TOO_LONG)
    try:
        if isinstance(text, int | float) or (isinstance(text, str) and text.isascii()):
            return float(text)
    except (ValueError, OverflowError):
        pass
    raise _refused(value, "is no number: write it as 20 or 12.5")


def _read_whole(value: object) -> int:
    """Read a whole number; a fraction of nothing but zeros is none."""
    if isinstance(value, int):
        if value.bit_length() >= _MOST_BITS:
            raise ValueError(_TOO_LONG)
        return int(value)  # True is 1
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    whole = _WHOLE.fullmatch(value.strip()) if isinstance(value, str) else None
    if whole is None:
        raise _refused(value, "is no whole number: write it as 100")
    if len(whole[1]) > _MOST_DIGITS:
        raise ValueError(_TOO_LONG)
    return int(whole[1])


def _none_below_zero(read: Callable[[object], Any]) -> Callable[[object], Any]:
    """Read a negative rate as none: so client-go takes it, and manifests use it."""

    def read_rate(value: object) -> Any:
        try:
            is_below = isinstance(value, str | int | float) and float(value) < 0
        except (ValueError, OverflowError):
            is_below = False
        return read(0 if is_below else value)

    return read_rate


def _read_list(value: object) -> list[str]:
    """Read a,b or a list of texts."""
    if isinstance(value, str):
        return [part for part in value.split(",") if part]
    if not isinstance(value, list):
        raise _refused(value, "is no list: write it as a,b or [a, b]")
    return _read_all(_read_text, value)


def _read_labels(value: object) -> str:
    """Read labels as key:value,key:value (the peer's way), key=value,key=value or a mapping; return the second."""
    if isinstance(value, dict):
        return ",".join(_read_all(_read_label_of_mapping, value.items()))
    if not isinstance(value, str):
        raise _refused(value, "is no label: write it as key:value, several with commas")
    return ",".join(_read_all(_read_label, filter(None, map(str.strip, value.split(",")))))


def _read_label_of_mapping(item: tuple[object, object]) -> str:
    for part in item:
        if part is None or isinstance(part, bool | list | dict) or "," in str(part):
            raise ValueError(f'{item[0]!r} is no label: write it as key: "value", without commas')
    return _read_label(f"{item[0]}={item[1]}".strip())


def _read_label(part: str) -> str:
    label = re.split("[:=]", part)
    if len(label) != 2 or not label[0]:
        raise ValueError(f"{':'.join(label)!r} is no label: write it as key:value, several with commas")
    return "=".join(label)


def _read_gates(value: object) -> dict[str, bool]:
    """Read "Gate=true,Other=false" as Kubernetes programs do, or a mapping."""
    if isinstance(value, dict):
        return dict(_read_all(_read_gate_of_mapping, value.items()))
    if not isinstance(value, str):
        raise _refused(value, "is no mapping: write it as Name=true,Other=false or {Name: true}")
    return dict(_read_all(_read_gate, filter(None, map(str.strip, value.split(",")))))


def _read_gate(item: str) -> tuple[str, bool]:
    name, _, state = item.partition("=")
    try:
        if not name.strip():
            raise ValueError("a name is missing")
        return name.strip(), parse_bool(state)
    except ValueError as error:
        raise ValueError(f"{item!r} is no feature gate: write it as Name=true or Name=false") from error


def _read_gate_of_mapping(item: tuple[object, object]) -> tuple[str, bool]:
    name = _read_text(item[0])
    try:
        return name, _read_switch(item[1])
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error


def _read_all(read: Callable[[Any], _T], values: Iterable[object]) -> list[_T]:
    """Read each of these; the error has the lines of all that cannot be read."""
    found: list[_T] = []
    mistakes: list[str] = []
    for value in values:
        try:
            found.append(read(value))
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return found


def _refused(value: object, reason: str) -> ValueError:
    """Return the error for a value. What may be long, or refer to itself, is called only by what it is."""
    if isinstance(value, list | dict):
        return ValueError(f"a {'list' if isinstance(value, list) else 'mapping'} {reason}")
    return ValueError(f"{'nothing' if value is None else repr(value)} {reason}")


TEXT: Final = Kind("text", _read_text)
SWITCH: Final = Kind("switch", _read_switch)
DURATION: Final = Kind("duration", _read_duration)
RATE: Final = Kind("number", _none_below_zero(_read_number))
BURST: Final = Kind("number", _none_below_zero(_read_whole))
LIST: Final = Kind("list", _read_list)
LABELS: Final = Kind("text", _read_labels)
GATES: Final = Kind("mapping", _read_gates)


def whole(*, at_least: int, at_most: int | None = None) -> Kind:
    """Return the kind of whole numbers within these bounds."""
    wanted = f"{at_least} or more" if at_most is None else f"{at_least} to {at_most}"

    def read(value: object) -> int:
        number = _read_whole(value)
        if number < at_least:
            raise ValueError(f"{number} is too small: give {wanted}")
        if at_most is not None and number > at_most:
            raise ValueError(f"{number} is too large: give {wanted}")
        return number

    return Kind("number", read)


def one_of(literal: object) -> Kind:
    """Return the kind of the words of a Literal type."""
    words: tuple[str, ...] = get_args(literal)

    def read(value: object) -> str:
        if value not in words:
            raise _refused(value, f"is not taken: write {' or '.join(words)}")
        return str(value)

    return Kind("text", read, words)
