"""All settings of `resizer run`, each with its kind, its line in `--help` and its default.

A new setting is one line in `Settings` (and its key in `config/default.yaml`): its type, its kind, its description, its
default. `SETTINGS` is the same as a table, for those who list or read them all. Nothing is read here: see `source`.
"""

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Struct, field
from msgspec.structs import fields

from resizer.obs.address import is_loopback
from resizer.settings.kind import BURST, DURATION, GATES, LABELS, LIST, RATE, SWITCH, TEXT, Kind, one_of, whole

MINUTE: Final = 60.0

Text = Annotated[str, TEXT]
Switch = Annotated[bool, SWITCH]
Duration = Annotated[float, DURATION]
"""In seconds; written as Go writes it ("5m", "1h30m", "300ms")."""
NodeMode = Literal["kubelet", "agent"]
LogFormat = Literal["auto", "json", "console"]


class Settings(Struct, frozen=True, kw_only=True):
    """All settings, as the program uses them. Only `source` makes one from what people wrote."""

    csi_address: Annotated[list[str], LIST, "Socket of a CSI driver; may be given several times."] = field(
        default_factory=lambda: ["/run/csi/socket"]
    )
    kubeconfig: Annotated[Text, "Kubeconfig file; empty: the pod's own credentials."] = ""
    master: Annotated[Text, "Address of the API server, over what the kubeconfig says."] = ""
    workers: Annotated[int, whole(at_least=1, at_most=10_000), "Claims of one driver worked on at the same time."] = 100
    timeout: Annotated[Duration, "Deadline of one call to a driver."] = 2 * MINUTE
    retry_interval_start: Annotated[Duration, "First delay after a failure; doubles with each."] = 1.0
    retry_interval_max: Annotated[Duration, "Longest delay, and the slow window of infeasible growths."] = 5 * MINUTE
    resync_period: Annotated[Duration, "How often all claims are looked at."] = 10 * MINUTE
    handle_volume_inuse_error: Annotated[Switch, "Wait for the pod to go when a driver grows unused volumes only."] = (
        True
    )

    leader_election: Annotated[Switch, "Let one of several replicas work on each driver."] = False
    leader_election_namespace: Annotated[Text, "Namespace of the leases; empty: the pod's own."] = ""
    leader_election_lease_duration: Annotated[Duration, "How long a lease holds without renewal."] = 8.0
    leader_election_renew_deadline: Annotated[Duration, "How long renewing may fail before work stops."] = 5.0
    leader_election_retry_period: Annotated[Duration, "How often the lease is renewed or tried for."] = 1.0
    leader_election_labels: Annotated[str, LABELS, "Labels for the leases, as key:value,key:value."] = ""

    kube_api_qps: Annotated[float, RATE, "Upper bound of API requests a second; 0: none (adaptive)."] = 0.0
    kube_api_burst: Annotated[int, BURST, "Burst above that bound; 0: twice the bound."] = 0

    http_endpoint: Annotated[Text, "Address of metrics and probes, as :8080; empty: none."] = ""
    metrics_address: Annotated[Text, "Deprecated name of http-endpoint."] = ""
    metrics_path: Annotated[Text, "Path of the metrics."] = "/metrics"
    debug_endpoints: Annotated[Switch, "Answer /debug/state and / to everybody, not only to this host."] = False
    debug_authentication: Annotated[
        Switch, "Answer /debug/state and / to those whose bearer token the API server allows it."
    ] = False
    tls_cert_file: Annotated[Text, "PEM certificate of the HTTP endpoint; empty: plain HTTP."] = ""
    tls_key_file: Annotated[Text, "PEM key of that certificate."] = ""

    node_mode: Annotated[
        NodeMode,
        one_of(NodeMode),
        "Who grows filesystems: the kubelet, or node agents (resizer node) on every node.",
    ] = "kubelet"
    nudge: Annotated[Switch, "Have kubelets grow filesystems at once by annotating the pods."] = True
    node_timeout: Annotated[Duration, "How long a node may take before it is said why."] = 5 * MINUTE
    shutdown_grace: Annotated[Duration, "How long work in hand may go on after SIGTERM."] = 20.0
    driver_rules: Annotated[Text, "Folder of further rules for failures of drivers."] = ""
    feature_gates: Annotated[dict[str, bool], GATES, "Feature gates, as Name=true,Other=false."] = {}

    v: Annotated[int, whole(at_least=0), "Verbosity as in klog: 4 and above logs debug lines."] = 0
    log_format: Annotated[
        LogFormat,
        one_of(LogFormat),
        "json: one object a line; console: for people; auto: by whether it is a terminal.",
    ] = "auto"

    @property
    def http_address(self) -> str:
        """Where metrics and probes are served; empty for nowhere."""
        return self.http_endpoint or self.metrics_address

    def contradictions(self) -> list[str]:
        """Return a line for each combination that cannot work: what does not fit, and what to change."""
        found = [*self._of_addresses(), *self._of_endpoint(), *self._of_times()]
        if self.feature_gates.get("VolumeAttributesClass"):
            found.append("VolumeAttributesClass=true asks for volume modification, which Resizer does not do")
        return found

    def _of_addresses(self) -> Iterator[str]:
        if self.http_endpoint and self.metrics_address:
            yield "http-endpoint and metrics-address are one setting under two names: give one of them"
        if not self.csi_address:
            yield "csi-address is empty: name the socket of at least one driver"
        if len(set(self.csi_address)) != len(self.csi_address):
            yield "csi-address names the same socket twice: a driver is served once"

    def _of_endpoint(self) -> Iterator[str]:
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            yield "tls-cert-file and tls-key-file belong together: give both, or neither for plain HTTP"
        if not self.debug_authentication:
            return
        if self.debug_endpoints:
            yield "debug-endpoints opens to everybody what debug-authentication guards: give one of them"
        host = self.http_address.rpartition(":")[0].strip("[]")
        if self.http_address and not self.tls_cert_file and not (host == "localhost" or is_loopback(host)):
            yield (
                "debug-authentication needs tls-cert-file and tls-key-file: over plain HTTP anybody on the way "
                "could read the tokens (or listen on localhost only)"
            )

    def _of_times(self) -> Iterator[str]:
        if self.retry_interval_start <= 0 or self.retry_interval_max < self.retry_interval_start:
            yield "retry-interval-max must not be below retry-interval-start, and both above 0"
        lease, renew = self.leader_election_lease_duration, self.leader_election_renew_deadline
        if self.leader_election and not lease > renew > self.leader_election_retry_period > 0:
            yield "leader-election-lease-duration > -renew-deadline > -retry-period > 0 does not hold"
        if self.timeout <= 0:
            yield "timeout must be above 0: a call without a deadline could hang for ever"


class Setting(Struct, frozen=True):
    """What there is to say about one setting."""

    name: str
    """As in `Settings`; flags and files write dashes."""
    kind: Kind
    description: str
    default: Any


def _list_settings() -> Iterator[Setting]:
    defaults = Settings()
    for each in fields(Settings):
        _, kind, description = get_args(each.type)
        yield Setting(each.name, kind, description, getattr(defaults, each.name))


SETTINGS: Final = {setting.name: setting for setting in _list_settings()}
"""Every setting by its name, in the order of `--help`."""


def is_duration(name: str) -> bool:
    """Whether this setting is kept in seconds and written as a duration."""
    return SETTINGS[name].kind is DURATION


def suggest_setting(name: str) -> str:
    """Return the known setting nearest to this name, empty when none is near."""
    near = difflib.get_close_matches(name.replace("-", "_"), list(SETTINGS), n=1)
    return near[0].replace("_", "-") if near else ""
