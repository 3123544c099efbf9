import asyncio
import shutil
import ssl

import aiohttp
import pytest
from structlog.testing import capture_logs

from resizer.obs.certificate import CertificateError, ServerCertificate
from resizer.obs.http import serve_http
from tests.component.obs.obs_sample import endpoint
from tests.component.obs.pem import name_of, write_pair


def anyone() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def shown(port: int, *, server_name: str = "") -> str:
    """Connect and return the name in the certificate that is shown, and see that a request is answered."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=anyone(), server_hostname=server_name or "127.0.0.1"
    )
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return name_of(found)


async def test_everything_is_served_over_tls_and_verified(tmp_path):
    """With a certificate a client that checks it reads metrics over TLS 1.2 or newer; plain HTTP gets nothing."""
    certificate, key = write_pair(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with (
        serve_http("127.0.0.1:0", endpoint(certificate=ServerCertificate(certificate, key))) as port,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"https://127.0.0.1:{port}/metrics", ssl=trusting) as answer:
            assert answer.status == 200
            assert "workqueue_depth" in await answer.text()
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{port}/metrics")


@pytest.mark.parametrize(("newest", "spoken"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_tls_below_1_2_is_not_spoken(tmp_path, newest, spoken):
    """A client that knows nothing newer than TLS 1.1 is turned away, others are served."""
    context = anyone()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1_1 if newest == "TLSv1_1" else ssl.TLSVersion[newest]
    context.maximum_version = ssl.TLSVersion[newest]
    async with serve_http("127.0.0.1:0", endpoint(certificate=ServerCertificate(*write_pair(tmp_path)))) as port:
        connecting = asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="x")
        if not spoken:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connecting
            return
        _, writer = await connecting
        assert writer.get_extra_info("ssl_object").version() == newest.replace("_", ".")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("server_name", ["", "metrics.example"])
async def test_a_renewed_certificate_is_shown_to_the_next_client(tmp_path, server_name):
    """Files that are replaced, as a secret's volume does it, count from the next connection on, without a restart."""
    files = tmp_path / "mounted"
    write_pair(tmp_path / "v1", "first")
    write_pair(tmp_path / "v2", "second")
    files.symlink_to("v1")
    certificate = ServerCertificate(files / "tls.crt", files / "tls.key")
    async with serve_http("127.0.0.1:0", endpoint(certificate=certificate)) as port:
        assert await shown(port, server_name=server_name) == "first"
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").rename(files)
        assert await shown(port, server_name=server_name) == "second"


async def test_a_pair_that_does_not_fit_keeps_the_one_in_use(tmp_path):
    """Between the renewal of the one file and of the other the old pair is shown; it is said once, then healed."""
    certificate, key = write_pair(tmp_path / "now", "first")
    new_certificate, new_key = write_pair(tmp_path / "new", "second")
    async with serve_http("127.0.0.1:0", endpoint(certificate=ServerCertificate(certificate, key))) as port:
        with capture_logs() as logs:
            shutil.copy(new_certificate, certificate)
            assert [await shown(port), await shown(port)] == ["first", "first"]
            key.unlink()
            assert await shown(port) == "first"
            shutil.copy(new_key, key)
            assert await shown(port) == "second"
    assert [line["event"] for line in logs] == [
        "http.certificate_unusable",
        "http.certificate_unusable",
        "http.certificate_renewed",
    ]
    assert "is not the key of" in logs[0]["reason"]
    assert "No such file" in logs[1]["reason"]


def _mismatch(folder):
    certificate, _ = write_pair(folder / "a")
    return certificate, write_pair(folder / "b")[1]


def _with(folder, *, certificate: bytes | None = None, key: bytes | None = None):
    files = write_pair(folder)
    for path, content in zip(files, (certificate, key), strict=True):
        if content is not None:
            path.write_bytes(content)
    return files


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda f: (f / "none.crt", write_pair(f)[1]), r"--tls-cert-file .*none\.crt: cannot be read \(No such file"),
        (lambda f: (write_pair(f)[0], f), r"--tls-key-file .*: cannot be read \(Is a directory\)"),
        (_mismatch, r"--tls-key-file .*b/tls\.key is not the key of --tls-cert-file .*a/tls\.crt"),
        (lambda f: write_pair(f, passphrase=b"secret"), r"--tls-key-file .*: it is encrypted; give a key without"),
        (lambda f: _with(f, certificate=b"nothing"), r"--tls-cert-file .*: it holds no PEM certificate"),
        (lambda f: write_pair(f)[::-1], r"--tls-cert-file .*tls\.key: it holds no PEM certificate"),
        (lambda f: _with(f, key=b""), r"--tls-key-file .*: it holds no PEM private key"),
        (lambda f: _with(f, certificate=b"-----BEGIN CERTIFICATE-----\nx"), r"cannot be used"),
        (lambda f: _with(f, key=b"x" * 300_000), r"--tls-key-file .*: longer than 262144 bytes"),
    ],
)
def test_files_that_cannot_be_used_are_one_clear_line(tmp_path, make, text):
    """Each way in which the files can be wrong is named, with flag and file, and nothing of the key's content."""
    with pytest.raises(CertificateError, match=text) as caught:
        ServerCertificate(*make(tmp_path))
    assert "\n" not in str(caught.value)
    assert "BEGIN" not in str(caught.value)
