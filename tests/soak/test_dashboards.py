"""Every query of every dashboard, asked of a real Prometheus that scrapes the real program under load.

With RESIZER_PICTURES set to a folder the panels are drawn there (docs/img was made so).
"""

import asyncio
import contextlib
import json
import math
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from tools.dashboards.picture import Answer, draw
from tools.dashboards.rendering import FOLDER

from tests.e2e.rig import HTTP, Rig, running_rig
from tests.scripted_driver import Answer as Reply
from tests.scripted_driver import Plan
from tests.soak.cluster_metrics import cluster_metrics
from tests.soak.monitoring import NEEDS_PROMETHEUS, Prometheus, running_prometheus
from tests.soak.storm import Node, gib, stored

EXPAND = "ControllerExpandVolume"
LOAD_S = 45.0
CLAIMS = [f"data-{number}" for number in range(24)]
SHOWN = "orders"
FAILING = {
    "full": Reply(code="INTERNAL", message="VolumeLimitExceeded: quota of the region"),
    "too-often": Reply(code="INTERNAL", message="VolumeModificationRateExceeded: once more tomorrow"),
    "too-big": Reply(code="OUT_OF_RANGE", message="at most 4Gi"),
    "in-use": Reply(code="FAILED_PRECONDITION", message="volume is attached"),
    "broken": Reply(code="INTERNAL", message="backend said no"),
}
VARIABLES = {
    **dict.fromkeys(("$job", "$instance", "$driver"), ".+"),
    "$namespace": "default",
    "$claim": SHOWN,
    "$__rate_interval": "5s",
    "$__range": f"{LOAD_S:.0f}s",
}

pytestmark = [pytest.mark.soak, NEEDS_PROMETHEUS]


def plan() -> Plan:
    """An EBS-like driver: mostly well, at times busy, some volumes never; the claim that is shown fails for a while."""
    refused, busy = Reply(code="INTERNAL", message="backend said no"), Reply(code="ABORTED", message="busy")
    course = (Reply(), *[refused] * 5, Reply(), refused)
    return Plan(
        name="ebs.csi.aws.com",
        answers={
            EXPAND: (*[Reply(delay_s=0.02 * n) for n in range(6)], busy) * 200,
            f"{EXPAND}/pv-{SHOWN}": course,
            **{f"{EXPAND}/pv-{name}": (reply,) for name, reply in FAILING.items()},
        },
    )


async def put_under_load(rig: Rig) -> None:
    """Edit claims all the time; the one that is shown grows, is stuck for a while, grows again, and is stuck."""
    roll, began, at = random.Random(6), time.monotonic(), iter((3.0, 9.0, 30.0))
    next_s = next(at)
    while (now_s := time.monotonic() - began) < LOAD_S:
        name = roll.choice(CLAIMS)
        if now_s > next_s:
            name, next_s = SHOWN, next(at, math.inf)
        await rig.edit(name, f"{gib(stored(rig, name)['spec']['resources']['requests']['storage']) + 2}Gi")
        await asyncio.sleep(roll.uniform(0.05, 0.3))


async def ask(prometheus: Prometheus, panel: dict[str, Any], since_s: float) -> list[Answer]:
    """Every query of a panel, as Grafana would ask it with everything chosen."""
    answers = []
    for target in panel["targets"]:
        expr = target["expr"]
        for variable, value in VARIABLES.items():
            expr = expr.replace(variable, value)
        is_range = panel["type"] in {"timeseries", "heatmap"}
        series = await (prometheus.query_range(expr, since_s=since_s) if is_range else ask_now(prometheus, expr))
        answers.append(Answer(target["legendFormat"], series))
    return answers


async def ask_now(prometheus: Prometheus, expr: str) -> list[dict[str, Any]]:
    """An instant query, asked again for a while: on a busy machine the last scrape may have run out of its second."""
    with contextlib.suppress(AssertionError):
        return await prometheus.wait(expr, timeout_s=10.0)
    return []


def has_data(answer: Answer) -> bool:
    """Whether there is at least one number in it."""
    values = [v for s in answer.series for _, v in (s["values"] if "values" in s else [s["value"]])]
    return any(math.isfinite(float(value)) for value in values)


async def test_every_panel_has_data(tmp_path_factory, capsys):
    """No panel is empty under load; a query that returns nothing is a query nobody has tried."""
    folder = tmp_path_factory.mktemp("dash")
    pictures = Path(os.environ.get("RESIZER_PICTURES") or tmp_path_factory.mktemp("pictures"))
    names = [*CLAIMS, SHOWN, *FAILING]
    async with running_rig(folder, plan()) as rig, cluster_metrics(rig) as cluster, asyncio.TaskGroup() as group:
        node = Node(rig, {"db-0": [*CLAIMS, SHOWN]}, 6)
        await node.place()
        process = await rig.start_resizer(HTTP, "--leader-election", "--leader-election-namespace=default")
        port = (await rig.wait_log(process, "http.serving"))["port"]
        for name in names:
            await rig.place(name)
        async with running_prometheus(folder, targets={"resizer": port, "cluster": cluster}) as prometheus:
            await prometheus.wait("resizer_build_info and on () kube_persistentvolumeclaim_info")
            began_s = time.time()
            kubelet = group.create_task(node.run(sync_every_s=2.0))
            for name in FAILING:
                await rig.edit(name)
            await put_under_load(rig)
            kubelet.cancel()
            asked, empty, pages = 0, [], []
            for path in sorted(FOLDER.glob("*.json")):
                dashboard = json.loads(path.read_text())
                panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
                answers = {panel["id"]: await ask(prometheus, panel, began_s) for panel in panels}
                asked += sum(map(len, answers.values()))
                empty += [
                    (path.name, p["title"], a.legend) for p in panels for a in answers[p["id"]] if not has_data(a)
                ]
                pages.append((dashboard, answers, pictures / f"{path.stem}.png"))
    assert empty == []
    assert all(draw(*page) > 10_000 for page in pages)
    with capsys.disabled():
        print(f"\nqueries with data: {asked} of {asked}; growths meanwhile: {node.grown}")  # noqa: T201  # the figures
