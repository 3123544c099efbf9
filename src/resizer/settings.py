"""Settings of `resizer run`: flags by the peer's names, RESIZER_* environment variables, and a YAML file.

A flag wins over the environment, the environment over the file, the file over the default. Every duration is
written as Go writes it ("5m", "1h30m", "300ms") and kept in seconds. Combinations that cannot work are refused
here, with one line each that says what to change, before anything is started. `config/default.yaml` shows them all;
`cli/check_config.py` prints what came of them, and `cli/notices.py` says what is odd but no mistake.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from msgspec import Struct
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from resizer.model.flag_value import parse_bool, parse_duration
from resizer.obs.address import is_loopback

ENVIRONMENT_PREFIX: Final = "RESIZER_"
MAX_FILE_BYTES: Final = 256 * 1024


class SettingsError(ValueError):
    """Settings that cannot be used: a line for each mistake, naming the setting, the cause and the next step."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def _parse_gates(value: object) -> object:
    """Read "Gate=true,Other=false" as Kubernetes programs do."""
    if not isinstance(value, str):
        return value
    gates: dict[str, bool] = {}
    for item in filter(None, (part.strip() for part in value.split(","))):
        name, _, state = item.partition("=")
        try:
            gates[name.strip()] = parse_bool(state)
        except ValueError as error:
            raise ValueError(f"{item!r} is no feature gate: write it as Name=true or Name=false") from error
    return gates


