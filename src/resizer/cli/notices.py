"""What is odd about the settings but no mistake, said once: at start in the log, and by --check-config.

Flags and gates that have no effect here, a deprecated name, a placeholder that nobody filled in, and RESIZER_*
variables that are no setting. The last are no errors, because a pod's environment is not only its author's: Kubernetes
adds RESIZER_SERVICE_HOST and its like for a Service named `resizer`, and those are passed over in silence.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from resizer.cli.idle_flags import IDLE_FLAGS
from resizer.settings import ENVIRONMENT_PREFIX, SETTINGS, Settings, suggest_setting

GATES: Final = {
    "AnnotateFsResize": (True, "the size before the growth is always kept on the volume"),
    "RecoverVolumeExpansionFailure": (True, "recovery from failed growths is always on"),
    "ReleaseLeaderElectionOnExit": (True, "leases are always given back on a clean exit"),
    "VolumeAttributesClass": (False, "volumes are not modified"),
}
"""external-resizer's gates: what holds here whatever is asked for, and why."""

OTHER_VARIABLES: Final = frozenset({"IDENTITY", "NODE_NAME", "KUBELET_DIR", "PICTURES"})
"""RESIZER_* variables that are read elsewhere: by leases, `resizer node` and this project's tests."""

_SERVICE_LINK: Final = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")


class Notice(Struct, frozen=True):
    """One thing to say: the event of the log, what it is about, and why or what to do."""

    event: str
    subject: str
    reason: str

    @property
    def is_warning(self) -> bool:
        """Whether somebody should look at it; the others are for the record."""
        return self.event in ("setting.unknown", "setting.placeholder")


def find_notices(settings: Settings, idle_flags: tuple[str, ...], environment: Mapping[str, str]) -> list[Notice]:
    """Return everything there is to say about these settings, in a stable order."""
    return [
        *(Notice("flag.without_effect", name, IDLE_FLAGS[name].reason) for name in idle_flags),
        *_of_gates(settings.feature_gates),
        *_of_settings(settings),
        *_of_environment(environment),
    ]


def _of_gates(gates: Mapping[str, bool]) -> Iterator[Notice]:
    for name, wanted in gates.items():
        is_so, reason = GATES.get(name, (None, "external-resizer has no such gate, and Resizer has none of its own"))
        if wanted is not is_so:
            yield Notice("gate.without_effect", f"{name}={str(wanted).lower()}", reason)


def _of_settings(settings: Settings) -> Iterator[Notice]:
    if settings.metrics_address:
        yield Notice("flag.deprecated", "metrics-address", "write http-endpoint, which serves the probes too")
    for address in settings.csi_address:
        if "$(" in address:
            reason = "nothing filled this placeholder in: define the variable in the container's env"
            yield Notice("setting.placeholder", f"csi-address={address}", reason)


def _of_environment(environment: Mapping[str, str]) -> Iterator[Notice]:
    for variable in sorted(environment):
        name = variable.upper().removeprefix(ENVIRONMENT_PREFIX)
        is_ours = variable.upper().startswith(ENVIRONMENT_PREFIX) and name.lower() not in SETTINGS
        if is_ours and name not in OTHER_VARIABLES and _SERVICE_LINK.fullmatch(name) is None:
            near = suggest_setting(name.lower()).replace("-", "_").upper()
            hint = f"did you mean {ENVIRONMENT_PREFIX}{near}?" if near else "see config/default.yaml"
            yield Notice("setting.unknown", variable, f"this variable is no setting; {hint}")
