"""What `csi` tells whoever measures: one small protocol, which `obs` implements without importing this package."""

from typing import Protocol

from resizer.model.driver import DriverFacts


class CsiTelemetry(Protocol):
    """Calls to drivers and the state of their connections. Every method returns at once and never raises."""

    def call_finished(self, *, driver: str, method: str, code: str, duration_s: float) -> None:
        """One RPC ended: full method name (`/csi.v1.Controller/...`), code as Go writes it ("OK", "NotFound")."""

    def driver_connected(self, *, address: str, facts: DriverFacts) -> None:
        """The driver behind this socket address answers, and said this of itself."""

    def driver_disconnected(self, *, address: str, driver: str) -> None:
        """Nobody answers at this address, or nobody usable; `driver` is who did before, empty if nobody."""


class NullCsiTelemetry:
    """Measures nothing: for tools and tests that do not ask."""

    def call_finished(self, *, driver: str, method: str, code: str, duration_s: float) -> None:
        """Ignore it."""

    def driver_connected(self, *, address: str, facts: DriverFacts) -> None:
        """Ignore it."""

    def driver_disconnected(self, *, address: str, driver: str) -> None:
        """Ignore it."""
