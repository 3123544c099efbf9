"""Why an object is invalid, field by field: what the rules of a kind answer, and what a 422 lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object is invalid: the field, the kind of defect, and the sentence that says it."""

    field: str
    reason: str
    message: str

    @classmethod
    def required(cls, field: str, text: str = "") -> Cause:
        """Say that a field must be given."""
        return cls(field, "FieldValueRequired", f"Required value: {text}" if text else "Required value")

    @classmethod
    def invalid(cls, field: str, shown: str, text: str) -> Cause:
        """Say that a value is wrong; `shown` is the value as the server prints it, quotes included."""
        return cls(field, "FieldValueInvalid", f"Invalid value: {shown}: {text}")

    @classmethod
    def forbidden(cls, field: str, text: str) -> Cause:
        """Say that a field may not be set or changed."""
        return cls(field, "FieldValueForbidden", f"Forbidden: {text}")

    @classmethod
    def unsupported(cls, field: str, value: str, supported: Sequence[str]) -> Cause:
        """Say that a value is none of the allowed ones."""
        allowed = ", ".join(f'"{name}"' for name in supported)
        return cls(field, "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {allowed}')
