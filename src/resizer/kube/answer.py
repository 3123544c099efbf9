"""The one place where an HTTP status becomes an error of `resizer.model.errors`.

Sources: Kubernetes API conventions (HTTP status codes); metav1.Status. Messages are the server's own, bounded and
printable, because they end in logs and events.
"""

from typing import Final

from resizer.kube.decode import decode_status
from resizer.kube.redaction import without_credentials
from resizer.model.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
)

MAX_MESSAGE: Final = 1024
_SEARCHED: Final = 64 * 1024
_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: InvalidError,
    406: InvalidError,
    410: ExpiredError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
}


def printable(text: str, *, limit: int = MAX_MESSAGE) -> str:
    """Return the text on one line without control characters and credentials, cut to `limit` characters."""
    clean = without_credentials(text[:_SEARCHED])
    if not clean.isprintable():
        clean = "".join(c if c.isprintable() else " " for c in clean)
    clean = clean.strip()
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def retry_after_s(text: str) -> float:
    """Seconds that a Retry-After header asks for, 0 if it is not usable (a date is not used by API servers)."""
    seconds = text.strip()
    return float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0


def error_of(status: int, body: bytes, *, wait_s: float, verb: str, resource: str, name: str = "") -> ApiError:
    """Return the error that a refusal means."""
    refusal = decode_status(body)
    return error_of_status(
        status,
        printable(refusal.message) or f"the server answered {status}",
        reason=refusal.reason,
        wait_s=wait_s,
        verb=verb,
        resource=resource,
        name=name,
    )


def error_of_status(
    status: int, message: str, *, reason: str, wait_s: float, verb: str, resource: str, name: str
) -> ApiError:
    """Return the error of an HTTP status and a Status' reason; also for the ERROR events of a watch."""
    if status == 429:
        return ThrottledError(message, verb=verb, resource=resource, name=name, retry_after_s=wait_s)
    kind = _BY_STATUS.get(status, UnavailableError)
    if status == 409:
        kind = AlreadyExistsError if reason == "AlreadyExists" else ConflictError
    return kind(message, verb=verb, resource=resource, name=name, status=status)
