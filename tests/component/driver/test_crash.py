import asyncio
import json
import sys
from pathlib import Path

import pytest

from resizer.driver.cleanup import cleanup

from .conftest import case

PROGRAM = Path(__file__).with_name("crash_life.py")
LONG = pytest.mark.soak


@pytest.mark.parametrize(
    ("backend", "fs_type"), [case("image", "ext4"), case("loop", "xfs", LONG), case("loop", "", LONG)]
)
async def test_killed_at_every_step(place: Path, backend: str, fs_type: str) -> None:
    """Killed with SIGKILL at any step of a volume's life, the next driver goes on; no data, device or file is lost."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        str(place),
        backend,
        fs_type,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    finally:
        await cleanup(place / "state")
    result = json.loads(output.splitlines()[-1])
    assert not result["problems"], f"{result['problems']}\n{errors.decode()[-2000:]}"
    assert result["steps"] > 30
