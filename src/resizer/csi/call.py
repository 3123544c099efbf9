"""One RPC to a driver: deadline in the call itself, measured, its failure mapped. It tries once.

Every call of this package goes through `Caller.call`. A cancelled task (a lost lease, a shutdown) stays
cancelled; every other end of a call is an answer or a DriverError.
"""

import asyncio
from collections.abc import Iterable
from typing import TypeVar

import grpc

from resizer.csi.failure import cancelled_call, driver_error, go_code_name, undecodable_answer
from resizer.csi.telemetry import CsiTelemetry
from resizer.model.errors import DriverError

UNKNOWN_DRIVER = "unknown-driver"
"""The metric label of calls made before the driver has said its name, as the peer's."""

Request = TypeVar("Request")
Response = TypeVar("Response")


class Caller:
    """Calls one driver. `driver` is the name its calls are counted under."""

    def __init__(self, *, telemetry: CsiTelemetry, driver: str = UNKNOWN_DRIVER) -> None:
        self.driver = driver
        self._telemetry = telemetry
        self._clock = asyncio.get_running_loop().time

    async def call(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        method: str,
        timeout_s: float,
        secrets: Iterable[str] = (),
    ) -> Response:
        """Make the call `method` (`/package.Service/Name`). Raises DriverError; secrets stay out of its text."""
        started = self._clock()
        code = "CANCELLED"
        try:
            answer = await self._attempt(rpc, request, method=method, timeout_s=timeout_s, secrets=secrets)
            code = "OK"
        except DriverError as error:
            code = error.code
            raise
        finally:
            self._telemetry.call_finished(
                driver=self.driver, method=method, code=go_code_name(code), duration_s=self._clock() - started
            )
        return answer

    async def _attempt(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        method: str,
        timeout_s: float,
        secrets: Iterable[str],
    ) -> Response:
        failure: DriverError
        try:
            answer: Response | None = await rpc(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            failure = driver_error(error, secrets=secrets)
        except grpc.aio.UsageError:
            failure = cancelled_call()  # the channel was closed before the call began
        except asyncio.CancelledError:
            if _is_cancelling():
                raise
            failure = cancelled_call()  # gRPC says a closed channel in the same way as a cancelled task
        else:
            if answer is not None:
                return answer
            failure = undecodable_answer(method)  # grpc.aio hands None on for a message it cannot decode
        try:
            raise failure from None  # the original carries the driver's text as sent, perhaps with a secret in it
        finally:
            # Its traceback holds this frame: error, request and secrets would stay until a garbage collection.
            del failure


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
