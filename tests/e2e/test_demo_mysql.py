"""`resizer demo --workload mysql`: what is refused at once, and a filesystem that really gets full."""

import asyncio
import json
import os
import subprocess

import pytest

from resizer.demo.workload.engine import Fill
from resizer.demo.workload.load import Load
from resizer.demo.workload.sqlite import SQLite

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


def test_refusal_is_one_json_object_and_one_line(demo):
    """With --json a wrong flag is one object on standard output and one line beside it, exit code 2."""
    outcome = demo.run("--workload", "mysql", "--backend", "image", "--json")
    assert outcome.exit_code == 2
    assert json.loads(outcome.out)["ok"] is False
    assert len(outcome.err.splitlines()) == 1
    assert "--backend loop as root" in outcome.err
    assert demo.leaks() == []


@needs_root
@pytest.mark.root
async def test_full_filesystem_ends_the_filling_and_loses_nothing(tmp_path):
    """The insert that finds no room is refused in the database's words; every row before it is there."""
    place = tmp_path / "small"
    place.mkdir()
    await mount("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place))
    try:
        engine = SQLite()
        await engine.start(place)
        await engine.prepare()
        stop = tmp_path / "stop"
        command = engine.fill_command(stop, Fill(mib_per_s=0, max_mib=0))
        fill = await Load.start(command, name="fill", stop_file=stop, folder=tmp_path)
        async with asyncio.timeout(30):
            await fill.stopped.wait()
        check = await engine.check()
    finally:
        await mount("umount", str(place))
    assert "errno 28" in engine.disk_full_words(fill.log.refusal)
    assert fill.log.acknowledged_rows == check.rows > 64
    assert (check.wrong_rows, check.is_sound) == (0, True)


async def mount(*command):
    await asyncio.to_thread(subprocess.run, command, check=True)
