"""A rig in a short folder: a unix socket's path has at most 107 bytes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rz-") as path:
        yield Path(path)
