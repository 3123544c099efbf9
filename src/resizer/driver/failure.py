"""How a call fails: one exception that carries the gRPC code and a text for a person.

Raised by everything below the services and turned into the call's status in `endpoint`, nowhere else. The text
names the object, the cause and the next step; nothing secret may enter it.
"""

import errno

import grpc
from grpc import StatusCode


class CallError(Exception):
    """An RPC's refusal: `code` as the CSI specification sets it for the condition, `text` for a person."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def invalid(text: str) -> CallError:
    """Return INVALID_ARGUMENT: the caller must change the request."""
    return CallError(StatusCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> CallError:
    """Return NOT_FOUND: no such volume, node or path."""
    return CallError(StatusCode.NOT_FOUND, text)


def precondition(text: str) -> CallError:
    """Return FAILED_PRECONDITION: right request, wrong moment; the text says what must change first."""
    return CallError(StatusCode.FAILED_PRECONDITION, text)


def out_of_range(text: str) -> CallError:
    """Return OUT_OF_RANGE: the size can never be had here."""
    return CallError(StatusCode.OUT_OF_RANGE, text)


def already_exists(text: str) -> CallError:
    """Return ALREADY_EXISTS: the same thing stands there with other properties."""
    return CallError(StatusCode.ALREADY_EXISTS, text)


def from_os_error(error: OSError, *, doing: str) -> CallError:
    """Return what the operating system's refusal means to a caller."""
    cause = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return CallError(StatusCode.RESOURCE_EXHAUSTED, f"{doing}: {cause}; free space below the state folder")
    if error.errno == errno.EFBIG:
        return out_of_range(f"{doing}: the filesystem of the state folder cannot hold a file of that size")
    return CallError(StatusCode.INTERNAL, f"{doing}: {cause}")
