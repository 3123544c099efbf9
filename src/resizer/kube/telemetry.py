"""What `kube` tells whoever measures: one small protocol, which `obs` implements without importing this package.

Only what happens at a moment is pushed here. What can be asked at any time (ages of watches, sizes of caches, the
limiter's state) is read from `KubeClient` when metrics are scraped. No label here carries an object's name.
"""

from typing import Literal, Protocol

RestartReason = Literal["closed", "silent", "expired", "error"]
DropReason = Literal["queue-full", "rate", "forbidden", "refused", "unavailable", "shutdown"]


class KubeTelemetry(Protocol):
    """Counters and histograms of the Kubernetes client; every call returns at once and never raises."""

    def request_finished(self, *, verb: str, resource: str, code: str, duration_s: float) -> None:
        """One request ended. `code` is the HTTP status, "<error>" when none arrived (client-go's rest_client_*)."""

    def watch_restarted(self, *, resource: str, reason: RestartReason) -> None:
        """A watch ended and is opened again."""

    def object_malformed(self, *, resource: str) -> None:
        """An object that cannot be read was skipped."""

    def event_dropped(self, *, reason: DropReason) -> None:
        """A Kubernetes event was not sent."""

    def leader_changed(self, *, name: str, is_leader: bool) -> None:
        """This process gained or lost the lease of this name (client-go's leader_election_master_status)."""


class NullKubeTelemetry:
    """Measures nothing: for tools and tests that do not ask."""

    def request_finished(self, *, verb: str, resource: str, code: str, duration_s: float) -> None:
        """Ignore it."""

    def watch_restarted(self, *, resource: str, reason: RestartReason) -> None:
        """Ignore it."""

    def object_malformed(self, *, resource: str) -> None:
        """Ignore it."""

    def event_dropped(self, *, reason: DropReason) -> None:
        """Ignore it."""

    def leader_changed(self, *, name: str, is_leader: bool) -> None:
        """Ignore it."""
