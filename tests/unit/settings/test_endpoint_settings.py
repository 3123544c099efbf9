"""Settings of the HTTP endpoint that would leave it half secured, and files that are no settings."""

from pathlib import Path

import pytest

from resizer.settings import MAX_FILE_BYTES, SettingsError, load_settings

TLS = {"tls_cert_file": "/tls/tls.crt", "tls_key_file": "/tls/tls.key"}
ASK = {"debug_authentication": True}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"tls_cert_file": "/tls/tls.crt"}, "belong together"),
        ({"tls_key_file": "/tls/tls.key"}, "belong together"),
        ({**TLS, **ASK, "debug_endpoints": True, "http_endpoint": ":8080"}, "give one of them"),
        ({**ASK, "http_endpoint": ":8080"}, "needs tls-cert-file"),
        ({**ASK, "metrics_address": "10.0.0.1:8080"}, "needs tls-cert-file"),
        ({**ASK, "http_endpoint": "[::]:8080"}, "needs tls-cert-file"),
    ],
)
def test_what_would_be_half_secured_is_refused(flags, says):
    """A certificate without its key, tokens over plain HTTP, two answers to one question: refused in a line."""
    with pytest.raises(SettingsError, match=says):
        load_settings(flags)


@pytest.mark.parametrize(
    "flags",
    [
        {**TLS, "http_endpoint": ":8080"},
        {**TLS, **ASK, "http_endpoint": ":8080"},
        {**ASK, "http_endpoint": "localhost:8080"},
        {**ASK, "http_endpoint": "[::1]:8080"},
        ASK,
    ],
)
def test_what_is_secured_is_taken(flags):
    """TLS alone, TLS with tokens, and tokens that never leave this machine are fine."""
    assert load_settings(flags)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"workers: 5\n#" + b"x" * MAX_FILE_BYTES, "longer than"),
        (b"[" * 50_000, "nested too deeply"),
        (b"workers: \xff\n", "no YAML"),
    ],
)
def test_a_file_that_is_no_settings_is_one_line(tmp_path, content, says):
    """Length and depth of the configuration are bounded, and what is wrong is said in a line."""
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings({}, file=str(path))
    assert len(caught.value.mistakes) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_file_without_an_end_is_not_read_for_ever():
    """The read itself is bounded, not only what is made of it."""
    with pytest.raises(SettingsError, match="longer than"):
        load_settings({}, file="/dev/zero")
