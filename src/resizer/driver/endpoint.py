"""Between gRPC and the services: which method is called, and how its failure becomes a status.

A service is any object with the RPCs' names in snake_case (`CreateVolume` -> `create_volume`): what it lacks is
answered UNIMPLEMENTED by gRPC itself. One log line a call says the method, the volume, the code and the time;
requests are not logged, so no secret can be.
"""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from resizer.driver.failure import CallError, from_os_error

_log = structlog.get_logger(__name__)

Method = Callable[[Any], Awaitable[Any]]


def snake_case(name: str) -> str:
    """Return an RPC's name as a Python method's."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def add_service(server: grpc.aio.Server, *, descriptor: ServiceDescriptor, service: object) -> None:
    """Let `server` answer the service of that descriptor by the methods of `service`."""
    handlers = {
        method.name: _handler(method, getattr(service, snake_case(method.name)))
        for method in descriptor.methods
        if hasattr(service, snake_case(method.name))
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(descriptor.full_name, handlers),))


def _handler(descriptor: MethodDescriptor, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_unary_rpc_method_handler(
        _behaviour(descriptor.full_name, method),
        request_deserializer=GetMessageClass(descriptor.input_type).FromString,
        response_serializer=GetMessageClass(descriptor.output_type).SerializeToString,
    )


def _behaviour(name: str, method: Method) -> Callable[[Any, Any], Awaitable[Any]]:
    async def behaviour(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        started_s = time.monotonic()
        log = _log.bind(method=name, volume_id=getattr(request, "volume_id", ""))
        try:
            response = await method(request)
        except CallError as error:
            failure = error
        except OSError as error:
            failure = from_os_error(error, doing=name)
        else:
            log.debug("rpc.done", duration_s=round(time.monotonic() - started_s, 4))
            return response
        log.info(
            "rpc.refused",
            code=failure.code.name,
            error=failure.text,
            duration_s=round(time.monotonic() - started_s, 4),
        )
        return await context.abort(failure.code, failure.text)

    return behaviour
