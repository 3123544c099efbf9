"""Reading a kubeconfig: what kubectl's file says about server, certificates and user, checked with one clear line each.

Static credentials (token, token file, client certificate, user and password) are read here, because the library
that reads all kinds costs 53 MB of memory once imported; `auth` hands users of exec plugins and auth providers to
it. Tokens and certificates are checked for expiry. Several files ($KUBECONFIG) are read as one: of two entries of one
name, and of two current contexts, the first counts.

Source: kubeconfig v1 (client-go clientcmd/api/v1).
"""

import base64
import binascii
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml
from msgspec import Struct

from resizer.kube.credentials import TOKEN_READ_AGAIN_S, Access, CredentialsError
from resizer.kube.impersonation import find_impersonation
from resizer.kube.redaction import without_credentials
from resizer.kube.tls import TlsMaterial, describe, read_file

Section = dict[str, Any]

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
_FILE_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "clusters": ("certificate-authority",),
    "contexts": (),
    "users": ("client-certificate", "client-key", "tokenFile"),
}
"""The lists of a kubeconfig, and which values of their entries are files, relative to the kubeconfig."""


class KubeContext(Struct, frozen=True):
    """What one context of a kubeconfig names. `path` is the file or the files, as $KUBECONFIG writes them."""

    path: str
    name: str
    cluster: Section
    user: Section
    user_name: str = ""
    namespace: str = ""

    @property
    def needs_plugin(self) -> bool:
        """Whether credentials come from an exec plugin or an auth provider."""
        return "exec" in self.user or "auth-provider" in self.user

    @property
    def credentials(self) -> list[str]:
        """What the user's plugin is configured with: values that may not be shown."""
        plugin = self.user.get("exec") or {}
        entries = plugin.get("env") if isinstance(plugin, dict) else None
        found = [entry.get("value") for entry in entries or () if isinstance(entry, dict)]
        provider = (self.user.get("auth-provider") or {}).get("config") or {}
        return [str(value) for value in (*found, *provider.values()) if value]

    @property
    def impersonation(self) -> tuple[tuple[str, str], ...]:
        """Headers that name whom to impersonate. Raises CredentialsError."""
        return find_impersonation(self.user, _where(self))

    def __repr__(self) -> str:
        return f"KubeContext({self.path}, {self.name})"


def read_context(*files: Path, context: str = "", server: str = "") -> KubeContext:
    """Read one context, the current one if none is named. `server` overrides the cluster's.

    Raises CredentialsError.
    """
    path, config = os.pathsep.join(map(str, files)), _read_files(files)
    name = context or config["current-context"]
    if not name:
        raise CredentialsError(f"kubeconfig {path}: it has no current-context; set one, or give --context")
    chosen = _named(path, config, "contexts", "context", name)
    if chosen is None:
        raise CredentialsError(f"kubeconfig {path}: it has no context {name!r}")
    cluster_name, user_name = str(chosen.get("cluster", "")), str(chosen.get("user", ""))
    cluster = _named(path, config, "clusters", "cluster", cluster_name)
    if cluster is None:
        raise CredentialsError(
            f"kubeconfig {path}: context {name!r} names cluster {cluster_name!r}, which is not there"
        )
    user = _named(path, config, "users", "user", user_name)
    if user is None and user_name:
        raise CredentialsError(f"kubeconfig {path}: context {name!r} names user {user_name!r}, which is not there")
    if server:
        cluster = {**cluster, "server": server}
    address = str(cluster.get("server", ""))
    if not is_usable_server(address):
        raise CredentialsError(
            f"kubeconfig {path}: cluster {cluster_name!r} has no usable server "
            f"({without_credentials(address)!r}); write https://HOST:PORT"
        )
    namespace = str(chosen.get("namespace", ""))
    return KubeContext(path, name, cluster, user or {}, user_name=user_name, namespace=namespace)


def is_usable_server(address: str) -> bool:
    """Whether this can be the address of an API server at all. User and password belong in the user's section."""
    try:
        parts = urlsplit(address)
        return (
            parts.scheme in {"https", "http"} and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        return False


def load_static(context: KubeContext) -> Access:
    """Turn a context with static credentials into access. Raises CredentialsError."""
    user, cluster, material = context.user, context.cluster, _tls_material(context)
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        authorization=_authorization(context),
        ssl_context=material.build(_where(context)) if material else None,
        tls_digest=material.digest if material else "",
        server_name=str(cluster.get("tls-server-name", "")),
        proxy=str(cluster.get("proxy-url", "")),
        namespace=context.namespace,
        impersonation=context.impersonation,
        read_again_s=TOKEN_READ_AGAIN_S if "tokenFile" in user and not user.get("token") else 0.0,
    )


