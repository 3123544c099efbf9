"""Who we are to the API server, and how to reach it: the values that `auth` loads and `transport` uses.

Credentials change while the program runs: tokens expire, certificates are renewed. `headers` gives what is valid
now, reading again when it is time; `refresh` reads again because the server has answered 401.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from msgspec import Struct, structs

log = structlog.get_logger("resizer.kube.credentials")

TOKEN_READ_AGAIN_S: Final = 60.0
REFRESH_PAUSE_S: Final = 5.0
"""While the server refuses whatever we have, plugins and files are not asked more often than this."""


class CredentialsError(Exception):
    """No usable way to the API server. The text is one line: which file or plugin, what is wrong, what to do."""


class Access(Struct, frozen=True):
    """One state of the credentials. `authorization` is the header's value, empty for none; never shown."""

    server: str
    authorization: str = ""
    ssl_context: ssl.SSLContext | None = None
    tls_digest: str = ""
    server_name: str = ""
    proxy: str = ""
    namespace: str = ""
    impersonation: tuple[tuple[str, str], ...] = ()
    """Headers that have the server act as somebody else."""
    read_again_s: float = 0.0
    """Seconds after which it is to be read again, 0 for only after a 401."""

    def __repr__(self) -> str:
        return f"Access({self.server})"


Load = Callable[[], Awaitable[Access]]


class Credentials(Protocol):
    """What transport needs."""

    @property
    def access(self) -> Access:
        """The state read last."""

    async def current(self) -> Access:
        """The state to use now, read again first if it is due. Never raises for a failed reading: the old one stays."""

    async def refresh(self, used: Access) -> Access:
        """Read again because the server refused `used`; at once if somebody has done so meanwhile."""


class ReloadedCredentials:
    """Credentials from a loading function, read again when due and after a 401, once for all who wait for it."""

    def __init__(self, access: Access, load: Load) -> None:
        self.access = access
        self._load = load
        self._reading: asyncio.Task[None] | None = None
        self._read_at = asyncio.get_running_loop().time()
        self._refreshed_at = float("-inf")

    def __repr__(self) -> str:
        return f"ReloadedCredentials({self.access.server})"

    async def current(self) -> Access:
        """Return the state to use now, read again first if it is due. While somebody reads, the old one is used."""
        if self.access.read_again_s and self._age_s() >= self.access.read_again_s and self._reading is None:
            await self._read_again()
        return self.access

    async def refresh(self, used: Access) -> Access:
        """Read again because the server refused `used`; at once if somebody has done so meanwhile."""
        now = asyncio.get_running_loop().time()
        if self._reading is not None:
            await self._read_again()
        elif self.access is used and now - self._refreshed_at >= REFRESH_PAUSE_S:
            self._refreshed_at = now
            await self._read_again()
        return self.access

    async def _read_again(self) -> None:
        """Join the reading that is under way, or begin one.

        Whoever waits may run out of time, as a renewal of the lease does long before a slow plugin has answered: the
        reading goes on without them, else it would be begun and cut off for ever.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._reload(), name="credentials")
            self._reading.add_done_callback(self._end_reading)
        await asyncio.shield(self._reading)

    def _end_reading(self, _: "asyncio.Task[None]") -> None:
        self._reading = None

    def _age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._read_at

    async def _reload(self) -> None:
        try:
            new, old = await self._load(), self.access
            if new.tls_digest == old.tls_digest:
                # The same certificates: connections that are open can go on.
                new = structs.replace(new, ssl_context=old.ssl_context)
            self.access = new
        except CredentialsError as error:
            # The old ones may still be good; if not, the server's 401 says so to whoever asked.
            log.warning("credentials.not_read", error=str(error))
        finally:
            self._read_at = asyncio.get_running_loop().time()
