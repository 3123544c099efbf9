"""status-patch: the only writer of claims and volumes.

In: a merge patch that the core decided on, with the version it was decided for. Out: nothing but its success;
the answer is in the cache by then, so the next decision sees it. A conflict and every other refusal is raised as
it came, for the claim loop to decide again.
"""

import asyncio

from resizer.core.state import RecordClaim, RecordVolume
from resizer.model.objects import Claim, Volume
from resizer.pipeline.ports import StageTelemetry, Writer
from resizer.pipeline.stages.timing import StageRun


class StatusPatch:
    """Writes what was decided for the claims of one driver."""

    def __init__(self, writer: Writer, *, driver: str, telemetry: StageTelemetry) -> None:
        self._writer = writer
        self._driver = driver
        self._telemetry = telemetry
        self._clock = asyncio.get_running_loop().time

    async def write_claim(self, claim: Claim, effect: RecordClaim) -> None:
        """Patch the claim's status. Raises the errors of `resizer.model.errors`."""
        with StageRun(self._telemetry, "status-patch", driver=self._driver, clock=self._clock):
            await self._writer.patch_claim_status(claim, effect.body)

    async def write_volume(self, volume: Volume, effect: RecordVolume) -> None:
        """Patch the volume. Raises the errors of `resizer.model.errors`."""
        with StageRun(self._telemetry, "status-patch", driver=self._driver, clock=self._clock):
            await self._writer.patch_volume(volume, effect.body)
