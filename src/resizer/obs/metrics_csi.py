"""Drivers on `/metrics`: calls by the peer's name and buckets, connections and capabilities by our own.

Implements the telemetry protocol of `csi` by its shape (the two packages do not import each other).
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from resizer.model.driver import DriverFacts
from resizer.obs.series import Observations

BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0)


class CsiMetrics:
    """Times calls and follows connections. `on_driver` is told each driver's name when it connects."""

    def __init__(self, registry: CollectorRegistry, *, on_driver: Callable[[str], None]) -> None:
        self._on_driver = on_driver
        self._names: dict[str, str] = {}
        self._operations = Observations(
            "csi_sidecar_operations_seconds",
            "Time that calls to the CSI driver took, by method and gRPC status code",
            ["driver_name", "method_name", "grpc_status_code"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._connected = Gauge(
            "resizer_driver_connected",
            "1 while the driver behind this socket address answers; no driver is named until one has answered",
            ["driver", "address"],
            registry=registry,
        )
        self._capability = Gauge(
            "resizer_driver_capability",
            "1 for each capability that the driver reports",
            ["driver", "capability"],
            registry=registry,
        )

    def call_finished(self, *, driver: str, method: str, code: str, duration_s: float) -> None:
        """One call ended."""
        self._operations.observe(duration_s, driver, method, code)

    def driver_connected(self, *, address: str, facts: DriverFacts) -> None:
        """The driver behind this address answers."""
        self._on_driver(facts.name)
        self._connection(address, driver=facts.name, connected=True)
        for capability, has in (
            ("controller-expansion", facts.controller_expansion),
            ("node-expansion", facts.node_expansion),
            ("online-expansion", facts.online_expansion),
            ("single-node-multi-writer", facts.single_node_multi_writer),
            ("modify-volume", facts.modify_volume),
        ):
            self._capability.labels(facts.name, capability).set(1 if has else 0)

    def driver_disconnected(self, *, address: str, driver: str) -> None:
        """Nobody usable answers at this address."""
        self._connection(address, driver=driver, connected=False)

    def _connection(self, address: str, *, driver: str, connected: bool) -> None:
        known = self._names.get(address)
        if known is not None and known != driver:  # one series an address
            self._connected.remove(known, address)
        self._names[address] = driver
        self._connected.labels(driver, address).set(1 if connected else 0)
