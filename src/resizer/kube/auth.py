"""Finding the way to the API server: in the cluster, by a kubeconfig, or by an address alone.

In-cluster files and static kubeconfigs are read by our own few lines; exec plugins, OIDC and other auth providers
by kubernetes_asyncio, imported only then: importing any part of it costs 53 MB, more than a whole sidecar needs
(docs/adr/0004). The answer is `Credentials`, which are read again when due and after a 401.

Every failure is a CredentialsError of one line that says which file or plugin, what is wrong and what to do.
"""

import asyncio
import datetime as dt
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from resizer.kube.credentials import TOKEN_READ_AGAIN_S, Access, Credentials, CredentialsError, ReloadedCredentials
from resizer.kube.kubeconfig import (
    KubeContext,
    check_token,
    is_usable_server,
    load_static,
    read_context,
    token_end,
)
from resizer.kube.redaction import without_credentials
from resizer.kube.tls import TlsMaterial, read_file

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PLUGIN_DEADLINE_S: Final = 60.0
MAX_PLUGIN_TEXT: Final = 64 * 1024

# The library lets through what its parsers, its plugins' output and its HTTP calls raise.
_LIBRARY_ERRORS: Final = (
    aiohttp.ClientError,
    AssertionError,
    AttributeError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


async def load_credentials(
    *,
    kubeconfig: Path | None = None,
    context: str = "",
    master: str = "",
    use_default_kubeconfig: bool = False,
    environment: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> Credentials:
    """Load credentials. Raises CredentialsError.

    Order, as the peer's: a named kubeconfig, an address alone (`master`), the cluster we run in. A person's tools
    set `use_default_kubeconfig`: the files of $KUBECONFIG, then ~/.kube/config, before the cluster.
    """
    if master and not is_usable_server(master):
        raise CredentialsError(
            f"server {without_credentials(master)!r} is no address of an API server; write https://HOST:PORT"
        )
    files = (kubeconfig,) if kubeconfig else _default_kubeconfigs(environment) if use_default_kubeconfig else ()
    if files:
        return await _from_kubeconfig(files, context=context, master=master)
    if master:
        tls = TlsMaterial().build(f"server {master}") if master.startswith("https://") else None
        return _fixed(Access(server=master.rstrip("/"), ssl_context=tls))
    return await _in_cluster(environment, service_account)


def _default_kubeconfigs(environment: Mapping[str, str]) -> tuple[Path, ...]:
    names = [name for name in environment.get("KUBECONFIG", "").split(os.pathsep) if name]
    if names:
        return tuple(map(Path, names))
    usual = Path(environment.get("HOME", "/")) / ".kube" / "config"
    return (usual,) if usual.exists() else ()


def _fixed(access: Access) -> Credentials:
    async def load() -> Access:
        return access

    return ReloadedCredentials(access, load)


async def _from_kubeconfig(files: tuple[Path, ...], *, context: str, master: str) -> Credentials:
    chosen = read_context(*files, context=context, server=master)
    if chosen.needs_plugin:
        plugin = _PluginLoader(chosen)
        return ReloadedCredentials(await plugin.load(), plugin.load)

    async def load() -> Access:
        return load_static(read_context(*files, context=context, server=master))

    return ReloadedCredentials(load_static(chosen), load)


async def _in_cluster(environment: Mapping[str, str], folder: Path) -> Credentials:
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise CredentialsError(
            "no kubeconfig was given and this is no pod (KUBERNETES_SERVICE_HOST is not set); give --kubeconfig FILE"
        )
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    async def load() -> Access:
        return _read_service_account(server, folder)

    return ReloadedCredentials(_read_service_account(server, folder), load)


def _read_service_account(server: str, folder: Path) -> Access:
    try:
        token = (folder / "token").read_text(encoding="ascii").strip()
        namespace = (folder / "namespace").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        text = f"the ServiceAccount's files in {folder} cannot be read ({error}); is automountServiceAccountToken off?"
        raise CredentialsError(text) from error
    if not token:
        raise CredentialsError(f"the ServiceAccount's token in {folder} is empty")
    where = f"ServiceAccount in {folder}"
    material = TlsMaterial(authority=read_file(folder / "ca.crt", where))
    return Access(
        server=server,
        authorization=f"Bearer {token}",
        ssl_context=material.build(where),
        tls_digest=material.digest,
        namespace=namespace,
        read_again_s=TOKEN_READ_AGAIN_S,
    )


class _PluginLoader:
    """Loads credentials of exec plugins and auth providers by kubernetes_asyncio, again with the same loader.

    The loader keeps renewed tokens in memory (an identity provider may accept a refresh token only once). It is
    told not to write them back: its code for that fails.
    """

    def __init__(self, context: KubeContext) -> None:
        self._context = context
        self._where = f"kubeconfig {context.path}, user {context.user_name!r}"
        self._loader: Any = None

    async def load(self) -> Access:
        """Run the plugin or renew the token. Raises CredentialsError."""
        from kubernetes_asyncio.client import Configuration  # costs 53 MB

        # Built explicitly, never by the class's default, which copies whatever another part of the process set.
        configuration = type.__call__(Configuration)
        try:
            async with asyncio.timeout(PLUGIN_DEADLINE_S):
                await self._fill(configuration)
        except TimeoutError as error:
            raise CredentialsError(f"{self._where}: its plugin gave no answer in {PLUGIN_DEADLINE_S:.0f}s") from error
        except _LIBRARY_ERRORS as error:
            said = without_credentials(" ".join(str(error)[:MAX_PLUGIN_TEXT].split()), known=self._context.credentials)
            text = said[:300] or type(error).__name__
            raise CredentialsError(f"{self._where}: its credentials could not be obtained: {text}") from error
        return self._access(configuration)

    async def _fill(self, configuration: Any) -> None:
        from kubernetes_asyncio.config import ConfigException, kube_config  # costs 53 MB

        # It logs what a plugin wrote to its standard error, perhaps with a token; we say the same without.
        logging.getLogger("kubernetes_asyncio").setLevel(logging.CRITICAL + 1)
        context = self._context
        try:
            if self._loader is None:
                self._loader = await kube_config.load_kube_config(
                    config_file=context.path,
                    context=context.name,
                    client_configuration=configuration,
                    persist_config=False,
                )
            else:
                # We are here because the token ends or was refused: what the loader remembers of its end is no use.
                vars(self._loader).pop("exec_plugin_expiry", None)
                await self._loader.load_and_set(configuration)
        except ConfigException as error:
            raise ValueError(str(error)) from error

    def _access(self, configuration: Any) -> Access:
        context, where = self._context, self._where
        server = str(context.cluster["server"]).rstrip("/")
        authorization = str(configuration.api_key.get("BearerToken", ""))
        token = authorization.removeprefix("Bearer ")
        check_token(token, where)
        material = _plugin_material(configuration, where) if server.startswith("https://") else None
        return Access(
            server=server,
            authorization=authorization,
            ssl_context=material.build(where) if material else None,
            tls_digest=material.digest if material else "",
            server_name=str(getattr(configuration, "tls_server_name", None) or ""),
            proxy=str(getattr(configuration, "proxy", None) or ""),
            namespace=context.namespace,
            impersonation=context.impersonation,
            read_again_s=self._read_again_s(token),
        )

    def _read_again_s(self, token: str) -> float:
        """Five minutes before the end, as the library has it. What names no end is good until a 401 (client-go)."""
        end = getattr(self._loader, "exec_plugin_expiry", None) or token_end(token)
        if end is None:
            return 0.0
        left_s: float = (end - dt.datetime.now(dt.UTC)).total_seconds()
        return max(left_s - 300, TOKEN_READ_AGAIN_S)


def _plugin_material(configuration: Any, where: str) -> TlsMaterial:
    """What the library has put into files."""
    authority, certificate, key = configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file
    return TlsMaterial(
        authority=read_file(Path(authority), where) if authority else b"",
        certificate=read_file(Path(certificate), where) if certificate else b"",
        key=read_file(Path(key), where) if key else b"",
        verify=bool(configuration.verify_ssl),
    )
