"""A flame graph from py-spy's samples: pure, text in, SVG out. Widths are shares of samples, callers stand below."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 1200.0
_ROW: Final = 17
_TOP: Final = 44
_LEAST_SHARE: Final = 0.002
_LETTER: Final = 6.7
_GROUPS: Final = (
    ("Resizer", "#7fa8d9", ("resizer/",)),
    ("aiohttp, TLS", "#e6a15c", ("aiohttp/", "ssl.py", "yarl/", "multidict/")),
    ("gRPC", "#c98bc9", ("grpc/",)),
    ("structlog", "#8fc98f", ("structlog/",)),
    ("prometheus_client", "#d9d27f", ("prometheus_client/",)),
)
_OTHER: Final = ("Python, uvloop", "#cfcfcf")


@dataclass(frozen=True, slots=True)
class Frame:
    """One function, and the file it stands in."""

    name: str
    file: str

    @property
    def colour(self) -> str:
        """Whose it is."""
        found = (colour for _, colour, starts in _GROUPS if self.file.startswith(starts))
        return next(found, _OTHER[1])


Stack = tuple[Frame, ...]


def read(samples: str) -> dict[Stack, int]:
    """Read py-spy's raw format: stacks of the main thread, outermost first, and how often each was seen.

    What runs the event loop is one frame; other threads (gRPC's wait in C, and look busy to py-spy) are left out.
    """
    stacks: Counter[Stack] = Counter()
    for line in samples.splitlines():
        text, _, count = line.rpartition(" ")
        frames = tuple(_frame(part) for part in text.split(";"))
        start = next((n for n, frame in enumerate(frames) if frame.name == "Runner.run"), None)
        if start is not None:
            stacks[(Frame("event loop", "uvloop"), *frames[start + 1 :])] += int(count)
    return dict(stacks)


def _frame(text: str) -> Frame:
    name, _, place = text.rpartition(" (")
    return Frame(name, place.rstrip(")").rpartition(":")[0] or place.rstrip(")"))


def draw(stacks: Mapping[Stack, int], *, title: str) -> str:
    """Draw it; what has less than 0.2 % of the samples is left out."""
    total = sum(stacks.values())
    shown: list[tuple[int, float, float, Frame]] = []
    _place(stacks, 0, 0.0, total, shown)
    depth = 1 + max(level for level, *_ in shown)
    height = _TOP + depth * _ROW + 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height}" font-family="monospace" '
        f'font-size="11"><rect width="{WIDTH:.0f}" height="{height}" fill="#fff"/><text x="20" y="16" font-size="13">'
        f"{escape(title)} (width = share of samples; point at a box for its name)</text>"
    )
    parts = [head]
    for number, (name, colour) in enumerate((*((n, c) for n, c, _ in _GROUPS), _OTHER)):
        x = 20 + 170 * number
        parts.append(f'<rect x="{x}" y="24" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="34">{escape(name)}</text>')
    for level, left, share, frame in shown:
        x, width, y = left * WIDTH, share * WIDTH, height - 8 - (level + 1) * _ROW
        parts.append(
            f"\n<g><title>{escape(frame.name)} ({escape(frame.file)}) {share:.1%}</title>"
            f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.5):.1f}" height="{_ROW - 1}" fill="{frame.colour}"/>'
            f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(_fitted(frame.name, width))}</text></g>'
        )
    return "".join((*parts, "</svg>\n"))


def _place(
    stacks: Mapping[Stack, int], level: int, left: float, total: int, shown: list[tuple[int, float, float, Frame]]
) -> None:
    """Put the frames of this level side by side, the widest first, each with its own callees above it."""
    callees: dict[Frame, dict[Stack, int]] = defaultdict(dict)
    for stack, count in stacks.items():
        if len(stack) > level:
            callees[stack[level]][stack] = count
    for frame, those in sorted(callees.items(), key=lambda item: -sum(item[1].values())):
        share = sum(those.values()) / total
        if share < _LEAST_SHARE:
            return
        shown.append((level, left, share, frame))
        _place(those, level + 1, left, total, shown)
        left += share


def _fitted(name: str, width: float) -> str:
    room = int((width - 6) / _LETTER)
    if len(name) <= room:
        return name
    return f"{name[: room - 2]}.." if room > 4 else ""
