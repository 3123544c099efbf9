"""A short socket path (unix(7) allows 107 bytes), and the scripted driver and the recorder on the path."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
for folder in (HERE.parents[1], HERE):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture
def endpoint() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="csi-") as folder:
        yield f"unix://{folder}/csi.sock"
