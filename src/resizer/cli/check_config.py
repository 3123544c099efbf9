"""`resizer run --check-config`: the effective settings, each with where it came from, or all that is wrong with them.

The output is itself a configuration file: `resizer run --config` on it gives the same settings. What the settings
point to is looked at too (addresses, rules of drivers, kubeconfig, certificate), as far as it can be without
connecting anywhere: where this says "usable", the program gets as far as talking to the API server.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from resizer.model.flag_value import format_duration
from resizer.settings import SETTINGS, Loaded, Settings, is_duration

TAKEN_PATHS: Final = frozenset({"/", "/debug/state", "/healthz", "/healthz/leader-election", "/livez", "/readyz"})
"""Paths of the HTTP endpoint that are no metrics."""


def describe(loaded: Loaded) -> str:
    """Return one line a setting: its name, its value as YAML, and its origin as a comment."""
    values = {name: shown(name, getattr(loaded.settings, name)) for name in SETTINGS}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in values.items()]
    width = min(max(map(len, lines)), 60)
    origins = [loaded.origins[name] for name in values]
    return "\n".join(f"{line:{width}}  # {origin}" for line, origin in zip(lines, origins, strict=True))


def shown(name: str, value: Any) -> str:
    """Return the value as it is written in a configuration file (JSON is YAML)."""
    if is_duration(name):
        return format_duration(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def find_start_problems(settings: Settings) -> list[str]:
    """Return a line for each thing that would keep the program from starting here, with these settings."""
    from resizer.csi.rules import load_rules
    from resizer.kube.credentials import CredentialsError
    from resizer.kube.kubeconfig import load_static, read_context
    from resizer.obs.address import parse_listen_address
    from resizer.obs.certificate import ServerCertificate
    from resizer.rpc.channel import socket_path

    looks: list[Callable[[], object]] = [partial(socket_path, address) for address in settings.csi_address]
    if settings.http_address:
        looks.append(partial(parse_listen_address, settings.http_address))
        looks.append(partial(_check_metrics_path, settings.metrics_path))
    if settings.tls_cert_file:
        looks.append(lambda: ServerCertificate(Path(settings.tls_cert_file), Path(settings.tls_key_file)))
    if settings.driver_rules:
        looks.append(lambda: load_rules(Path(settings.driver_rules)))
    if settings.kubeconfig:
        looks.append(lambda: load_static(read_context(Path(settings.kubeconfig), server=settings.master)))
    problems: list[str] = []
    for look in looks:
        try:
            look()
        except (ValueError, OSError, CredentialsError) as error:
            problems.append(str(error))
    return problems


def _check_metrics_path(path: str) -> None:
    if not path.startswith("/") or path in TAKEN_PATHS:
        raise ValueError(f"--metrics-path {path!r}: take one that begins with / and is not in use")
