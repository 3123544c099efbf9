"""1,000 claims edited at once, each used by a running pod, nodes to act: what it costs the API server and us.

Five namespaces; bench.kubelet plays the kubelets. Counted is what the resizer asks, not what kubelets do.
"""

from __future__ import annotations

from bench import traffic
from bench.how import How
from bench.kubelet import Kubelets
from bench.objects import Seed
from bench.rig import running_rig
from bench.watcher import Watcher, edit_all

CLAIMS = 1000


async def measure(how: How) -> dict[str, float]:
    """Return the figures of one run."""
    seed = Seed(claims=CLAIMS, pods=CLAIMS, namespaces=5)
    async with running_rig(seed, node_expansion_required=True) as rig, rig.resizer(how.contender) as resizer:
        await resizer.wait_ready()
        kubelets = Kubelets(rig.client, wait_for_nudge=True)
        watcher = Watcher(rig.client)
        async with kubelets.running(), watcher.following():
            await rig.forget_requests()
            cpu_before, keys = resizer.program.cpu_s(), seed.claim_keys(range(CLAIMS))
            await edit_all(rig.client, keys, "2Gi")
            await watcher.wait(keys, "2Gi", check=resizer.program.check)
            records = await traffic.wait_quiet(rig)
            cpu_s = resizer.program.cpu_s() - cpu_before
    return {
        "patches_node": traffic.patches(records) / CLAIMS,
        "nudges_pod": traffic.nudges(records) / CLAIMS,
        "pod_lists_namespace": traffic.most_in_a_namespace(records, verb="list"),
        "pod_watches_namespace": traffic.most_in_a_namespace(records, verb="watch"),
        "events_node": traffic.events(records) / CLAIMS,
        "conflicts_node_percent": traffic.conflicts(records) / CLAIMS * 100,
        "cpu_node_ms": cpu_s / CLAIMS * 1e3,
    }
