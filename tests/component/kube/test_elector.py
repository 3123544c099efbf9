import asyncio
import contextlib
import random

import pytest

from resizer.devcluster.apiserver.faults import Fault
from resizer.devcluster.client import LEASES
from resizer.kube.elector import Elector
from resizer.kube.lease import LeaseTiming
from tests.component.kube.rig import Telemetry, fake_time, grant, opened, person, plain_server, running, until

NAME = "external-resizer-d-csi"
PEERS_ROLE = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "watch", "list", "delete", "update", "create"],
    }
]


class Worker:
    """What a driver's work group would be: runs until told to end, and records when it could act."""

    def __init__(self, elector, log):
        self.elector = elector
        self.log = log
        self.end = asyncio.Event()
        self.leading = False
        self.cancelled_at = None

    async def work(self):
        assert self.elector.is_held()
        self.leading = True
        self.log.append(("start", self.elector.identity, asyncio.get_running_loop().time()))
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled_at = asyncio.get_running_loop().time()
            raise
        finally:
            self.leading = False

    def run(self):
        return self.elector.run(self.work)


async def contender(stack, server, folder, identity, log, **options):
    opening = opened(server, folder, name=f"kc-{identity}", identity=identity, **options)
    client = await stack.enter_async_context(opening)
    return Worker(client.elector("d.csi", namespace="default", timing=LeaseTiming()), log)


async def lease(server):
    async with person(server) as someone:
        return await someone.get(LEASES, NAME, namespace="default")


def now():
    return asyncio.get_running_loop().time()


@pytest.fixture
async def stack():
    async with contextlib.AsyncExitStack() as stack:
        yield stack


async def test_a_released_lease_is_taken_over_in_milliseconds(stack, tmp_path):
    """The leader's work ends by itself: it releases, and the follower that watches leads at once."""
    log = []
    server = await stack.enter_async_context(plain_server())
    first = await contender(stack, server, tmp_path, "one", log)
    second = await contender(stack, server, tmp_path, "two", log)
    running_first = asyncio.create_task(first.run())
    await until(lambda: first.leading)
    async with running(second.run()):
        await until(lambda: server.statistics()["watches"] == 1)
        ended = now()
        first.end.set()
        await running_first
        await until(lambda: second.leading)
        assert now() - ended < 0.5
        assert not first.elector.is_held()
        assert (await lease(server))["spec"]["holderIdentity"] == "two"
    assert (await lease(server))["spec"]["holderIdentity"] == "", "cancelled cleanly: released"
    assert (await lease(server))["spec"]["leaseTransitions"] == 1


async def test_the_peers_role_is_enough_and_no_patch_is_used(stack, tmp_path):
    """get, create, update and watch: exactly what the peer's Role grants."""
    server = await stack.enter_async_context(plain_server())
    grant(server, "resizer", PEERS_ROLE, namespace="default")
    token = server.add_token("resizer")
    worker = await contender(stack, server, tmp_path, "one", [], token=token)
    async with running(worker.run()):
        await until(lambda: worker.leading)
    used = {record.verb for record in server.audit.select(resource="leases")}
    assert used <= {"get", "create", "update", "watch"}
    assert (await lease(server))["spec"]["holderIdentity"] == ""