def token_end(token: str) -> dt.datetime | None:
    """When a JWT expires (`exp`); None for other tokens, which do not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return dt.datetime.fromtimestamp(float(claims["exp"]), dt.UTC)
    except (ValueError, KeyError, TypeError, OverflowError, binascii.Error):
        return None


def check_token(token: str, where: str) -> None:
    """Refuse a token whose end has passed. Raises CredentialsError."""
    end = token_end(token)
    if end is not None and end <= dt.datetime.now(dt.UTC):
        raise CredentialsError(f"{where}: its token expired at {end:%Y-%m-%dT%H:%M:%SZ}; get a new one")


def _read_yaml(path: Path) -> Section:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise CredentialsError(f"kubeconfig {path}: it is longer than {MAX_FILE_BYTES} bytes, so no kubeconfig")
        config = yaml.safe_load(text.decode())
    except FileNotFoundError as error:
        raise CredentialsError(f"kubeconfig {path}: no such file; give an existing one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"kubeconfig {path}: it cannot be read: {describe(error)}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise CredentialsError(f"kubeconfig {path}: it is malformed, no YAML{line}") from error
    except RecursionError as error:
        raise CredentialsError(f"kubeconfig {path}: it is malformed, nested too deeply") from error
    if not isinstance(config, dict):
        raise CredentialsError(f"kubeconfig {path}: it is malformed, no mapping with clusters, users and contexts")
    return config


def _read_files(files: tuple[Path, ...]) -> Section:
    """Read the files that are there, as one."""
    read = [(path, _read_yaml(path)) for path in files if path.exists()] or [(files[0], _read_yaml(files[0]))]
    names = [str(config.get("current-context") or "") for _, config in read]
    merged: Section = {"current-context": next(filter(None, names), "")}
    for section, file_names in _FILE_NAMES.items():
        merged[section] = [
            entry for path, config in read for entry in _read_entries(path, config, section, file_names=file_names)
        ]
    return merged


def _read_entries(path: Path, config: Section, section: str, *, file_names: tuple[str, ...]) -> list[Section]:
    """Return one list of a file, with whole paths in it. Its entries are lists' elements: `{name, cluster}`."""
    entries = config.get(section) or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CredentialsError(f"kubeconfig {path}: it is malformed, {section} is no list of mappings")
    key = section.removesuffix("s")
    return [{**entry, key: _with_whole_paths(path, entry.get(key) or {}, file_names)} for entry in entries]


def _with_whole_paths(path: Path, value: Any, file_names: tuple[str, ...]) -> Any:
    if not isinstance(value, dict):
        return value
    # kubectl's rule: relative to the kubeconfig that names it.
    whole = {name: str(path.parent / os.path.expanduser(str(value[name]))) for name in file_names if value.get(name)}  # noqa: PTH111
    return {**value, **whole}


def _named(path: str, config: Section, section: str, key: str, name: str) -> Section | None:
    found: Section | None = next((entry[key] for entry in config[section] if entry.get("name") == name), None)
    if found is not None and not isinstance(found, dict):
        raise CredentialsError(f"kubeconfig {path}: it is malformed, {key} {name!r} is no mapping")
    return found


def _where(context: KubeContext) -> str:
    return f"kubeconfig {context.path}, user {context.user_name!r}"


def _authorization(context: KubeContext) -> str:
    user, where = context.user, _where(context)
    token = str(user.get("token") or "")
    if not token and user.get("tokenFile"):
        token = _read_bytes(context, str(user["tokenFile"]), "token file").decode("utf-8", "replace").strip()
    if token:
        check_token(token, where)
        return f"Bearer {token}"
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return ""


def _tls_material(context: KubeContext) -> TlsMaterial | None:
    cluster, user = context.cluster, context.user
    if not str(cluster["server"]).startswith("https://"):
        return None
    authority = _file_or_data(context, cluster, "certificate-authority")
    certificate = _file_or_data(context, user, "client-certificate")
    return TlsMaterial(
        authority=authority,
        certificate=certificate,
        key=_file_or_data(context, user, "client-key") if certificate else b"",
        verify=not cluster.get("insecure-skip-tls-verify", False),
    )


def _file_or_data(context: KubeContext, section: Section, key: str) -> bytes:
    """Content of `<key>-data` (base64) or of the file that `<key>` names; empty when neither is there."""
    data = section.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise CredentialsError(f"kubeconfig {context.path}: {key}-data is malformed, no base64") from error
    return _read_bytes(context, str(section[key]), key) if section.get(key) else b""


def _read_bytes(context: KubeContext, name: str, what: str) -> bytes:
    return read_file(Path(name), f"kubeconfig {context.path}, {what}")
