"""Settings of `resizer run`: flags by the peer's names, RESIZER_* environment variables, and a YAML file.

A flag wins over the environment, the environment over the file, the file over the default. Every duration is
written as Go writes it ("5m", "1h30m", "300ms") and kept in seconds. Combinations that cannot work are refused
here, with one line that says what to change, before anything is started. `config/default.yaml` shows them all.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

_DURATION: Final = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
_UNIT_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class SettingsError(ValueError):
    """Settings that cannot be used: one line that names the setting, the cause and the next step."""


def parse_duration(value: object) -> float:
    """Read a Go duration as seconds. Raises ValueError for anything else, also for a bare number but 0."""
    text = str(value).strip()
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(parts) != text:
        raise ValueError(f"{text!r} is not a duration: write it as 15s, 5m, 1h30m or 300ms")
    return sum(_seconds(part) for part in parts)


def _seconds(part: str) -> float:
    number = re.match(r"[\d.]+", part)
    assert number is not None
    return float(number[0]) * _UNIT_S[part[number.end() :]]


def _parse_gates(value: object) -> object:
    """Read "Gate=true,Other=false" as Kubernetes programs do."""
    if not isinstance(value, str):
        return value
    gates: dict[str, bool] = {}
    for item in filter(None, (part.strip() for part in value.split(","))):
        name, _, state = item.partition("=")
        if state.lower() not in ("true", "false"):
            raise ValueError(f"{item!r} is no feature gate: write it as Name=true or Name=false")
        gates[name] = state.lower() == "true"
    return gates


def _parse_list(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(parse_duration)]
Gates = Annotated[dict[str, bool], BeforeValidator(_parse_gates)]
Texts = Annotated[list[str], BeforeValidator(_parse_list)]


class Settings(BaseSettings):
    """All settings of `resizer run`. A field's description is its line in `--help`."""

    model_config = SettingsConfigDict(env_prefix="RESIZER_", extra="forbid", env_ignore_empty=True, frozen=True)

    csi_address: Texts = Field(["/run/csi/socket"], description="Socket of a CSI driver; may be given several times.")
    kubeconfig: str = Field("", description="Kubeconfig file; empty: the pod's own credentials.")
    master: str = Field("", description="Address of the API server, over what the kubeconfig says.")
    workers: int = Field(100, ge=1, le=10_000, description="Claims of one driver worked on at the same time.")
    timeout: Duration = Field("2m", description="Deadline of one call to a driver.", validate_default=True)
    retry_interval_start: Duration = Field(
        "1s", description="First delay after a failure; doubles with each.", validate_default=True
    )
    retry_interval_max: Duration = Field(
        "5m", description="Longest delay, and the slow window of infeasible growths.", validate_default=True
    )
    resync_period: Duration = Field("10m", description="How often all claims are looked at.", validate_default=True)
    handle_volume_inuse_error: bool = Field(
        default=True, description="Wait for the pod to go when a driver grows unused volumes only."
    )

    leader_election: bool = Field(default=False, description="Let one of several replicas work on each driver.")
    leader_election_namespace: str = Field("", description="Namespace of the leases; empty: the pod's own.")
    leader_election_lease_duration: Duration = Field(
        "8s", description="How long a lease holds without renewal.", validate_default=True
    )
    leader_election_renew_deadline: Duration = Field(
        "5s", description="How long renewing may fail before work stops.", validate_default=True
    )
    leader_election_retry_period: Duration = Field(
        "1s", description="How often the lease is renewed or tried for.", validate_default=True
    )
    leader_election_labels: str = Field("", description="Labels for the leases, as key=value,key=value.")

    kube_api_qps: float = Field(0, ge=0, description="Upper bound of API requests a second; 0: none (adaptive).")
    kube_api_burst: int = Field(0, ge=0, description="Burst above that bound; 0: twice the bound.")

    http_endpoint: str = Field("", description="Address of metrics and probes, as :8080; empty: none.")
    metrics_address: str = Field("", description="Deprecated name of http-endpoint.")
    metrics_path: str = Field("/metrics", description="Path of the metrics.")
    debug_endpoints: bool = Field(
        default=False, description="Answer /debug/state and / to everybody, not only to this host."
    )

    node_mode: Literal["kubelet", "agent"] = Field(
        "kubelet", description="Who grows filesystems: the kubelet, or node agents (resizer node) on every node."
    )
    nudge: bool = Field(default=True, description="Have kubelets grow filesystems at once by annotating the pods.")
    node_timeout: Duration = Field(
        "5m", description="How long a node may take before it is said why.", validate_default=True
    )
    shutdown_grace: Duration = Field(
        "20s", description="How long work in hand may go on after SIGTERM.", validate_default=True
    )
    driver_rules: str = Field("", description="Folder of further rules for failures of drivers.")
    feature_gates: Gates = Field({}, description="Feature gates, as Name=true,Other=false.")

    v: int = Field(0, ge=0, le=10, description="Verbosity as in klog: 4 and above logs debug lines.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json: one object a line; console: for people; auto: by whether it is a terminal."
    )

    @property
    def http_address(self) -> str:
        """Where metrics and probes are served; empty for nowhere."""
        return self.http_endpoint or self.metrics_address

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> "Settings":
        if self.http_endpoint and self.metrics_address:
            raise ValueError("http-endpoint and metrics-address are one setting under two names: give one of them")
        if not self.csi_address:
            raise ValueError("csi-address is empty: name the socket of at least one driver")
        if len(set(self.csi_address)) != len(self.csi_address):
            raise ValueError("csi-address names the same socket twice: a driver is served once")
        if self.retry_interval_start <= 0 or self.retry_interval_max < self.retry_interval_start:
            raise ValueError("retry-interval-max must not be below retry-interval-start, and both above 0")
        lease, renew = self.leader_election_lease_duration, self.leader_election_renew_deadline
        if self.leader_election and not lease > renew > self.leader_election_retry_period > 0:
            raise ValueError("leader-election-lease-duration > -renew-deadline > -retry-period > 0 does not hold")
        if self.timeout <= 0:
            raise ValueError("timeout must be above 0: a call without a deadline could hang for ever")
        if self.feature_gates.get("VolumeAttributesClass"):
            raise ValueError("VolumeAttributesClass=true asks for volume modification, which Resizer does not do")
        return self


