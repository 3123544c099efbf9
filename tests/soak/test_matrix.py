"""Real filesystems and devices, every way they can be grown: one cell for each, printed as grown or refused.

{xfs, ext4, btrfs, block} x {mounted, not mounted} x {CSI 1.x, csi.v0} x {kubelet-like part, node agent}, on loop
devices, through the whole pipeline. A size counts as grown when statvfs (a filesystem) or the device itself says so.
The one refusal that is right is a mounted ext4 where the kernel does not let this process grow it; then the claim
must say so.
"""

import os
import tempfile
from pathlib import Path

import pytest

from resizer.devcluster.client import PODS
from resizer.devcluster.kubelet_growth import KubeletTiming
from tests.component.node.rig import GIB, NAMESPACE, NEVER, running_rig

pytestmark = [
    pytest.mark.soak,
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.access("/dev/loop-control", os.R_OK | os.W_OK),
        reason="needs root and loop devices",
    ),
]
KINDS = ("xfs", "ext4", "btrfs", "block")
REFUSAL = "the kernel does not let this driver grow a mounted ext4"


async def grow(rig, kind, *, mounted):
    """Grow one claim from 1Gi to 2Gi; return what the cell says and whether that is right."""
    name = f"{kind}-{'mounted' if mounted else 'free'}"
    more = {"volumeMode": "Block"} if kind == "block" else {}
    await rig.make(name, pods=(name,), fs="xfs" if kind == "block" else kind, **more)
    before = rig.filesystem_bytes(name, name)
    if not mounted:
        await rig.client.delete(PODS, name, namespace=NAMESPACE)
        await rig.wait(lambda: rig.pod(name) is None)
    await rig.ask("2Gi", name)
    if not mounted:
        # An ext4 that nobody has mounted is grown by the driver's controller: then nothing is left for the node.
        await rig.wait(lambda: rig.state(name) == "NodeResizePending" or rig.is_grown("2Gi", name))
        await rig.start_pod(name, name)
    await rig.wait(lambda: rig.is_grown("2Gi", name) or REFUSAL in rig.node_error(name), timeout_s=30)
    after = rig.filesystem_bytes(name, name)
    if rig.is_grown("2Gi", name):
        text = f"grown    {before / GIB:.3f} -> {after / GIB:.3f} GiB"
        return text, after - before >= 0.9 * GIB and after <= 2 * GIB
    return f"refused  {rig.node_error(name)[-180:]}", kind == "ext4" and mounted and after == before


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mode", ["kubelet", "agent"])
@pytest.mark.parametrize("protocol", ["v1", "v0"])
async def test_every_kind_is_grown_or_refused_for_its_reason(capsys, protocol, mode):
    """Each cell ends grown to its real size, or refused in words; nothing is left mounted or attached."""
    wrong = []
    timing = KubeletTiming() if mode == "kubelet" else NEVER
    with tempfile.TemporaryDirectory(prefix="rz-") as path:
        async with running_rig(Path(path), backend="loop", protocol=protocol, timing=timing) as rig:
            async with rig.pipeline(node_mode=mode), rig.agent():
                for kind in KINDS:
                    for mounted in (True, False):
                        text, is_right = await grow(rig, kind, mounted=mounted)
                        cell = f"{kind:6} {'mounted' if mounted else 'not mounted':12} {protocol} {mode:8}"
                        with capsys.disabled():
                            print(f"\n{cell} {text}", end="")  # noqa: T201 -- the matrix is what this test shows
                        if not is_right:
                            wrong.append(cell)
            if mode == "kubelet":
                assert rig.logged("agent.looked_at") == []
            for name in (pod["metadata"]["name"] for pod in list(rig.cluster.mirrors.pods.objects.values())):
                await rig.client.delete(PODS, name, namespace=NAMESPACE)
                await rig.wait(lambda name=name: rig.pod(name) is None)
    assert wrong == []
