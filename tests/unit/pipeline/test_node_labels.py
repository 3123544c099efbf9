"""Agent mode: the label of the one node that uses a waiting claim, kept in step with its pods, and nobody nudged."""

import asyncio

import pytest
from msgspec.structs import replace

from resizer.core.node_label import node_label
from resizer.core.state import AwaitNode
from resizer.pipeline.stages.node_resize import LABELS_CHECKED_AFTER_S, NodeResize
from resizer.pipeline.stages.nudge import Nudger
from tests.unit.pipeline.conftest import CLAIM, DRIVER, POD

pytestmark = pytest.mark.looptime
BEGAN_S = 1_790_000_000.0
WAITING = AwaitNode(BEGAN_S, is_begun=False, late_after_s=300.0)
PENDING = replace(CLAIM, allocated="5Gi", state="NodeResizePending", version="7")


@pytest.fixture
def agents(server, silent):
    """An API server with these pods that keeps the patches of claims, and the stage in agent mode."""

    async def build(*pods):
        api, patches = server(pods=pods), []

        async def patch_claim_status(claim, body):
            patches.append(body)
            return claim

        def now():
            return BEGAN_S + asyncio.get_running_loop().time()

        api.patch_claim_status = patch_claim_status
        nudger = Nudger(api, now=now, on_refused=lambda _: None)
        node = NodeResize(api, api, nudger, driver=DRIVER, telemetry=silent(), now=now, agents=api)
        return api, node, patches

    return build


@pytest.mark.parametrize("before", [(), (replace(POD, phase="Pending"),), (replace(POD, uid="pod-0", phase="Failed"),)])
async def test_a_pod_that_runs_later_brings_its_nodes_label(agents, before):
    """None when the claim began to wait, or one that did not run yet: ten seconds after its start it has a label."""
    api, node, patches = await agents(*before)
    awaited = await node.run(PENDING, WAITING)
    assert (awaited.check_after_s, patches) == (LABELS_CHECKED_AFTER_S, [])
    api.pods[POD.key] = POD
    await node.run(PENDING, WAITING)
    (patch,) = patches
    assert patch["metadata"]["labels"] == {node_label("n1"): ""}
    assert not api.written, "an agent's pod is not nudged"
    node.close()


async def test_a_label_is_written_on_the_version_that_was_read(agents):
    """A claim that has moved on since refuses the patch: its label may be another's by now, or nobody's."""
    _, node, patches = await agents(POD)
    await node.run(PENDING, WAITING)
    assert patches[0]["metadata"]["resourceVersion"] == PENDING.version
    node.close()


async def test_a_pod_on_another_node_takes_the_label_along(agents):
    """In one patch the label of the node it left goes, and the new one comes."""
    _, node, patches = await agents(replace(POD, uid="pod-2", node="n2"))
    await node.run(replace(PENDING, node_labels=(node_label("n1"),)), WAITING)
    assert [patch["metadata"]["labels"] for patch in patches] == [{node_label("n1"): None, node_label("n2"): ""}]
    node.close()
