"""The demo itself: claims are made, written to, grown to each size asked for, and measured.

Called by the command line with the parts it needs; returns what it found out. Everything that cannot go on ends in
a DemoError with one line.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from resizer.demo import metrics, objects
from resizer.demo.display import Display, size_text
from resizer.demo.measure import Sizes, find_fault, measure_image, measure_mount
from resizer.demo.options import Options
from resizer.demo.parts import DemoError, Parts
from resizer.demo.pod import Pods, WriterReport
from resizer.demo.result import Growth, Result
from resizer.demo.stage import Stage, set_stage
from resizer.demo.state import clean_remains
from resizer.demo.timeline import Timeline
from resizer.devcluster.client import CLAIMS, PODS, SECRETS, STORAGE_CLASSES, ForbiddenError, InvalidError
from resizer.model.objects import NUDGED_AT
from resizer.model.quantity import format_bytes, parse_bytes

DRIVER_NAME: Final = "csi-qcfsplugin"
_EXTRA_S_PER_CLAIM: Final = 2.0
_WRITE_UNDISTURBED_S: Final = 0.5
"""How long the writers go on before, between and after growths: a growth takes less."""
_SUGGESTED_GROWTH_BYTES: Final = 100 * 1024**3
_IN_USE: Final = "FailedPrecondition"


async def run_demo(options: Options, *, parts: Parts, display: Display) -> Result:
    """Run the whole demo and return what it found. Raises DemoError; leaves nothing behind in any case."""
    remains = await clean_remains(parts.release)
    for line in remains:
        display.note(line)
    make_pods = Pods.factory(claims=options.claims)
    async with set_stage(options, parts=parts, display=display, make_pods=make_pods) as stage:
        return await _perform(options, stage=stage, parts=parts, display=display, remains=remains)


async def _perform(
    options: Options, *, stage: Stage[Pods], parts: Parts, display: Display, remains: list[str]
) -> Result:
    """Run the show beside the watch of events and the sampling of metrics. Raises DemoError, as it is."""
    failure: DemoError | None = None
    result = Result(ok=False)
    async with asyncio.TaskGroup() as group:
        show = Show(options, stage=stage, parts=parts, display=display)
        sampler = metrics.Sampler(stage.http_port)
        background = [group.create_task(stage.observer.run()), group.create_task(sampler.run())]
        try:
            result = await show.run(sampler, remains=remains)
            display.result(result)
            if options.keep:
                await _keep(stage, options=options, display=display)
        except DemoError as error:
            failure = error
        for task in background:
            task.cancel()
    if failure is not None:
        raise failure
    return result


async def _keep(stage: Stage[Pods], *, options: Options, display: Display) -> None:
    """Wait for Ctrl-C, having said how to look around."""
    claim = objects.claim_names(options.claims)[0]
    larger = format_bytes(max(options.growths_bytes) + _SUGGESTED_GROWTH_BYTES)
    patch = f'{{"spec":{{"resources":{{"requests":{{"storage":"{larger}"}}}}}}}}'
    display.note(
        f"everything keeps running until Ctrl-C. Try, in another terminal:\n"
        f"  export KUBECONFIG={stage.kubeconfig}\n"
        f"  kubectl get pvc -w\n"
        f"  kubectl describe pvc {claim}\n"
        f"  kubectl patch pvc {claim} -p '{patch}'\n"
        f"  curl http://127.0.0.1:{stage.http_port}/metrics\n"
        f"log: {stage.log}"
    )
    await asyncio.get_running_loop().create_future()


class Show:
    """One run on a stage that is set."""

    def __init__(self, options: Options, *, stage: Stage[Pods], parts: Parts, display: Display) -> None:
        self._options = options
        self._stage = stage
        self._parts = parts
        self._display = display
        self._claims = objects.claim_names(options.claims)
        self._is_mounted = stage.choice.backend == "loop"
        self._restarts: dict[str, int] = {}
        self._timeout_s = options.timeout_s + options.claims * _EXTRA_S_PER_CLAIM

    async def run(self, sampler: metrics.Sampler, *, remains: list[str]) -> Result:
        """Make the claims, grow them to each size, stop the writers and put everything together."""
        await self._make_claims()
        sizes = {claim: await self._measure(claim) for claim in self._claims}
        granted = dict.fromkeys(self._claims, self._options.size_bytes)
        growths: list[Growth] = []
        for target_bytes in self._options.growths_bytes:
            await self._let_write()
            done = await self._grow_all(target_bytes, before=sizes, granted_before=granted)
            growths += done
            for growth in done:
                sizes[growth.claim] = Sizes(growth.device_bytes, growth.filesystem_after_bytes)
                granted[growth.claim] = growth.granted_bytes
        await self._let_write()
        if not self._options.keep:
            await self._stage.pods.stop_all()
        writer = self._writer()
        lines = await self._metric_lines()
        return Result(
            ok=not any(growth.fault for growth in growths) and (writer is None or not writer.errors),
            backend=self._stage.choice.backend,
            filesystem=self._stage.choice.filesystem,
            reason=self._stage.choice.reason,
            measured_by="statvfs" if self._is_mounted else "superblock",
            claims=len(self._claims),
            size_bytes=self._options.size_bytes,
            growths=growths,
            writer=writer,
            inflight_most=sampler.most,
            metrics=lines,
            remains=remains,
        )

    async def _let_write(self) -> None:
        if self._is_mounted:
            await asyncio.sleep(_WRITE_UNDISTURBED_S)

    # ---- claims and pods ----

    async def _make_claims(self) -> None:
        client, choice = self._stage.cluster.client, self._stage.choice
        await client.create(SECRETS, objects.secret())
        await client.create(STORAGE_CLASSES, objects.storage_class(driver=DRIVER_NAME, filesystem=choice.filesystem))
        async with asyncio.TaskGroup() as group:
            for claim in self._claims:
                group.create_task(client.create(CLAIMS, objects.claim(claim, size_bytes=self._options.size_bytes)))
                group.create_task(client.create(PODS, objects.pod(claim)))
        await self._wait(self._are_running, what=f"the {len(self._claims)} pods did not run")
        asked = format_bytes(self._options.size_bytes)
        is_single = len(self._claims) == 1
        what = f"claim {objects.CLAIM}" if is_single else f"{len(self._claims)} claims"
        verb, it = ("is", "it") if is_single else ("are", "each")
        doing = f"a pod writes to {it}" if self._is_mounted else f"a pod uses {it} (offline: nothing is mounted)"
        self._display.note(f"{what} of {asked}, class {objects.CLASS}, {verb} bound, and {doing}")

    def _are_running(self) -> bool:
        pods = self._stage.cluster.mirrors.pods
        keys = (f"{objects.NAMESPACE}/{objects.pod_name(claim)}" for claim in self._claims)
        found = [pods.get(key) for key in keys]
        return all(
            pod is not None
            and pod.get("status", {}).get("phase") == "Running"
            and "deletionTimestamp" not in pod["metadata"]
            for pod in found
        )

    async def _wait(self, condition: Callable[[], bool], *, what: str) -> None:
        await self._stage.observer.wait_until(condition, what=what, timeout_s=self._timeout_s)

    # ---- growth ----

    async def _grow_all(
        self, target_bytes: int, *, before: dict[str, Sizes], granted_before: dict[str, int]
    ) -> list[Growth]:
        target = format_bytes(target_bytes)
        timelines = [self._timeline(claim, target_bytes) for claim in self._claims]
        is_single = len(timelines) == 1
        what = objects.CLAIM if is_single else f"{len(timelines)} claims at once"
        self._restarts = {}
        self._display.begin(f"{what}: asking for {target}", timelines[0] if is_single else None)
        try:
            await self._ask_all(timelines, target_bytes)
            await self._finish_all(timelines, target)
        finally:
            self._display.end()
        growths = [
            await self._judge(timeline, before=before[timeline.claim], granted_before=granted_before[timeline.claim])
            for timeline in timelines
        ]
        if not is_single:
            good = sum(not growth.fault for growth in growths)
            last_s = max(growth.seconds for growth in growths)
            self._display.note(f"{good} of {len(growths)} grown to {target} after {last_s:.2f} s")
        return growths

    def _timeline(self, claim: str, target_bytes: int) -> Timeline:
        mirrors = self._stage.cluster.mirrors
        pod = mirrors.pods.get(f"{objects.NAMESPACE}/{objects.pod_name(claim)}") or {"metadata": {}}
        found = mirrors.claims.get(f"{objects.NAMESPACE}/{claim}")
        assert found is not None
        return Timeline(
            claim=claim,
            volume=found["spec"]["volumeName"],
            target_bytes=target_bytes,
            asked_at=time.monotonic(),
            nudged_before=(pod["metadata"].get("annotations") or {}).get(NUDGED_AT, ""),
        )

    async def _ask_all(self, timelines: list[Timeline], target_bytes: int) -> None:
        """Edit all claims at once; a refusal is shown in the API server's own words."""
        patch = objects.request(target_bytes)
        for timeline in timelines:
            self._stage.observer.follow(timeline)
        calls = [
            self._stage.cluster.client.patch(CLAIMS, timeline.claim, patch, namespace=objects.NAMESPACE)
            for timeline in timelines
        ]
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, InvalidError | ForbiddenError):
                words = " ".join(answer.message.split())
                raise DemoError(f"the API server refuses {format_bytes(target_bytes)}: {words}") from answer
            if isinstance(answer, BaseException):
                raise answer
            self._stage.observer.see_answer(answer)

    async def _finish_all(self, timelines: list[Timeline], target: str) -> None:
        """Wait until all are done; restart the pod of one that can only be grown unmounted."""
        what = f"not all claims were grown to {target}"
        while not all(timeline.is_done for timeline in timelines):
            await self._wait(
                lambda: all(one.is_done for one in timelines) or any(self._is_refused(one) for one in timelines),
                what=what,
            )
            for timeline in timelines:
                if self._is_refused(timeline):
                    await self._restart_pod(timeline.claim)

    def _is_refused(self, timeline: Timeline) -> bool:
        refused = not timeline.is_done and _IN_USE in timeline.node_error
        return refused and timeline.claim not in self._restarts

    async def _restart_pod(self, claim: str) -> None:
        """Let the volume go and take it again: it is grown before it is mounted."""
        self._restarts[claim] = 1
        self._display.note(
            "  the kernel does not let this process grow a mounted ext4 (CAP_SYS_RESOURCE is missing): "
            "the pod is restarted, and the filesystem grown in between"
        )
        client, name = self._stage.cluster.client, objects.pod_name(claim)
        key = f"{objects.NAMESPACE}/{name}"
        await client.delete(PODS, name, namespace=objects.NAMESPACE)
        await self._wait(lambda: self._stage.cluster.mirrors.pods.get(key) is None, what=f"pod {key} did not end")
        await client.create(PODS, objects.pod(claim))

    # ---- figures ----

    async def _measure(self, claim: str) -> Sizes:
        path = self._stage.pods.paths[claim]
        try:
            if self._is_mounted:
                return await asyncio.to_thread(measure_mount, path)
            return await asyncio.to_thread(measure_image, path, self._parts.superblock_bytes)
        except (OSError, ValueError) as error:
            raise DemoError(f"the filesystem of claim {claim} cannot be measured: {error}") from error

    async def _judge(self, timeline: Timeline, *, before: Sizes, granted_before: int) -> Growth:
        if self._restarts.get(timeline.claim):
            await self._wait(self._are_running, what="the restarted pod did not run")
        found = self._stage.cluster.mirrors.claims.get(f"{objects.NAMESPACE}/{timeline.claim}")
        assert found is not None
        granted = parse_bytes(found["status"]["capacity"]["storage"])
        after = await self._measure(timeline.claim)
        fault = find_fault(
            before=before, after=after, granted_before=granted_before, granted=granted, is_mounted=self._is_mounted
        )
        if not fault and granted < timeline.target_bytes:
            fault = f"asked for {size_text(timeline.target_bytes)}, granted {size_text(granted)}"
        return Growth(
            claim=timeline.claim,
            asked_bytes=timeline.target_bytes,
            granted_bytes=granted,
            device_bytes=after.device_bytes,
            filesystem_before_bytes=before.filesystem_bytes,
            filesystem_after_bytes=after.filesystem_bytes,
            seconds=max(timeline.times_s.values()),
            stages_s={stage: round(at, 6) for stage, at in timeline.times_s.items()},
            pod_restarts=self._restarts.get(timeline.claim, 0),
            fault=fault,
        )

    def _writer(self) -> WriterReport | None:
        """All writers together."""
        total: WriterReport | None = None
        for claim in self._claims:
            report = self._stage.pods.report(claim)
            if report is not None:
                total = report if total is None else total.joined(report)
        return total

    async def _metric_lines(self) -> list[str]:
        with contextlib.suppress(OSError, TimeoutError):
            return metrics.shown_lines(await metrics.fetch(self._stage.http_port))
        return []
