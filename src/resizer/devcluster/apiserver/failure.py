"""Refusals, in the API server's own form: a `Status` document with code, reason, message and details.

Everything that can go wrong with a request is raised as one `ApiError`; the HTTP edge turns it into an answer and
nobody else catches it. The texts are part of the API: clients and people match on them, so they stand here word
for word as a kube-apiserver 1.36 sends them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.resource import Document, Resource


class ApiError(Exception):
    """A request that is refused, with everything its answer needs."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = dict(headers or {})

    def status(self) -> Document:
        """Build the `Status` document that the client gets."""
        body: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = dict(self.details)
        body["code"] = self.code
        return body


class DecodeError(Exception):
    """A document that does not fit its type; each verb words this in its own way."""


def described(resource: Resource, name: str = "") -> dict[str, Any]:
    """Name an object as `details` does: name, group (unless core) and plural."""
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    """404 for an object."""
    text = f'{resource.qualified_plural} "{name}" not found'
    return ApiError(404, "NotFound", text, details=described(resource, name))


def unknown_path() -> ApiError:
    """404 for a resource that this server does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def method_not_allowed() -> ApiError:
    """405: the resource is here, but not for this verb."""
    text = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", text, details={})


def already_exists(resource: Resource, name: str) -> ApiError:
    """409 on create."""
    text = f'{resource.qualified_plural} "{name}" already exists'
    return ApiError(409, "AlreadyExists", text, details=described(resource, name))


def conflict(resource: Resource, name: str) -> ApiError:
    """409 on a write that names an old version."""
    text = (
        f'Operation cannot be fulfilled on {resource.qualified_plural} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiError(409, "Conflict", text, details=described(resource, name))


def precondition_failed(resource: Resource, name: str, text: str) -> ApiError:
    """409 on a delete whose preconditions do not hold (named by kind, not by plural)."""
    full = f'Operation cannot be fulfilled on {resource.qualified_kind} "{name}": {text}'
    details = {"name": name, "kind": resource.kind}
    if resource.group:
        details["group"] = resource.group
    return ApiError(409, "Conflict", full, details=details)


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object breaks a rule of its kind."""
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind
    return _invalid(f'{resource.qualified_kind} "{name}"', causes, details)


def invalid_options(causes: Sequence[Cause]) -> ApiError:
    """422: the query parameters of a list or watch contradict one another."""
    details = {"group": "meta.k8s.io", "kind": "ListOptions"}
    return _invalid('ListOptions.meta.k8s.io ""', causes, details)


def invalid_patch(shown: str, text: str) -> ApiError:
    """422: the patched document no longer fits its type."""
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return _invalid(' ""', [Cause.invalid("patch", f'"{quoted}"', text)], {})


def _invalid(subject: str, causes: Sequence[Cause], details: dict[str, Any]) -> ApiError:
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    return ApiError(422, "Invalid", f"{subject} is invalid: {joined}", details=details)


def forbidden(resource: Resource, name: str, text: str) -> ApiError:
    """403, by admission or for lack of rights."""
    subject = f'{resource.qualified_plural} "{name}"' if name else resource.qualified_plural
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {text}", details=described(resource, name))


def bad_request(text: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", text)


def unauthorized() -> ApiError:
    """401: no such token, or it has expired."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(text: str) -> ApiError:
    """410: history no longer holds the version that the client names."""
    return ApiError(410, "Expired", text)


def unsupported_media_type() -> ApiError:
    """415: a body in a form that this server does not read."""
    return ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})


def not_acceptable() -> ApiError:
    """406: the client accepts no form that this server writes."""
    text = "406: Not Acceptable\nonly application/json and application/yaml are offered"
    return ApiError(406, "NotAcceptable", text, details={})
