"""Whether the API server keeps the fields that recovery from a failed growth is written to.

In: what the claim loops of all drivers find out at step (1): that `allocatedResources` and its states were dropped from
a claim's status (Kubernetes before 1.32, or its feature gate RecoverVolumeExpansionFailure off), or that they stand.
Out: one log line when that changes, and the line that turns `/readyz` red. Without the fields no driver is called.
"""

import structlog

log = structlog.get_logger()


class RecoveryGate:
    """One for the process: the API server is the same for every driver."""

    def __init__(self) -> None:
        self.problem = ""

    def note_dropped(self, reason: str) -> None:
        """The API server dropped the fields; said once until it keeps them."""
        if not self.problem:
            log.error("kubernetes.fields_dropped", gate="RecoverVolumeExpansionFailure", reason=reason)
        self.problem = reason

    def note_kept(self) -> None:
        """The fields stand in a claim."""
        if self.problem:
            log.info("kubernetes.fields_kept", gate="RecoverVolumeExpansionFailure")
            self.problem = ""
