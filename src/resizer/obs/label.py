"""Label values come from fixed sets, so that no failure, however odd, adds series without bound.

What is not in its set becomes "other". Failure classes are the core's, with API errors under their own names
(`api-conflict`), because the on-call asks first whether it is the driver or the API server.
"""

import re
from typing import Final, get_args

from resizer.core.node_wait import DelayCause
from resizer.core.verdict import FailureClass
from resizer.model import errors

OTHER: Final = "other"
NO_CLASS: Final = "none"
"""The class of what has not failed: an empty label value would be the same as no label."""

NODE_ERROR: Final = "node-error"
NODE_DELAYS: Final = get_args(DelayCause)
"""What keeps a node that is late; only in the phase node-resize."""

PHASES: Final = ("controller-resize", "node-resize")
DURATION_PHASES: Final = (*PHASES, "total")
STAGES: Final = ("controller-resize", "node-resize", "status-patch")
STAGE_OUTCOMES: Final = ("success", "failure", "conflict", "cancelled")
RESIZE_OUTCOMES: Final = ("success", "failure", "cancelled")


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name.removesuffix("Error")).lower()


_API_CLASSES: Final = {
    name: f"api-{_kebab(name)}"
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.ApiError)
} | {"ApiError": "api-error"}
_ALIASES: Final = {
    "": NO_CLASS,
    "conflict": "api-conflict",
    "not-found": "api-not-found",
    "NotCalledError": "not-called",
    "LeaseNotHeldError": "lease-not-held",
    **_API_CLASSES,
}
FAILURES: Final[frozenset[str]] = frozenset(
    {*get_args(FailureClass), *_API_CLASSES.values(), NO_CLASS, OTHER, "lease-not-held", NODE_ERROR, "timeout", "bug"}
)
CLASSES: Final = FAILURES | frozenset(NODE_DELAYS)


def class_label(class_: str) -> str:
    """Return the label value of a failure class or of an error's type name."""
    value = _ALIASES.get(class_, class_)
    return value if value in CLASSES else OTHER


def one_of(value: str, allowed: tuple[str, ...]) -> str:
    """Return the value if it is one of those allowed, else "other"."""
    return value if value in allowed else OTHER
