"""`resizer node` as a process, with the rights of its manifest and no others."""

import asyncio
import os
import shutil
import signal
import sys

import pytest

from tests.component.node.rig import GIB, running_rig

MAIN = "import sys; from resizer.cli.main import main; sys.exit(main())"


async def start(*arguments, **environment):
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MAIN,
        "node",
        *arguments,
        stdout=pipe,
        stderr=pipe,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )


@pytest.mark.skipif(
    shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin") is None, reason="mkfs.ext4 (e2fsprogs) is not here"
)
async def test_the_manifests_rights_are_enough(folder):
    """The program grows a claim with exactly the rights that the example gives, and ends with 0 on SIGTERM."""
    async with running_rig(folder) as rig:
        await rig.make()
        kubeconfig = await rig.rights_of_the_manifest()
        program = await start(
            f"--kubelet-dir={rig.kubelet_dir()}",
            f"--csi-address={rig.socket}",
            f"--kubeconfig={kubeconfig}",
            "--log-format=json",
            RESIZER_NODE_NAME="node-1",
        )
        try:
            async with rig.pipeline():
                await rig.ask("2Gi")
                await rig.wait(rig.is_grown, timeout_s=20)
            assert rig.filesystem_bytes() == 2 * GIB
            program.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                _, err = await program.communicate()
        finally:
            if program.returncode is None:
                program.kill()
    log = err.decode()
    assert program.returncode == 0, log
    assert "right.missing" not in log
    assert '"event":"agent.looked_at"' in log


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--node-name is empty"),
        (("--node-name=n", "--kubelet-dir=/nope"), "kubelet-dir /nope is no folder"),
        (("--node-name=n", "--kubelet-dir=/tmp", "--timeout=5"), "'5' is not a duration"),
        (("--node-name=n", "--kubelet-dir=/tmp", "--timeout=0"), "--timeout must be above 0"),
        (("--node-name=n", "--kubelet-dir=/tmp", "--csi-address=tcp://x:1"), "only unix sockets are spoken"),
        (("--node-name=n", "--kubelet-dir=/tmp", "--kubeconfig=/nope"), "/nope"),
    ],
)
async def test_what_cannot_work_is_one_line_and_exit_code_2(arguments, words):
    """Each names the flag, the cause and the next step, before anything is started."""
    program = await start(*arguments)
    async with asyncio.timeout(30):
        out, err = await program.communicate()
    assert program.returncode == 2, err.decode()
    assert out == b""
    assert words in err.decode()
    assert len(err.decode().splitlines()) == 1
