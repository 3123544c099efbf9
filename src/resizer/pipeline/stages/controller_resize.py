"""controller-resize: the only caller of a driver's controller.

In: a claim whose target is recorded, and its volume. Out: what the driver granted, or the failure, classed. The
secret is read for this one call and dropped with it. Whether we may act at all (the lease) is checked in the very
step that starts the call, with nothing awaited in between.
"""

import asyncio
from collections.abc import Mapping, Sequence

from resizer.core.state import CallDriver, Expanded, Failed
from resizer.core.verdict import Failure, Rule, classify, not_called
from resizer.model.errors import ApiError, DriverError, NotCalledError
from resizer.model.objects import Volume
from resizer.pipeline.ports import ExpandableVolumePlugin, LeaseGuard, SecretReader, StageTelemetry
from resizer.pipeline.stages.timing import observed


class LeaseNotHeldError(Exception):
    """The lease was lost before the driver was called; nothing was done."""


class ControllerResize:
    """Grows volumes on the back-end of one driver."""

    def __init__(
        self,
        plugin: ExpandableVolumePlugin,
        *,
        secrets: SecretReader,
        lease: LeaseGuard,
        telemetry: StageTelemetry,
        rules: Sequence[Rule] = (),
    ) -> None:
        self._plugin = plugin
        self._secrets = secrets
        self._lease = lease
        self._telemetry = telemetry
        self._rules = rules

    async def run(self, volume: Volume, call: CallDriver) -> Expanded | Failed:
        """Ask the driver for the recorded target, once. Raises LeaseNotHeldError when we may not."""
        clock = asyncio.get_running_loop().time
        driver = self._plugin.facts.name
        with observed(self._telemetry, "controller-resize", driver=driver, clock=clock) as run:
            outcome = await self._ask(volume, call)
            if isinstance(outcome, Failure):
                run.fail(outcome.class_)
                return Failed(call.target, outcome)
            return outcome

    async def _ask(self, volume: Volume, call: CallDriver) -> Expanded | Failure:
        try:
            secrets = await self._read_secret(volume)
            if not self._lease.is_held():
                raise LeaseNotHeldError(self._plugin.facts.name)
            expansion = await self._plugin.expand_volume_device(
                volume,
                new_size_bytes=call.target.size_bytes,
                old_size_bytes=call.old_size_bytes,
                secrets=secrets,
            )
        except NotCalledError as error:
            return not_called(str(error))
        except DriverError as error:
            return classify(error.code, error.message, self._rules)
        return Expanded(call.target, expansion, call.state)

    async def _read_secret(self, volume: Volume) -> Mapping[str, str]:
        if not volume.expand_secret_name:
            return {}
        namespace, name = volume.expand_secret_namespace, volume.expand_secret_name
        try:
            return await self._secrets.read_secret(namespace, name)
        except ApiError as error:
            text = f"error getting secret {name} in namespace {namespace}: {error.message}"
            raise NotCalledError(text) from error
