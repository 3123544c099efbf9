"""The status page in real browsers: chromium without a window, and w3m, which knows no script and hardly any style."""

import asyncio
import shutil
from pathlib import Path

import pytest

from resizer.obs.http import serve_http
from tests.component.obs.obs_sample import endpoint

HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> \x1b[31mred\x07\n{{7*7}}"
)
STATE = {
    "drivers": [{"address": "/csi/csi.sock", "driver": "ebs.csi.aws.com", "phase": "asking", "reason": HOSTILE}],
    "claims": [
        {
            "claim": "db/data-0",
            "driver": "ebs.csi.aws.com",
            "phase": "controller-resize",
            "since": 1795473730.85,
            "class": "quota",
            "failures": 5,
            "outcome": "retry",
            "next_try": None,
        }
    ],
    "kubernetes": {"server": "https://10.0.0.1:443", "missing_rights": []},
}
SECONDS = 30.0


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed (package {program})")


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(SECONDS):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


def chromium(profile: Path, *arguments: str) -> tuple[str, ...]:
    return (
        "chromium",
        "--headless",
        "--no-sandbox",  # root may not use it, and the page is our own
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
        *arguments,
    )


@needs("chromium")
async def test_chromium_shows_the_page_and_runs_nothing_of_it(tmp_path):
    """What a driver said is text on the page: no element of it appears, no script runs, and the rest stays readable."""
    async with serve_http("127.0.0.1:0", endpoint(state=lambda: STATE)) as port:
        dom = await run(*chromium(tmp_path / "profile", "--dump-dom", f"http://127.0.0.1:{port}/"))
        picture = tmp_path / "page.png"
        await run(
            *chromium(
                tmp_path / "profile", f"--screenshot={picture}", "--window-size=1000,600", f"http://127.0.0.1:{port}/"
            )
        )
    assert "<title>Resizer</title>" in dom
    assert "&lt;script&gt;document.title='owned'&lt;/script&gt;" in dom
    assert "<script" not in dom
    assert "<img" not in dom
    assert "\x1b" not in dom
    for text in ("db/data-0", "ebs.csi.aws.com", "quota", "asking", "2026-11-23 22:42:10 UTC"):
        assert f"<td>{text}</td>" in dom
    assert picture.read_bytes().startswith(b"\x89PNG")


@needs("w3m")
async def test_a_text_browser_shows_the_same():
    """Headings, and a row for each claim with what it waits for, in a terminal of 120 columns."""
    async with serve_http("127.0.0.1:0", endpoint(state=lambda: STATE)) as port:
        text = await run("w3m", "-dump", "-cols", "120", f"http://127.0.0.1:{port}/")
    lines = text.splitlines()
    assert any(
        {"Claim", "Driver", "Phase", "Class", "Failures"} <= set(line.replace("│", " ").split()) for line in lines
    )
    assert any("db/data-0" in line and "quota" in line and "22:42:10" in line for line in lines)
    assert "<script>document.title='owned'</script>" in " ".join(text.replace("│", " ").split())
    assert not any(ord(char) < 32 and char != "\n" for char in text)
