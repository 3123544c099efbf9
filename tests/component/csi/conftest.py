"""A short socket path: unix(7) allows 107 bytes."""

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture
def endpoint() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="csi-") as folder:
        yield f"unix://{folder}/csi.sock"