@fake_time
async def test_a_leader_that_dies_is_followed_within_lease_and_a_second(tmp_path):
    """Nothing is released, the record stands still: the follower waits its duration from when it last changed."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(plain_server())
        first = await contender(stack, server, tmp_path, "one", [])
        token = server.add_token("other", ["system:masters"])
        second = await contender(stack, server, tmp_path, "two", [], token=token)
        task = asyncio.create_task(first.run())
        await until(lambda: first.leading, timeout_s=30)
        async with running(second.run()):
            await asyncio.sleep(20)
            assert not second.leading
            # As kill -9 leaves it: no release reaches the server.
            server.faults.add(Fault(kind="reset", resource="leases", user="resizer-dev-admin"))
            died = now()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until(lambda: second.leading, timeout_s=60)
            assert 6 <= now() - died <= 9.1


@pytest.mark.parametrize("kind", ["hold-before", "hold-after", "reset", "unavailable", "throttle"])
def test_a_leader_that_cannot_renew_fences_itself_before_its_lease_ends(kind, tmp_path):
    """Calls hang or fail: work is cancelled at the renew deadline, before anyone else may lead; never two leaders."""

    @fake_time
    async def scenario(folder):
        async with contextlib.AsyncExitStack() as stack:
            log, server = [], await stack.enter_async_context(plain_server())
            telemetry = Telemetry()
            first = await contender(stack, server, folder, "one", log, telemetry=telemetry)
            token = server.add_token("other", ["system:masters"])
            second = await contender(stack, server, folder, "two", log, token=token)
            async with running(first.run()):
                await until(lambda: first.leading, timeout_s=30)
                async with running(second.run()):
                    await asyncio.sleep(10)
                    failed = now()
                    server.faults.add(Fault(kind=kind, resource="leases", user="resizer-dev-admin", delay_s=0))
                    await until(lambda: first.cancelled_at is not None, timeout_s=60)
                    assert not first.elector.is_held()
                    assert first.cancelled_at - failed <= 5.1
                    assert not second.leading
                    await until(lambda: second.leading, timeout_s=60)
                    assert second.elector.is_held()
                    assert not first.elector.is_held()
                    # hold-after applies one last renewal whose answer is never seen.
                    assert now() - failed <= 8 + 2 * (kind == "hold-after") + 1.1
                    server.faults.clear()
                    await asyncio.sleep(30)
                    assert second.leading
                    assert not first.leading, "it follows again and leaves the new leader alone"
            assert telemetry.leaders[-1] == (NAME, False)

    scenario(tmp_path)


@fake_time
async def test_leader_and_follower_look_alive_with_and_without_the_server(tmp_path):
    """Each of the two goes on trying, whatever the server does; one that stopped would be reported."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(plain_server())
        clients = [
            await stack.enter_async_context(opened(server, tmp_path, name=f"kc-{name}", identity=name))
            for name in ("one", "two")
        ]
        workers = [Worker(client.elector("d.csi", namespace="default"), []) for client in clients]
        async with running(*(worker.run() for worker in workers)):
            for minute in range(10):
                if minute == 5:
                    server.faults.add(Fault(kind="reset", resource="leases"))
                await asyncio.sleep(60)
                assert [client.liveness_problems() for client in clients] == [[], []]
            workers[0].elector._attempt_at -= 100
            assert len(clients[0].election_problems()) == 1


@fake_time
async def test_short_trouble_costs_no_leadership(tmp_path):
    """One lost answer, one 503, one reset: renewals go on, work is never cancelled."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(plain_server())
        worker = await contender(stack, server, tmp_path, "one", [])
        async with running(worker.run()):
            await until(lambda: worker.leading, timeout_s=30)
            for kind in ("reset-after", "unavailable", "reset", "cut", "lease-clock"):
                server.faults.add(Fault(kind=kind, verb="update", resource="leases", count=1, delay_s=3600))
                await asyncio.sleep(20)
                assert worker.leading, kind
            assert len(worker.log) == 1


@fake_time
async def test_a_lost_answer_to_the_acquisition_costs_no_lease_duration(tmp_path):
    """Created, and the answer lost: the next look finds our own record and leads."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(plain_server())
        server.faults.add(Fault(kind="reset-after", verb="create", resource="leases", count=1))
        worker = await contender(stack, server, tmp_path, "one", [])
        started = now()
        async with running(worker.run()):
            await until(lambda: worker.leading, timeout_s=30)
            assert now() - started < 3


@fake_time
async def test_two_processes_of_one_name_never_both_lead(tmp_path):
    """The same identity twice (one host): the second waits for the first's lease like anybody else."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(plain_server())
        first = await contender(stack, server, tmp_path, "twin", [])
        second = await contender(stack, server, tmp_path, "twin", [])
        async with running(first.run(), second.run()):
            for _ in range(120):
                await asyncio.sleep(0.5)
                assert not (first.elector.is_held() and second.elector.is_held())
            assert first.leading != second.leading


@fake_time
async def test_without_the_right_to_watch_it_polls(tmp_path):
    """A Role without watch: a release is found at the retry period."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(plain_server())
        rules = [{**PEERS_ROLE[0], "verbs": ["get", "create", "update"]}]
        grant(server, "resizer", rules, namespace="default")
        first = await contender(stack, server, tmp_path, "one", [])
        second = await contender(stack, server, tmp_path, "two", [], token=server.add_token("resizer"))
        task = asyncio.create_task(first.run())
        await until(lambda: first.leading, timeout_s=30)
        async with running(second.run()):
            await asyncio.sleep(30)
            ended = now()
            first.end.set()
            await task
            await until(lambda: second.leading, timeout_s=30)
            assert now() - ended < 1.5
            assert server.audit.count(verb="watch", resource="leases") <= 2


