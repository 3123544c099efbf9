"""What `grow` is going to do, decided before anything is changed: each claim's new size, and everything refused.

Pure. A plan with one refusal is not carried out at all: half of a StatefulSet grown by mistake cannot be made smaller
again.
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Final

from msgspec import Struct

from resizer.explain.facts import ClassFacts, Quota
from resizer.model.objects import Claim
from resizer.model.quantity import MAX_BYTES, MalformedQuantityError, format_bytes, parse_quantity

MOST_PERCENT: Final = 10_000
_MIB: Final = 2**20
_PERCENT: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)%")


class Growth(Struct, frozen=True):
    """How much is wanted: a size, more bytes, or a part more. One of the three."""

    to: str = ""
    by_bytes: int = 0
    by_part: Fraction | None = None

    def size_of(self, claim: Claim) -> tuple[int, str]:
        """Return the new size of this claim in bytes, and as text for its spec. Parts are rounded up to whole MiB."""
        if self.to:
            quantity = parse_quantity(self.to)
            return quantity.bytes, quantity.canonical
        base = present_size(claim)
        if self.by_part is None:
            return base + self.by_bytes, format_bytes(base + self.by_bytes)
        exact = base * (1 + self.by_part)
        rounded = -(-exact.numerator // (exact.denominator * _MIB)) * _MIB
        return rounded, format_bytes(rounded)


class Entry(Struct, frozen=True):
    """One claim of the plan. `refusal` says why it cannot be; `is_asked`: it asks for this already."""

    claim: Claim
    from_bytes: int
    to_bytes: int
    to_text: str
    refusal: str = ""
    is_asked: bool = False

    @property
    def more_bytes(self) -> int:
        """How much it costs."""
        return self.to_bytes - self.from_bytes


class Plan(Struct, frozen=True):
    """All claims, in the order in which they are asked for, and what is refused of the whole."""

    entries: tuple[Entry, ...]
    refusals: tuple[str, ...]

    @property
    def more_bytes(self) -> int:
        """How much it costs altogether."""
        return sum(entry.more_bytes for entry in self.entries if not entry.refusal)


def read_growth(to: str, by: str) -> Growth:
    """Read --to and --by, of which one is given. Raises ValueError with one line."""
    if bool(to) == bool(by):
        raise ValueError("give --to SIZE or --by PERCENT%, one of them")
    if to:
        if not 0 < parse_quantity(to).bytes <= MAX_BYTES:
            raise ValueError(f"--to {to}: a size lies between 1 and 2^63-1 bytes")
        return Growth(to=to)
    percent = _PERCENT.fullmatch(by.strip())
    if percent is not None:
        part = Fraction(percent[1]) / 100
        if not 0 < part <= MOST_PERCENT // 100:
            raise ValueError(f"--by {by}: a part lies between 0 and {MOST_PERCENT}%")
        return Growth(by_part=part)
    try:
        more = parse_quantity(by).bytes
    except MalformedQuantityError as error:
        raise ValueError(f"--by {error}, or a part as 20%") from error
    if not 0 < more <= MAX_BYTES:
        raise ValueError(f"--by {by}: it must be more than nothing")
    if more < _MIB:
        # A percent sign or a suffix forgotten at night would use up one of the few modifications a provider allows.
        raise ValueError(f"--by {by}: that is {more} bytes; write a part as 20%, or a size as 20Gi")
    return Growth(by_bytes=more)


def make_plan(
    claims: Iterable[Claim],
    growth: Growth,
    *,
    classes: Mapping[str, ClassFacts | None],
    quotas: Mapping[str, Iterable[Quota]],
) -> Plan:
    """Plan the growth of these claims. Classes and quotas by the class's name; what is not known refuses nothing."""
    entries = tuple(_entry(claim, growth, classes.get(claim.storage_class)) for claim in claims)
    refusals = [f"{entry.claim.key}: {entry.refusal}" for entry in entries if entry.refusal]
    return Plan(entries, (*refusals, *_over_quota(entries, quotas)))


