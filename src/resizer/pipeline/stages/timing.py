"""Every stage is timed and counted the same way: in flight, duration by outcome, failures by class."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from resizer.model.errors import ConflictError
from resizer.pipeline.ports import StageName, StageTelemetry


class StageRun:
    """One run of a stage, for the stage to say that it failed although nothing was raised."""

    def __init__(self) -> None:
        self.failed_class = ""

    def fail(self, class_: str) -> None:
        """Count this run as a failure of this class."""
        self.failed_class = class_


@contextmanager
def observed(
    telemetry: StageTelemetry, stage: StageName, *, driver: str, clock: Callable[[], float]
) -> Iterator[StageRun]:
    """Time the block as one run of the stage, whatever way it ends."""
    run, began_s, outcome = StageRun(), clock(), "failure"
    telemetry.stage_started(driver=driver, stage=stage)
    try:
        yield run
        outcome = "failure" if run.failed_class else "success"
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    except ConflictError:
        outcome = "conflict"
        raise
    except Exception as error:
        run.fail(type(error).__name__)
        raise
    finally:
        telemetry.stage_finished(driver=driver, stage=stage, outcome=outcome, duration_s=clock() - began_s)
        if outcome == "failure":
            telemetry.stage_failed(driver=driver, stage=stage, class_=run.failed_class)
