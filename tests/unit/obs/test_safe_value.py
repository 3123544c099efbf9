from pathlib import Path

import pytest

from resizer.obs.safe_value import is_secret_key, safe_fields, safe_value
from resizer.rpc.pb import csi_v1_pb2 as pb


@pytest.mark.parametrize(
    "key", ["secret", "secrets", "token", "password", "Authorization", "bearer_token", "X-Auth-Token", "db_password"]
)
def test_secrets_by_name_are_never_shown(key):
    """Whatever stands under such a name, at any depth, is left out."""
    assert is_secret_key(key)
    shown = str(safe_value({"a": [{key: "hunter2"}], key: {"x": "hunter2"}}))
    assert "hunter2" not in shown


@pytest.mark.parametrize("key", ["secret_name", "claim", "tokens_used", "key", "expand_secret_namespace"])
def test_names_of_secrets_may_be_shown(key):
    """The name of a Secret object is no secret."""
    assert safe_value({key: "orain-test"}) == {key: "orain-test"}


def test_only_plain_values_are_written_out():
    """Bytes and foreign objects, which may hold anything, are named by size or type only."""
    request = pb.ControllerExpandVolumeRequest(secrets={"k": "hunter2"})
    shown = safe_value({"raw": b"hunter2", "request": request, "path": Path("/a"), "n": 1.5, "none": None})
    assert shown["raw"] == "[7 bytes]"
    assert "hunter2" not in str(shown)
    assert "ControllerExpandVolumeRequest" in shown["request"]
    assert (shown["path"], shown["n"], shown["none"]) == ("/a", 1.5, None)


def test_size_and_depth_are_bounded():
    """Long text, long lists and nesting without end (even a list in itself) come out bounded."""
    endless: list[object] = []
    endless.append(endless)
    assert len(str(safe_value({"a": "x" * 10_000_000, "b": list(range(100_000)), "c": endless}))) < 20_000


def test_errors_are_one_safe_line():
    """An exception is its type and text, escaped."""
    assert safe_value(ValueError("a\nb\x1b")) == "ValueError: a\\nb\\x1b"


@pytest.mark.parametrize(
    "value",
    ["plain", "", "two\nlines", "\u202e", "x" * 5000, 7, True, 1.5, None, b"raw", ["a\n"], {"token": "hunter2"}],
)
@pytest.mark.parametrize("key", ["claim", "db_password", "two\nlines", "k" * 300])
def test_the_fields_of_a_line_are_what_they_would_be_in_a_nested_value(key, value):
    """What is let pass at a look needed no more."""
    assert safe_fields({key: value}) == safe_value({key: value})
