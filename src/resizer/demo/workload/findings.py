"""Everything that the runs found out, for the report: the figures, and the curves they come from."""

from resizer.demo.workload.curves import Curves
from resizer.demo.workload.growth import DatabaseStage
from resizer.demo.workload.outcome import Comparison, Run


class Findings:
    """Everything that was found out, for the report: the figures, and the curves they come from."""

    def __init__(self) -> None:
        self.label = ""
        self.filesystem = ""
        self.reason = ""
        self.runs: list[Run] = []
        self.curves: list[Curves] = []
        self.comparison: Comparison | None = None
        self.compared: dict[str, Curves] = {}

    def take_stage(self, stage: DatabaseStage) -> None:
        """Remember what ran."""
        self.label = next(iter(stage.pods.databases.values())).engine.label
        self.filesystem = stage.choice.filesystem
        self.reason = stage.choice.reason

    @property
    def shown(self) -> int:
        """The run whose curves are drawn: the one in the middle, by the queries kept during its first growth."""
        kept = [kept_shares(run)[0] if run.growths else 0.0 for run in self.runs]
        return sorted(range(len(kept)), key=kept.__getitem__)[len(kept) // 2]


def kept_shares(run: Run) -> list[float]:
    """The share of queries kept around each growth of a run."""
    return [one.disturbance.kept_share for one in run.growths if one.disturbance is not None]
