"""What a TLS connection to the API server is made of, checked before OpenSSL could say it worse."""

import datetime as dt
import hashlib
import ssl
import tempfile
from functools import cache
from pathlib import Path

from msgspec import Struct

from resizer.kube.credentials import CredentialsError


class TlsMaterial(Struct, frozen=True):
    """Authority, client certificate and key, all PEM; no authority means the system's."""

    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    verify: bool = True

    def __repr__(self) -> str:
        return f"TlsMaterial({self.digest[:8]})"

    @property
    def digest(self) -> str:
        """Tells whether a context made from another material would differ: a new context means new connections."""
        made = hashlib.sha256(f"{self.verify} ".encode())
        made.update(b"\0".join((self.authority, self.certificate, self.key)))
        return made.hexdigest()

    def build(self, where: str) -> ssl.SSLContext:
        """Return a client's context. Raises CredentialsError: unreadable or expired, `where` says of what."""
        try:
            # ssl takes text of ASCII alone; what else stands between the certificates is somebody's remark.
            text = self.authority.decode("ascii", "ignore")
            if self.authority and not text:
                raise ValueError("it is no text")
            made = ssl.create_default_context(cadata=text or None)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise CredentialsError(f"{where}: its certificate authority cannot be read: {describe(error)}") from error
        # As client-go, whatever Python's defaults: who is named is trusted, be it an intermediate authority, and old
        # tools' certificates without key identifiers are no less good.
        made.verify_flags = made.verify_flags & ~ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        if not self.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if self.certificate:
            self._add_certificate(made, where)
        return made

    def _add_certificate(self, made: ssl.SSLContext, where: str) -> None:
        _check_certificate(self.certificate, where)
        try:
            # ssl reads files only: one private file (mode 0600), gone as soon as it is read.
            with tempfile.NamedTemporaryFile(prefix="resizer-") as pem:
                pem.write(self.certificate + b"\n" + self.key)
                pem.flush()
                made.load_cert_chain(pem.name)
        except (ssl.SSLError, OSError) as error:
            text = f"its client certificate or key cannot be used: {describe(error)}"
            raise CredentialsError(f"{where}: {text}") from error


@cache
def system_context() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities."""
    return ssl.create_default_context()


def read_file(path: Path, where: str) -> bytes:
    """Read a file that credentials name. Raises CredentialsError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{where}: {path} cannot be read: {describe(error)}") from error


def describe(error: Exception) -> str:
    """The shortest text that says what went wrong."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _check_certificate(certificate: bytes, where: str) -> None:
    from cryptography import x509  # 9 MB, needed only where client certificates are used

    try:
        end = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    except ValueError as error:
        raise CredentialsError(f"{where}: its client certificate is malformed") from error
    if end <= dt.datetime.now(dt.UTC):
        text = f"its client certificate expired at {end:%Y-%m-%dT%H:%M:%SZ}; renew it"
        raise CredentialsError(f"{where}: {text}")
