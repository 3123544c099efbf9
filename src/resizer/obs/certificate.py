"""The certificate that the HTTP endpoint shows: two PEM files, read at start and again when they are renewed.

Called by `http`. Whether the files have changed is looked at when a client connects, so a renewed certificate (a
secret that cert-manager has rotated) is shown to the next client, and nothing runs in between. A pair that cannot be
used stops the start with one line; later it is logged once and the pair in use stays, because files that are being
replaced may not fit together for a moment. TLS 1.2 is the oldest that is spoken.
"""

import ssl
from pathlib import Path
from typing import Final

import structlog

MAX_FILE_BYTES: Final = 256 * 1024
_CERT_FLAG: Final = "--tls-cert-file"
_KEY_FLAG: Final = "--tls-key-file"
_Stamp = tuple[tuple[int, int, int], ...]

log = structlog.get_logger()


class CertificateError(ValueError):
    """A certificate or key that cannot be used; the text names the flag, the file, the cause and the next step."""


class ServerCertificate:
    """Certificate and key of the endpoint. `context` is what it listens with. Raises CertificateError."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._stamp = self._look()
        self._current = self._load()
        self.context = self._load()
        self.context.sni_callback = self._choose

    def __repr__(self) -> str:
        return f"ServerCertificate({self._certificate})"

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Show a client the pair that stands in the files now (OpenSSL asks at the start of each handshake)."""
        self._renew()
        connection.context = self._current

    def _renew(self) -> None:
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._current = self._load()
        except CertificateError as error:
            log.warning("http.certificate_unusable", reason=str(error), consequence="the one in use is kept")
        else:
            log.info("http.certificate_renewed", file=str(self._certificate))

    def _look(self) -> _Stamp:
        """What tells a file from its successor; taken before reading, so that no change is missed."""
        return tuple(_stamp(path) for path in (self._certificate, self._key))

    def _load(self) -> ssl.SSLContext:
        if b"-----BEGIN CERTIFICATE-----" not in _read(self._certificate, _CERT_FLAG):
            raise CertificateError(f"{_CERT_FLAG} {self._certificate}: it holds no PEM certificate")
        key = _read(self._key, _KEY_FLAG)
        if b"PRIVATE KEY-----" not in key:
            raise CertificateError(f"{_KEY_FLAG} {self._key}: it holds no PEM private key")
        if b"ENCRYPTED" in key:
            raise CertificateError(f"{_KEY_FLAG} {self._key}: it is encrypted; give a key without a passphrase")
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION
        made.set_alpn_protocols(["http/1.1"])
        try:
            # A password, so that OpenSSL never asks for one on the terminal.
            made.load_cert_chain(self._certificate, self._key, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise CertificateError(self._describe(error)) from error
        return made

    def _describe(self, error: Exception) -> str:
        if getattr(error, "reason", "") in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            return f"{_KEY_FLAG} {self._key} is not the key of {_CERT_FLAG} {self._certificate}: give a pair"
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or "malformed"
        return f"{_CERT_FLAG} {self._certificate} and {_KEY_FLAG} {self._key} cannot be used: {why}"


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _read(path: Path, flag: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(
            f"{flag} {path}: cannot be read ({error.strerror or error}): name a PEM file that we may read"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise CertificateError(f"{flag} {path}: longer than {MAX_FILE_BYTES} bytes, so no certificate or key")
    return content
