"""controller-resize: the only caller of a driver's controller.

In: a claim whose target is recorded, and its volume. Out: what the driver granted, or the failure, classed. The
secret is read for this one call and dropped with it. Whether we may act at all (the lease) is checked in the very
step that starts the call, with nothing awaited in between. While the driver is down claims are turned away without
a call: see `breaker`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog
from msgspec.structs import replace

from resizer.core.state import CallDriver, Expanded, Failed
from resizer.core.verdict import Failure, Rule, classify, not_called
from resizer.model.errors import ApiError, DriverError, NotCalledError, NotConnectedError
from resizer.model.objects import Volume
from resizer.pipeline.ports import ExpandableVolumePlugin, LeaseGuard, SecretReader, StageTelemetry
from resizer.pipeline.stages.breaker import Breaker
from resizer.pipeline.stages.timing import StageRun

_NO_ANSWER: Final = frozenset({"DEADLINE_EXCEEDED", "CANCELLED"})

log = structlog.get_logger()


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
        breaker: Breaker,
        rules: Sequence[Rule] = (),
    ) -> None:
        self._plugin = plugin
        self._name = plugin.facts.name
        self._secrets = secrets
        self._lease = lease
        self._telemetry = telemetry
        self._breaker = breaker
        self._rules = rules
        self._clock = asyncio.get_running_loop().time

    async def run(self, volume: Volume, call: CallDriver) -> Expanded | Failed:
        """Ask the driver for the recorded target, once. Raises LeaseNotHeldError when we may not."""
        with StageRun(self._telemetry, "controller-resize", driver=self._name, clock=self._clock) as run:
            outcome = await self._ask_unless_down(volume, call)
            if isinstance(outcome, Failure):
                run.fail(outcome.class_)
                return Failed(call.target, outcome)
            return outcome

    def driver_returned(self) -> None:
        """Close the circuit: the driver has just answered who it is, to a connection made anew."""
        self._move_circuit(self._breaker.succeed)

    async def _ask_unless_down(self, volume: Volume, call: CallDriver) -> Expanded | Failure:
        """Ask, if the circuit is closed or wants a probe; what comes of it moves the circuit."""
        clock, breaker = self._clock, self._breaker
        wait_s = breaker.admit(clock(), volume=volume.handle)
        if wait_s > 0:
            text = f"driver {self._name} is down (circuit open): it was not called and is tried again soon"
            return replace(not_called(text), retry_after_s=wait_s)
        move: Callable[[], None] = breaker.abandon
        try:
            outcome = await self._ask(volume, call)
            if isinstance(outcome, Failure) and outcome.code == "UNAVAILABLE":
                move = partial(breaker.fail, clock(), volume=volume.handle)
            elif isinstance(outcome, Expanded) or _is_answer(outcome):
                move = breaker.succeed
        except NotConnectedError as error:
            outcome, move = not_called(str(error)), partial(breaker.trip, clock())
        finally:
            self._move_circuit(move)
        if isinstance(outcome, Failure) and outcome.outcome == "unchanged":
            return replace(outcome, retry_after_s=breaker.remaining_s(clock()))
        return outcome

    def _move_circuit(self, move: Callable[[], None]) -> None:
        was = self._breaker.state
        move()
        now = self._breaker.state
        if was == "closed" and now == "open":
            log.warning(
                "driver.circuit_open", driver=self._name, consequence="claims wait while one call at a time probes"
            )
        elif was != "closed" and now == "closed":
            log.info("driver.circuit_closed", driver=self._name)

    async def _ask(self, volume: Volume, call: CallDriver) -> Expanded | Failure:
        try:
            secrets = await self._read_secret(volume)
            if not self._lease.is_held():
                raise LeaseNotHeldError(self._name)
            expansion = await self._plugin.expand_volume_device(
                volume,
                new_size_bytes=call.target.size_bytes,
                old_size_bytes=call.old_size_bytes,
                secrets=secrets,
            )
        except NotConnectedError:
            raise
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


def _is_answer(failure: Failure) -> bool:
    """Whether the driver itself said this: not when it was not called, or nothing came back in time."""
    return failure.outcome != "unchanged" and failure.code not in _NO_ANSWER
