"""Failure rules of known drivers, read from YAML: what a driver's message means beyond its gRPC code.

In: a folder of files: `config/drivers/*.yaml`, which the wheel carries as `resizer/csi/known_drivers`, and one of the
user's own. Out: a `RuleBook` that gives the rules of one driver by name. The
classes are the core's (`core.verdict`); this module only reads, and refuses what it cannot read with one line that
names the file and the place. A file is:

    driver: ebs.csi.aws.com        # or a shell pattern: "*.csi.example.com"
    rules:
      - match: VolumeModificationRateExceeded   # regular expression, searched in the message, case matters
        codes: [INTERNAL]                       # optional: only with these gRPC codes
        class: rate-limited
        retry_after: 15m                        # optional
        source: https://...                     # where this is documented

A message comes from outside and may be hostile, and Python's regular expressions can take exponential time. So
patterns are kept simple: no repeated group that repeats or branches inside, no back-references, no look-around,
at most two open-ended repetitions, and few combinations of what may or may not be there (`?`, branches of groups),
since each multiplies the others; on the 1,024 characters that are searched the rest is harmless.
"""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

import msgspec
import yaml
from msgspec import Meta, Struct

from resizer.core.verdict import Rule, RuleClass
from resizer.model.errors import GrpcCode

_HERE: Final = Path(__file__).resolve().parent
MAX_FILE_BYTES: Final = 256 * 1024
MAX_PATTERN: Final = 500
MAX_OPEN_REPETITIONS: Final = 2
MAX_CHOICES: Final = 64
MAX_CHOICES_REPEATED: Final = 4
"""With as many open-ended repetitions as may be."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_TOKEN: Final = re.compile(
    r"(?P<escape>\\.)|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])|(?P<open>\((?:\?[^:)]*[:)]?)?)|(?P<close>\))"
    r"|(?P<repeat>[*+]|\{\d*,?\d*\})|(?P<maybe>\?)|(?P<branch>\|)|(?P<other>.)",
    re.DOTALL,
)
_GROUP_STARTS: Final = frozenset({"(", "(?:", "(?i:"})


class MalformedRulesError(ValueError):
    """A rule file that cannot be used; the text names the file, the place, the cause."""


class _RuleLine(Struct, frozen=True, forbid_unknown_fields=True):
    match: Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN)]
    class_: RuleClass = msgspec.field(name="class")
    codes: tuple[GrpcCode, ...] = ()
    retry_after: str = "0s"
    source: str = ""


class _RuleFile(Struct, frozen=True, forbid_unknown_fields=True):
    driver: Annotated[str, Meta(min_length=1, max_length=253)]
    rules: tuple[_RuleLine, ...]


class RuleBook(Struct, frozen=True):
    """The rules of all files, in the order of the files' names and, in a file, of its lines."""

    entries: tuple[tuple[str, tuple[Rule, ...]], ...] = ()

    def before(self, other: "RuleBook") -> "RuleBook":
        """Return both books as one, this one's rules first."""
        return RuleBook(self.entries + other.entries)

    def rules_of(self, driver: str) -> tuple[Rule, ...]:
        """Return the rules for the driver of this name; the first that matches a message counts."""
        return tuple(rule for pattern, rules in self.entries if fnmatchcase(driver, pattern) for rule in rules)


def load_known_rules() -> RuleBook:
    """Read the rules that ship with the program. Raises MalformedRulesError."""
    installed, in_source_tree = _HERE / "known_drivers", _HERE.parents[2] / "config" / "drivers"
    return load_rules(installed if installed.is_dir() else in_source_tree)


def load_rules(folder: Path) -> RuleBook:
    """Read every `*.yaml` of the folder. Raises MalformedRulesError for the first that cannot be used."""
    if not folder.is_dir():
        raise MalformedRulesError(f"{folder}: no such folder of driver rules")
    return RuleBook(tuple(read_rules(path) for path in sorted(folder.glob("*.yaml"))))