@fake_time
async def test_a_deleted_lease_is_made_again_by_whoever_is_first(tmp_path):
    """Somebody deletes the lease under the leader: it stops or goes on, but two never lead."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(plain_server())
        first = await contender(stack, server, tmp_path, "one", [])
        second = await contender(stack, server, tmp_path, "two", [])
        async with running(first.run(), second.run()):
            await until(lambda: first.leading or second.leading, timeout_s=30)
            async with person(server) as someone:
                await someone.delete(LEASES, NAME, namespace="default")
            for _ in range(60):
                await asyncio.sleep(0.25)
                assert not (first.elector.is_held() and second.elector.is_held())
            assert first.leading != second.leading


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))])
def test_whatever_happens_two_never_lead(seed, tmp_path):
    """Three contenders, random faults, sudden ends and restarts for ten minutes: never two, and in the end one."""

    @fake_time
    async def scenario(folder):
        draw = random.Random(seed)
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(plain_server())
            workers, tasks = [], []
            for number in range(3):
                token = server.add_token(f"user-{number}", ["system:masters"])
                workers.append(await contender(stack, server, folder, f"c{number}", [], token=token))
                tasks.append(asyncio.create_task(workers[number].run()))
            kinds = ["hold-before", "hold-after", "reset", "reset-after", "cut", "unavailable", "throttle", "silent"]
            for step in range(6000):
                await asyncio.sleep(0.1)
                assert sum(worker.elector.is_held() for worker in workers) <= 1
                assert sum(worker.leading for worker in workers) <= 1
                if step % 50 == 0:
                    for fault in list(server.faults):
                        if draw.random() < 0.6:
                            server.faults.remove(fault.id)
                    if draw.random() < 0.7:
                        user, kind = f"user-{draw.randrange(3)}", draw.choice(kinds)
                        server.faults.add(Fault(kind=kind, resource="leases", user=user, probability=0.7, delay_s=1))
                if draw.random() < 0.005:
                    number = draw.randrange(3)
                    tasks[number].cancel()
                    await asyncio.gather(tasks[number], return_exceptions=True)
                    tasks[number] = asyncio.create_task(workers[number].run())
            server.faults.clear()
            await asyncio.sleep(20)
            assert sum(worker.leading for worker in workers) == 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    scenario(tmp_path)


@fake_time
async def test_lease_traffic_does_not_wait_behind_other_requests(tmp_path):
    """Every place of the limiter is taken by calls that hang: renewals go on."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(plain_server())
        client = await stack.enter_async_context(opened(server, tmp_path, identity="one"))
        worker = Worker(client.elector("d.csi", namespace="default"), [])
        async with running(worker.run()):
            await until(lambda: worker.leading, timeout_s=30)
            server.faults.add(Fault(kind="hold-before", verb="get", resource="persistentvolumeclaims"))
            reads = [asyncio.create_task(client.writer.read_claim(f"default/c{n}")) for n in range(100)]
            await asyncio.sleep(20)
            assert client.limiter.statistics()["in_flight"] >= 20
            assert worker.leading
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)


class StuckTransport:
    """Answers the first calls and then never again, whatever deadline it is given: what no server can make happen."""

    def __init__(self, transport):
        self.transport = transport
        self.stuck = False

    async def request(self, request):
        while self.stuck:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
                self.stuck = False
        return await self.transport.request(request)


@fake_time
async def test_the_fence_holds_even_when_a_renewal_ignores_its_deadline(tmp_path):
    """The fence has a timer of its own: work is cancelled on time though the renewals hang in a call for ever."""
    async with plain_server() as server, opened(server, tmp_path) as client:
        transport = StuckTransport(client.transport)
        elector = Elector(
            transport, name=NAME, namespace="default", identity="one", telemetry=Telemetry(), timing=LeaseTiming()
        )
        worker = Worker(elector, [])
        task = asyncio.create_task(worker.run())
        await until(lambda: worker.leading, timeout_s=30)
        await asyncio.sleep(10)
        transport.stuck, stuck_at = True, now()
        await until(lambda: worker.cancelled_at is not None, timeout_s=60)
        assert worker.cancelled_at - stuck_at <= 5.1
        assert not elector.is_held()
        transport.stuck = False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_the_work_raises_comes_out_after_the_release(stack, tmp_path):
    """A bug in the work is not swallowed, and costs the followers nothing."""
    server = await stack.enter_async_context(plain_server())
    worker = await contender(stack, server, tmp_path, "one", [])

    async def work():
        raise RuntimeError("bug")

    with pytest.raises(ExceptionGroup) as caught:
        await worker.elector.run(work)
    assert isinstance(caught.value.exceptions[0], RuntimeError)
    assert (await lease(server))["spec"]["holderIdentity"] == ""