def present_size(claim: Claim) -> int:
    """What the claim asks for or has, the larger."""
    return max(claim.requested_bytes, claim.capacity_bytes)


def document_of(plan: Plan) -> dict[str, Any]:
    """Return the plan for programs."""
    items = [
        {
            "namespace": entry.claim.namespace,
            "name": entry.claim.name,
            "fromBytes": entry.from_bytes,
            "toBytes": entry.to_bytes,
            "moreBytes": entry.more_bytes,
            "to": entry.to_text,
            "alreadyAsked": entry.is_asked,
            "refused": entry.refusal or None,
        }
        for entry in plan.entries
    ]
    return {"items": items, "moreBytes": plan.more_bytes, "refused": list(plan.refusals)}


def lines_of(plan: Plan) -> list[str]:
    """Return the plan as a table, sizes in bytes too."""
    heads = ("NAMESPACE", "NAME", "FROM", "TO", "FROM-BYTES", "TO-BYTES", "MORE-BYTES", "PLAN")
    rows = [heads, *(_cells(entry) for entry in plan.entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    claims = "1 claim" if len(plan.entries) == 1 else f"{len(plan.entries)} claims"
    return [*lines, f"{claims}, {plan.more_bytes} bytes more ({format_bytes(plan.more_bytes)})"]


def _cells(entry: Entry) -> tuple[str, ...]:
    sizes = (str(entry.from_bytes), str(entry.to_bytes), str(entry.more_bytes))
    what = "refused" if entry.refusal else "asked for already" if entry.is_asked else "grow"
    claim = entry.claim
    return (claim.namespace, claim.name, format_bytes(entry.from_bytes), entry.to_text, *sizes, what)


def _entry(claim: Claim, growth: Growth, class_: ClassFacts | None) -> Entry:
    present = present_size(claim)
    to_bytes, text = growth.size_of(claim)
    refusal = _refusal(claim, to_bytes, text, class_)
    return Entry(claim, present, to_bytes, text, refusal, is_asked=not refusal and to_bytes == present)


def _refusal(claim: Claim, to_bytes: int, text: str, class_: ClassFacts | None) -> str:
    """Say why this claim cannot be grown to this size; the first reason that holds."""
    if claim.phase != "Bound":
        return f"it is {claim.phase or 'not bound'}: only a bound claim can grow"
    if claim.deleting:
        return "it is being deleted"
    if to_bytes > MAX_BYTES:
        return f"{text} is more than a volume can have"
    if to_bytes < present_size(claim):
        has = format_bytes(present_size(claim))
        return f"{text} is less than the {has} that it asks for or has; a volume cannot be made smaller"
    if to_bytes == present_size(claim):
        return ""
    if not claim.storage_class:
        return "it has no storage class: only claims of a class with allowVolumeExpansion: true can grow"
    if class_ is not None and not class_.is_there:
        return f"its StorageClass {class_.name} does not exist, so nothing allows growth"
    if class_ is not None and not class_.allows_growth:
        return f"its StorageClass {class_.name} does not have allowVolumeExpansion: true"
    return ""


def _over_quota(entries: Iterable[Entry], quotas: Mapping[str, Iterable[Quota]]) -> list[str]:
    """Hold the sum of what is asked for against each quota."""
    needed: dict[Quota, int] = {}
    for entry in entries:
        for quota in quotas.get(entry.claim.storage_class, ()) if not entry.refusal else ():
            needed[quota] = needed.get(quota, 0) + entry.to_bytes - entry.claim.requested_bytes
    return [
        f"quota {quota.name}: {quota.resource} leaves {format_bytes(max(0, quota.hard_bytes - quota.used_bytes))}, "
        f"and the plan needs {format_bytes(more)} more; raise the quota or grow less"
        for quota, more in needed.items()
        if more > 0 and quota.used_bytes + more > quota.hard_bytes
    ]
