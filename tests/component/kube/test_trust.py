"""Whom a TLS connection trusts: what client-go trusts, with any OpenSSL and any Python."""

import asyncio
import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from resizer.kube.tls import TlsMaterial


class Signer:
    """A certificate authority as old tools made them: no key identifiers, no key usage."""

    def __init__(self, name, issuer=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        extension = x509.BasicConstraints(ca=True, path_length=None)
        self.pem = (issuer or self).sign(self.name, self.key, extension)

    def sign(self, name, key, extension):
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


def server_context(signer, folder):
    """A server on 127.0.0.1, its certificate signed by this authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    pem = signer.sign(name, key, host) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


async def connect(server, authority):
    """Shake hands with such a server, trusting this authority."""

    async def answer(_reader, writer):
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        context = TlsMaterial(authority=authority).build("here")
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.close()


async def test_an_authority_of_an_old_tool_is_trusted(tmp_path, monkeypatch):
    """From Python 3.13 on OpenSSL is strict by default and refuses the authorities of many clusters; Go does not."""
    made = ssl.create_default_context

    def strict(*arguments, **more):
        context = made(*arguments, **more)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    signer = Signer("ca")
    await connect(server_context(signer, tmp_path), signer.pem)


async def test_an_intermediate_authority_is_trusted_without_its_root(tmp_path):
    """A cluster's ca.crt may hold the intermediate alone: whoever is named there is trusted, as by Go."""
    intermediate = Signer("intermediate", Signer("root"))
    await connect(server_context(intermediate, tmp_path), intermediate.pem)


async def test_another_authority_is_not_trusted(tmp_path):
    """All this trusts nobody who was not named."""
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(server_context(Signer("ca"), tmp_path), Signer("ca").pem)


async def test_words_around_a_certificate_do_no_harm(tmp_path):
    """A bundle may say whose certificate it is, in any language."""
    signer = Signer("ca")
    await connect(server_context(signer, tmp_path), "# Zürich\n".encode() + signer.pem)
