"""What the API server said instead of doing what it was asked: one exception class for each family of status."""

from __future__ import annotations

from typing import Any

import msgspec


class ApiClientError(Exception):
    """A call that did not do what it was for."""


class UnreachableError(ApiClientError):
    """No answer: the server is away, the connection broke, or the deadline passed. The outcome is unknown."""


class StatusError(ApiClientError):
    """The server refused. `status` is the HTTP status, `reason` the API's own word for it."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


class BadRequestError(StatusError):
    """400, 405, 406, 415 and other 4xx without a class of their own."""


class UnauthorizedError(StatusError):
    """401."""


class ForbiddenError(StatusError):
    """403."""


class NotFoundError(StatusError):
    """404."""


class ConflictError(StatusError):
    """409: another version, or the name is taken (reason AlreadyExists)."""


class GoneError(StatusError):
    """410: the version is no longer in the server's history."""


class InvalidError(StatusError):
    """422."""


class TooManyRequestsError(StatusError):
    """429."""


class ServerError(StatusError):
    """5xx."""


_CLASSES: dict[int, type[StatusError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
    429: TooManyRequestsError,
}


def refusal(status: int, raw: bytes, retry_after: str | None) -> StatusError:
    """Read an answer of 400 or more: its Status document, or whatever else came."""
    try:
        doc = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        doc = {"message": raw.decode(errors="replace").strip()}
    family = _CLASSES.get(status, ServerError if status >= 500 else BadRequestError)
    wait_s = float(retry_after) if retry_after and retry_after.isdigit() else None
    return family(status, str(doc.get("reason", "")), str(doc.get("message", "")), retry_after_s=wait_s)
