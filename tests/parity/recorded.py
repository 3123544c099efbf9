"""The peer's recorded decisions: each case's starting state and answers, and where the peer ended.

One JSON object a line in tests/data/peer-decisions; sizes in a scenario are GiB. Contract: claim, volume and the
sequence of distinct calls. Counts of calls and events depend on back-off and are a guide.

`cases` and `matrix` were recorded on a real kube-apiserver 1.36. `random` are states drawn by chance, played twice
through the peer on the development API server, which was first seen to lead it to the recorded ends, and kept where it
ended the same both times. Not drawn are states where a law of ours wins over the peer: a target below the claim's size,
an attempt of unknown outcome without a state, a leftover `pre-resize-capacity` at the start of a growth.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from resizer.model.quantity import parse_quantity

FOLDER = Path(__file__).parents[1] / "data" / "peer-decisions"
FILES = ("cases", "cases-node-only-driver", "matrix", "random", "random-node-only-driver")
DRIVER = "bench.csi.test"
RETRY_START_S, RETRY_MAX_S = 0.5, 20.0


@dataclass(frozen=True)
class Case:
    """One recorded case."""

    file: str
    id: int
    scenario: dict[str, Any]
    result: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.file}-{self.id}: {self.scenario['name']}"

    @property
    def node_only(self) -> bool:
        """Whether the driver lacks the controller's EXPAND_VOLUME."""
        return self.file.endswith("-node-only-driver")

    @property
    def read_after_s(self) -> float:
        """When the state was read, seconds after the start and after each later edit."""
        return 15.0 if self.file.startswith("cases") else 80.0

    def size(self, key: str) -> str:
        """Text of a size of the scenario as the API server would store it, empty when absent."""
        if key == "spec" and "spec_q" in self.scenario:
            return parse_quantity(self.scenario["spec_q"]).canonical
        return f"{self.scenario[key]}Gi" if key in self.scenario else ""


def read_cases() -> Iterator[Case]:
    """All recorded cases."""
    for file in FILES:
        for line in (FOLDER / f"{file}.jsonl").read_text().splitlines():
            row = json.loads(line)
            yield Case(file, row["id"], row["scenario"], row["result"])


def distinct(calls: list[Any]) -> list[Any]:
    """The calls, consecutive equal ones merged."""
    return [call for call, _ in groupby(calls)]


def count_label(count: int) -> int | str:
    """Counts as they were recorded."""
    return count if count < 3 else "3+"