def load_settings(flags: dict[str, Any], *, file: str = "") -> Settings:
    """Put flags, environment and file together. Raises SettingsError with one line for the first mistake."""
    from_file = _read_file(Path(file)) if file else {}
    known = set(Settings.model_fields)
    for name in from_file:
        if name not in known:
            raise SettingsError(f"{file}: {_unknown(name)}")

    class WithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[Any, ...]:
            del settings_cls, dotenv_settings, file_secret_settings
            return init_settings, env_settings, lambda: from_file

    try:
        return WithFile(**flags)
    except ValidationError as error:
        raise SettingsError(_first_mistake(error)) from error


def suggest_setting(name: str) -> str:
    """Return the known setting nearest to this name, empty when none is near."""
    near = difflib.get_close_matches(name.replace("-", "_"), list(Settings.model_fields), n=1)
    return near[0].replace("_", "-") if near else ""


def _unknown(name: str) -> str:
    near = suggest_setting(name)
    return f"{name!r} is no setting" + (f"; did you mean {near!r}?" if near else "; see config/default.yaml")


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"the configuration {path} is no YAML: {str(error).splitlines()[0]}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"the configuration {path} must be a mapping of settings")
    return {str(key).replace("-", "_"): value for key, value in content.items()}


def _first_mistake(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]).replace("_", "-")
    text = first["msg"].removeprefix("Value error, ")
    return f"{name}: {text}" if name else text
