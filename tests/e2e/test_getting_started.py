"""docs/getting-started.md, run as a newcomer would: every `sh` block behind the set-up, in one shell."""

import asyncio
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "getting-started.md"


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH")
@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="no mkfs.ext4 on PATH")
async def test_the_newcomers_path_works_as_it_stands_on_the_page(tmp_path):
    """Copied line by line into a shell, the page ends in a grown claim, and leaves nothing behind."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "make setup" in blocks[0]
    script = "set -em\n" + "\n".join(blocks[1:]).replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(100):
            out = (await shell.communicate())[0].decode()
    finally:
        if shell.returncode is None:
            shell.kill()
    assert shell.returncode == 0, out
    for part in ("condition met", "400Gi", "FileSystemResizeSuccessful", "resizer_resizes_total", "claim.grown"):
        assert part in out, out
    assert list(tmp_path.iterdir()) == []