def read_rules(path: Path) -> tuple[str, tuple[Rule, ...]]:
    """Read one file: the driver's name or pattern, and its rules. Raises MalformedRulesError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise MalformedRulesError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise MalformedRulesError(f"{path}: it is too long, at most {MAX_FILE_BYTES} bytes are read")
    try:
        document = msgspec.convert(yaml.safe_load(content), type=_RuleFile)
    except yaml.YAMLError as error:
        raise MalformedRulesError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedRulesError(f"{path}: {error}") from error
    return document.driver, tuple(
        _rule(line, place=f"{path}: rules[{number}]") for number, line in enumerate(document.rules)
    )


def _rule(line: _RuleLine, *, place: str) -> Rule:
    return Rule(
        class_=line.class_,
        pattern=_pattern(line.match, place=place),
        codes=line.codes,
        retry_after_s=_duration_s(line.retry_after, place=place),
        source=line.source,
    )


def _duration_s(text: str, *, place: str) -> float:
    if _DURATION.fullmatch(text) is None:
        raise MalformedRulesError(f"{place}.retry_after: {text!r} is no duration, write 15m, 1h30m or 30s")
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))


def _pattern(text: str, *, place: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise MalformedRulesError(f"{place}.match: {text!r} is no regular expression: {error}") from error
    if compiled.match("") is not None:
        raise MalformedRulesError(f"{place}.match: {text!r} matches every message, even an empty one")
    flaw = _find_flaw(text)
    if flaw:
        raise MalformedRulesError(f"{place}.match: {text!r} {flaw}: a hostile message could make it run for hours")
    return compiled


def _find_flaw(pattern: str) -> str:
    """Say what makes a valid pattern too costly to search with, or nothing."""
    open_repetitions = 0
    busy_groups: list[bool] = []  # for each open group: whether it repeats or branches inside
    closed_busy = False  # the token before this one closed a busy group
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup, token.group()
        is_repeat = kind == "repeat" and (text in "*+" or "," in text or text.strip("{}").isdigit())
        if is_repeat and closed_busy:
            return "repeats a group that repeats or branches inside"
        closed_busy = False
        if kind == "open" and text not in _GROUP_STARTS and not re.fullmatch(r"\(\?[aimsux]+\)", text):
            return "uses look-around, conditions or named groups"
        if kind == "open" and not text.endswith(")"):
            busy_groups.append(False)
        elif kind == "close" and busy_groups:
            closed_busy = busy_groups.pop()
            if closed_busy and busy_groups:
                busy_groups[-1] = True
        elif (is_repeat or kind in ("maybe", "branch")) and busy_groups:
            busy_groups[-1] = True
        elif kind == "escape" and text[1] in "123456789":
            return "uses a back-reference"
        open_repetitions += is_repeat and (text in "*+" or "," in text)
    if open_repetitions > MAX_OPEN_REPETITIONS:
        return "has more than two open-ended repetitions"
    most = MAX_CHOICES if open_repetitions < MAX_OPEN_REPETITIONS else MAX_CHOICES_REPEATED
    return "has too many combinations of optional parts" if _count_choices(pattern) > most else ""


def _count_choices(pattern: str) -> int:
    """In how many ways the optional parts of a pattern can be taken, at most.

    Alternatives add up, in a group as in the whole; what stands side by side multiplies, and each `?` doubles it.
    """
    levels = [[0, 1]]  # for the whole and each open group: the alternatives before this one, and the ways of this one
    before = ""
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup or "", token.group()
        if kind == "open" and not text.endswith(")"):
            levels.append([0, 1])
        elif kind == "close" and len(levels) > 1:
            ways = sum(levels.pop())
            levels[-1][1] *= ways
        elif kind == "branch":
            levels[-1] = [sum(levels[-1]), 1]
        elif kind == "maybe" and before not in ("repeat", "maybe"):  # behind a repetition it makes that one lazy
            levels[-1][1] *= 2
        before = kind
    return sum(levels[0])
