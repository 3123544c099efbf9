"""The closed families of what can go wrong outside: the API server's answers and a driver's.

Adapters (`kube`, `csi`) map every foreign exception to one of these at their edge, `raise ... from`; the
pipeline matches on the class and never on text.
"""

from typing import Literal

GrpcCode = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


class ApiError(Exception):
    """An API call that did not do what was asked. `status` is the HTTP status, 0 when none arrived."""

    def __init__(self, message: str, *, verb: str, resource: str, name: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.verb = verb
        self.resource = resource
        self.name = name
        self.status = status

    def __str__(self) -> str:
        target = f"{self.resource} {self.name}".strip()
        return f"{self.verb} {target}: {self.message}"


class ConflictError(ApiError):
    """409 on a write with a resourceVersion: somebody else wrote first. No failure: read again, decide again."""


class AlreadyExistsError(ApiError):
    """409 on a create."""


class NotFoundError(ApiError):
    """404: the object is gone, or the server does not know the resource."""


class ForbiddenError(ApiError):
    """403: the right is missing. `verb` and `resource` say which."""


class UnauthorizedError(ApiError):
    """401, after credentials were read again and tried once more."""


class InvalidError(ApiError):
    """400 or 422: the server refuses the content; trying the same again cannot help."""


class ExpiredError(ApiError):
    """410: the resource version or continue token is older than the server's history."""


class ThrottledError(ApiError):
    """429. `retry_after_s` is what the server asked for, 0 when it did not say."""

    def __init__(self, message: str, *, verb: str, resource: str, name: str = "", retry_after_s: float = 0) -> None:
        super().__init__(message, verb=verb, resource=resource, name=name, status=429)
        self.retry_after_s = retry_after_s


class UnavailableError(ApiError):
    """5xx, a connection that failed, or a deadline that passed: a write may or may not have been applied."""


class DriverError(Exception):
    """A CSI call that failed. `message` is the driver's own text, bounded and printable."""

    def __init__(self, code: GrpcCode, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}")
        self.code: GrpcCode = code
        self.message = message


class NotCalledError(Exception):
    """The driver was not called at all: nothing is known beyond what stood before."""


class NotConnectedError(NotCalledError):
    """Nobody answers on the driver's socket right now."""
