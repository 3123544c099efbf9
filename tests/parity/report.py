"""What came of playing the recorded cases: who agrees, and which intended differences that took."""

from collections import Counter
from collections.abc import Sequence

from tests.parity.differences import DIFFERENCES, expect
from tests.parity.harness import Played


class Report:
    """The figures of one run."""

    def __init__(self, played: Sequence[Played]) -> None:
        self.played = played
        self.used: Counter[int] = Counter()
        self.needed: Counter[int] = Counter()
        self.disagreements: list[str] = []
        self.silent: list[str] = []
        self.agreed = self.same_count = 0
        for one in played:
            expected = expect(one.case)
            self.used.update(expected.used)
            self.needed.update(d.number for d in DIFFERENCES if d.number in expected.used and one.needs(d))
            lines = one.disagreements(expected)
            self.disagreements += lines
            self.agreed += not lines
            said_less = not set(one.case.result["events"]) <= one.events
            self.silent += [one.case.label] if said_less and not {4, 14} & set(expected.used) else []
            self.same_count += one.count == one.case.result["calls"]["count"]

    def unneeded(self) -> list[str]:
        """Differences that some case uses without need."""
        return [
            f"difference {number}: used by {count} cases, needed by {self.needed[number]}"
            for number, count in sorted(self.used.items())
            if self.needed[number] != count
        ]

    def table(self) -> str:
        """The table for people."""
        total = len(self.played)
        lines = [
            f"parity through the whole pipeline: {self.agreed} of {total} recorded cases agree",
            "  (claim, volume, and each distinct call: bytes, access mode and type, fs type, mount flags, secrets)",
            "",
            "  section 9  used  needed  intended difference",
        ]
        lines += [
            f"  {d.number:>9}  {self.used[d.number]:>4}  {self.needed[d.number]:>6}  {d.why}" for d in DIFFERENCES
        ]
        complete = total - len(self.silent)
        lines += [
            "",
            f"  as a guide: each kind of event that the peer sent is sent in {complete} of {total} cases",
            f"  and as many calls (0, 1, 2, 3+) are made in {self.same_count}",
        ]
        return "\n".join(lines)
