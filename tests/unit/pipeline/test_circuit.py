"""What moves a driver's circuit: the stage around it, with a driver that answers as told."""

import pytest

from resizer.core.state import CallDriver, Failed
from resizer.core.target import Target
from resizer.model.errors import DriverError
from resizer.model.objects import Volume
from resizer.pipeline.stages.breaker import OPEN_AFTER, Breaker
from resizer.pipeline.stages.controller_resize import ControllerResize
from tests.unit.pipeline.conftest import DRIVER, GI, Held, Plugin, Server, Silent

pytestmark = pytest.mark.looptime


class Stage:
    """The controller-resize stage, its circuit and its driver."""

    def __init__(self) -> None:
        self.plugin, self.breaker = Plugin(), Breaker(first_s=0.0)
        self.stage = ControllerResize(
            self.plugin, secrets=Server(), lease=Held(), telemetry=Silent(), breaker=self.breaker
        )

    async def ask(self, code: str, *, volume: str = "v") -> str:
        """Have the driver fail with this code; returns the class of what came of it."""

        def refuse(_size: int) -> None:
            raise DriverError(code, "as told")

        self.plugin.answer = refuse
        outcome = await self.stage.run(
            Volume("pv", "u", "1", driver=DRIVER, handle=volume), CallDriver(Target(5 * GI, "5Gi"), 3 * GI, "")
        )
        assert isinstance(outcome, Failed)
        return outcome.failure.class_


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "CANCELLED"])
async def test_a_probe_without_an_answer_does_not_close_the_circuit(code):
    """A driver that hangs has not shown that it is there: one call at a time goes on to find out."""
    it = Stage()
    for number in range(OPEN_AFTER):
        await it.ask("UNAVAILABLE", volume=f"v{number}")
    assert it.breaker.state == "open"
    for _ in range(2):
        assert await it.ask(code) == "transient"
        assert it.breaker.state == "open"
    await it.ask("ABORTED")
    assert it.breaker.state == "closed"


async def test_a_call_without_an_answer_does_not_begin_the_count_anew():
    """Between calls that say that the driver is away, one that is never answered is no sign of life."""
    it = Stage()
    for number in range(OPEN_AFTER):
        await it.ask("DEADLINE_EXCEEDED")
        await it.ask("UNAVAILABLE", volume=f"v{number}")
    assert it.breaker.state == "open"