def _parse_list(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _parse_labels(value: object) -> str:
    """Read labels as key:value,key:value (the peer's way) or key=value,key=value; return the latter."""
    parts = [f"{key}={text}" for key, text in value.items()] if isinstance(value, dict) else str(value).split(",")
    labels = [re.split("[:=]", part.strip()) for part in parts if part.strip()]
    for label in labels:
        if len(label) != 2 or not label[0]:
            raise ValueError(f"{':'.join(label)!r} is no label: write it as key:value, several with commas")
    return ",".join(f"{key}={text}" for key, text in labels)


def _none_below_zero(value: object) -> object:
    """Read a negative rate as none: so client-go takes it, and manifests use it."""
    try:
        return 0 if float(str(value)) < 0 else value
    except ValueError:
        return value


Duration = Annotated[float, BeforeValidator(parse_duration)]
# NoDecode: the environment holds what a flag would hold, not JSON.
Gates = Annotated[dict[str, bool], NoDecode, BeforeValidator(_parse_gates)]
Texts = Annotated[list[str], NoDecode, BeforeValidator(_parse_list)]
Labels = Annotated[str, BeforeValidator(_parse_labels)]
NoneBelowZero = BeforeValidator(_none_below_zero)


class Settings(BaseSettings):
    """All settings of `resizer run`. A field's description is its line in `--help`."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", env_ignore_empty=True, frozen=True)

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
    leader_election_labels: Labels = Field("", description="Labels for the leases, as key:value,key:value.")

    kube_api_qps: Annotated[float, NoneBelowZero] = Field(
        0, description="Upper bound of API requests a second; 0: none (adaptive)."
    )
    kube_api_burst: Annotated[int, NoneBelowZero] = Field(0, description="Burst above that bound; 0: twice the bound.")

    http_endpoint: str = Field("", description="Address of metrics and probes, as :8080; empty: none.")
    metrics_address: str = Field("", description="Deprecated name of http-endpoint.")
    metrics_path: str = Field("/metrics", description="Path of the metrics.")
    debug_endpoints: bool = Field(
        default=False, description="Answer /debug/state and / to everybody, not only to this host."
    )
    debug_authentication: bool = Field(
        default=False, description="Answer /debug/state and / to those whose bearer token the API server allows it."
    )
    tls_cert_file: str = Field("", description="PEM certificate of the HTTP endpoint; empty: plain HTTP.")
    tls_key_file: str = Field("", description="PEM key of that certificate.")

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

    v: int = Field(0, ge=0, description="Verbosity as in klog: 4 and above logs debug lines.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json: one object a line; console: for people; auto: by whether it is a terminal."
    )

    @property
    def http_address(self) -> str:
        """Where metrics and probes are served; empty for nowhere."""
        return self.http_endpoint or self.metrics_address

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> "Settings":
        mistakes = [*self._address_mistakes(), *self._endpoint_mistakes(), *self._timing_mistakes()]
        if self.feature_gates.get("VolumeAttributesClass"):
            mistakes.append("VolumeAttributesClass=true asks for volume modification, which Resizer does not do")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _address_mistakes(self) -> Iterator[str]:
        if self.http_endpoint and self.metrics_address:
            yield "http-endpoint and metrics-address are one setting under two names: give one of them"
        if not self.csi_address:
            yield "csi-address is empty: name the socket of at least one driver"
        if len(set(self.csi_address)) != len(self.csi_address):
            yield "csi-address names the same socket twice: a driver is served once"

    def _endpoint_mistakes(self) -> Iterator[str]:
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

    def _timing_mistakes(self) -> Iterator[str]:
        if self.retry_interval_start <= 0 or self.retry_interval_max < self.retry_interval_start:
            yield "retry-interval-max must not be below retry-interval-start, and both above 0"
        lease, renew = self.leader_election_lease_duration, self.leader_election_renew_deadline
        if self.leader_election and not lease > renew > self.leader_election_retry_period > 0:
            yield "leader-election-lease-duration > -renew-deadline > -retry-period > 0 does not hold"
        if self.timeout <= 0:
            yield "timeout must be above 0: a call without a deadline could hang for ever"


class Loaded(Struct, frozen=True):
    """Settings, and where each of them comes from: "flag", "environment NAME", "file PATH" or "default"."""

    settings: Settings
    origins: dict[str, str]


def load_settings(flags: dict[str, Any], *, file: str = "") -> Settings:
    """Put flags, environment and file together. Raises SettingsError with a line for each mistake."""
    return load(flags, file=file).settings


def load(flags: dict[str, Any], *, file: str = "") -> Loaded:
    """Put flags, environment and file together, and say what came from where. Raises SettingsError."""
    from_file, mistakes = _read_file(Path(file)) if file else ({}, [])
    origins = _origins(flags, from_file, file=file, environment=os.environ)

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
        settings = WithFile(**flags)
    except ValidationError as error:
        raise SettingsError(*mistakes, *_mistakes(error, origins)) from error
    if mistakes:
        raise SettingsError(*mistakes)
    return Loaded(settings, origins)


def _origins(
    flags: Mapping[str, Any], from_file: Mapping[str, Any], *, file: str, environment: Mapping[str, str]
) -> dict[str, str]:
    variables = {name.upper(): name for name, value in environment.items() if value}
    found: dict[str, str] = {}
    for name in Settings.model_fields:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if name in flags:
            found[name] = "flag"
        elif variable in variables:
            found[name] = f"environment {variables[variable]}"
        else:
            found[name] = f"file {file}" if name in from_file else "default"
    return found


def is_duration(name: str) -> bool:
    """Whether this setting is kept in seconds and written as a duration."""
    return any(getattr(part, "func", None) is parse_duration for part in Settings.model_fields[name].metadata)


def suggest_setting(name: str) -> str:
    """Return the known setting nearest to this name, empty when none is near."""
    near = difflib.get_close_matches(name.replace("-", "_"), list(Settings.model_fields), n=1)
    return near[0].replace("_", "-") if near else ""


def _unknown(name: str) -> str:
    near = suggest_setting(name)
    return f"{name!r} is no setting" + (f"; did you mean {near!r}?" if near else "; see config/default.yaml")


def _read_yaml(path: Path) -> tuple[Any, Any]:
    """Return a file's content, and the nodes that know their lines; of a file without an end only so much is read."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
    except OSError as error:
        raise SettingsError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the configuration {path} is no YAML: {str(error).splitlines()[0]}") from error
    if len(text) > MAX_FILE_BYTES:
        raise SettingsError(f"the configuration {path} is longer than {MAX_FILE_BYTES} bytes: name a file of settings")
    try:
        return yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except RecursionError as error:
        raise SettingsError(
            f"the configuration {path} is nested too deeply: settings are one level of names"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"the configuration {path} is no YAML: {str(error).splitlines()[0]}") from error


def _read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read known settings from a file, and a line for each that is unknown or there twice."""
    content, node = _read_yaml(path)
    if content is None or node is None:
        return {}, []
    if not isinstance(content, dict):
        raise SettingsError(f"the configuration {path} must be a mapping of settings")
    seen: dict[str, int] = {}
    mistakes: list[str] = []
    for key, _ in node.value:
        name, line = str(key.value).replace("-", "_"), key.start_mark.line + 1
        if name not in Settings.model_fields:
            mistakes.append(f"{path}, line {line}: {_unknown(str(key.value))}")
        elif name in seen:
            mistakes.append(f"{path}, line {line}: {key.value!r} stands in line {seen[name]} already")
        seen.setdefault(name, line)
    values = {str(key).replace("-", "_"): value for key, value in content.items()}
    return {name: value for name, value in values.items() if name in Settings.model_fields}, mistakes


def _mistakes(error: ValidationError, origins: Mapping[str, str]) -> Iterator[str]:
    for mistake in error.errors():
        name = str(mistake["loc"][0]) if mistake["loc"] else ""
        lines = mistake["msg"].removeprefix("Value error, ").splitlines()
        origin = origins.get(name, "flag")
        place = "" if origin in ("flag", "default") else f" ({origin})"
        yield from (f"{name.replace('_', '-')}{place}: {line}" if name else line for line in lines)
