"""Several `resizer run --leader-election` processes on one cluster, each with drivers and credentials of its own."""

import contextlib
import json
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from resizer.kube.lease import LeaseTiming
from tests.control_plane import REPLICAS
from tests.e2e.rig import HTTP, WITHIN_S, Rig, running_rig
from tests.e2e.witness import Witness, WitnessedDriver
from tests.scripted_driver import Answer, Plan

PLAN = Plan(node_expansion_required=False)
SHORT = LeaseTiming(3.0, 1.5, 0.3)
"""A lease that tests can wait for; long from deadline to expiry, as a busy machine may stop a process that long."""
DEFAULT = LeaseTiming()


class Replicas:
    """Two contenders, `replica-0` and `replica-1`; each may run or not."""

    def __init__(self, rig: Rig, witness: Witness, timing: LeaseTiming, plans: Sequence[Plan]) -> None:
        self.rig = rig
        self.witness = witness
        self.timing = timing
        self.plans = plans
        self.drivers: dict[tuple[str, str], WitnessedDriver] = {}
        self.processes: dict[str, Process] = {}

    def sockets(self, name: str) -> list[Path]:
        """Where this replica reaches its drivers."""
        return [self.rig.folder / f"{name}-{number}.sock" for number in range(len(self.plans))]

    def kubeconfig(self, name: str) -> Path:
        """This replica's kubeconfig."""
        return self.rig.folder / f"{name}.kubeconfig"

    async def start(self, name: str, *arguments: str) -> Process:
        """Start this replica, and wait until it is ready."""
        process = await self.launch(name, *arguments)
        await self.rig.wait_http(process, "/readyz", 200)
        return process

    async def launch(self, name: str, *arguments: str) -> Process:
        """Start this replica."""
        timing = self.timing
        process = await self.rig.start_resizer(
            HTTP,
            "--leader-election",
            f"--leader-election-lease-duration={timing.duration_s:g}s",
            f"--leader-election-renew-deadline={timing.renew_deadline_s:g}s",
            f"--leader-election-retry-period={timing.retry_s:g}s",
            *arguments,
            kubeconfig=self.kubeconfig(name),
            sockets=self.sockets(name),
            RESIZER_IDENTITY=name,
        )
        self.processes[name] = process
        return process

    async def wait_led_by(self, name: str, plan: Plan = PLAN, *, timeout_s: float = WITHIN_S) -> None:
        """Wait until this replica holds the lease and works."""
        await self.rig.wait_log(self.processes[name], "group.started", driver=plan.name, timeout_s=timeout_s)
        assert self.witness.holder(plan.name) == name

    async def wait_following(self, name: str, leader: str) -> None:
        """Wait until this replica knows who leads: from here on it is a warm follower."""

        async def known() -> list[str]:
            _, text = await self.rig.http(self.processes[name], "/debug/state")
            return [lease["holder"] for lease in json.loads(text)["kubernetes"]["leases"]]

        while await known() != [leader] * len(self.plans):
            assert self.processes[name].returncode is None, self.rig.logs()[-3000:]

    async def start_both(self) -> tuple[str, str]:
        """Start both at once; return their names, the one that leads first. For one driver."""
        (plan,) = self.plans
        for name in REPLICAS:
            await self.launch(name)
        await self.rig.until(lambda: bool(self.witness.holder(plan.name)), "somebody leads")
        leader = self.witness.holder(plan.name)
        follower = next(name for name in REPLICAS if name != leader)
        await self.wait_led_by(leader, plan)
        await self.rig.wait_http(self.processes[follower], "/readyz", 200)
        await self.wait_following(follower, leader)
        return leader, follower


@contextlib.asynccontextmanager
async def running_replicas(
    folder: Path,
    *,
    timing: LeaseTiming = SHORT,
    plans: Sequence[Plan] = (PLAN,),
    choose: Callable[[str], Answer] | None = None,
) -> AsyncIterator[Replicas]:
    """Run a cluster with each replica's drivers. At the end the invariants of the witness are checked."""
    async with running_rig(folder, plans[0]) as rig, contextlib.AsyncExitStack() as stack:
        replicas = Replicas(rig, Witness(rig.server, timing=timing), timing, plans)
        for name in REPLICAS:
            rig.plane.write_kubeconfig(replicas.kubeconfig(name), user=name)
            for plan, path in zip(plans, replicas.sockets(name), strict=True):
                driver = replicas.drivers[name, plan.name] = replicas.witness.driver(name, plan, choose=choose)
                await stack.enter_async_context(driver.serve(f"unix://{path}"))
        yield replicas
        problems = replicas.witness.problems()
        assert not problems, "\n".join(problems)
