"""Leader election: who may act for a driver, and the loop that keeps it true.

`run(work)` follows until the lease can be had, then runs `work` beside the renewals. Losing the lease cancels `work`
at the fence and follows again; `work` that ends by itself releases the lease and ends `run`; so does cancellation.
`is_held` is checked in the same step that starts a driver call: it is true only until the fence, which is one renew
deadline after the moment *before* the last successful renewal was sent, three seconds before anyone else may take
over at our defaults. A timer of its own cancels `work` there, whatever the renewals are doing.

A follower watches the lease, so a release is taken over in milliseconds; where it may not watch, it polls. Every
call is shorter than the renew deadline, and none passes the limiter. Only get, create, update and watch are used:
the peer's Role has no patch.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from resizer.kube.decode import decode_event
from resizer.kube.lease import Document, LeaseRecord, LeaseTiming, LeaseView, LeaseWriting, decode_lease
from resizer.kube.projection import MalformedObjectError
from resizer.kube.request import Request
from resizer.kube.resource import LEASES
from resizer.kube.stream import Oversized, WatchStream
from resizer.kube.telemetry import KubeTelemetry
from resizer.kube.transport import Transport
from resizer.model.errors import AlreadyExistsError, ApiError, ConflictError, ForbiddenError, NotFoundError

_NEVER: Final = float("-inf")
_WATCH_S: Final = 300
_LONGEST_WAIT_S: Final = 30.0
_RELEASE_S: Final = 2.0
_RELEASE_AGAIN_S: Final = 0.1

log = structlog.get_logger("resizer.kube.elector")
Work = Callable[[], Awaitable[None]]


class AlwaysHeld:
    """The guard when election is off: there is one process, and it may always act."""

    def is_held(self) -> bool:
        """Return True."""
        return True


class Elector:
    """One contender for one lease: the pipeline's `LeaseGuard` port. Made on the running event loop."""

    def __init__(
        self,
        transport: Transport,
        *,
        name: str,
        namespace: str,
        identity: str,
        telemetry: KubeTelemetry,
        timing: LeaseTiming | None = None,
        labels: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.identity = identity
        self.last_error = ""
        self.running = False
        self._timing = timing or LeaseTiming()
        self._write = LeaseWriting(name, namespace, identity, self._timing, dict(labels or {}))
        self._transport = transport
        self._namespace = namespace
        self._telemetry = telemetry
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._view = LeaseView(self._timing)
        self._fence_at = _NEVER
        self._fence: asyncio.TimerHandle | None = None
        self._acquired: set[str] = set()
        self._may_watch = True
        self._attempt_at = self._loop.time()

    def is_held(self) -> bool:
        """Whether the lease is ours, by our own monotonic clock, right now."""
        return self._loop.time() < self._fence_at

    def attempt_age_s(self) -> float:
        """Seconds since the loop last tried or heard something (liveness)."""
        return self._loop.time() - self._attempt_at

    async def run(self, work: Work, *, is_ending: Callable[[], bool] = lambda: False) -> None:
        """Lead whenever possible until `work` ends by itself, or until cancelled. Once `is_ending`, follow no more.

        What `work` raises comes out as an ExceptionGroup, after the lease was released.
        """
        self._telemetry.leader_changed(name=self.name, is_leader=False)
        self.running = True
        try:
            while not await self._follow_and_lead(work):
                log.warning("lease.lost", lease=self.name, identity=self.identity, error=self.last_error)
                if is_ending():
                    return
        finally:
            self.running = False

    async def _follow_and_lead(self, work: Work) -> bool:
        """Follow, then lead once. True when `work` has ended by itself."""
        await self._acquire()
        log.info("lease.acquired", lease=self.name, identity=self.identity)
        self._telemetry.leader_changed(name=self.name, is_leader=True)
        try:
            finished = await self._lead(work)
        finally:
            held = self.is_held()
            self._stop_holding()
            self._telemetry.leader_changed(name=self.name, is_leader=False)
            if held:
                await self._release()
        return finished

    def statistics(self) -> dict[str, str | float | bool]:
        """Return figures for /debug/state."""
        record = self._view.record
        return {
            "lease": self.name,
            "identity": self.identity,
            "held": self.is_held(),
            "holder": record.holder if record is not None else "",
            "fence_in_s": round(max(self._fence_at - self._loop.time(), 0), 1),
            "last_error": self.last_error,
        }

    # Following

    async def _acquire(self) -> None:
        """Return once the lease is ours."""
        known = False
        while True:
            self._attempt_at = self._loop.time()
            try:
                if not known:
                    self._view.observe(await self._read(), self._loop.time())
                record = self._view.record
                if self._view.free_in_s(self._loop.time()) == 0 or (record is not None and self._is_ours(record)):
                    await self._take()
                    return
                known = await self._wait_change()
            except (AlreadyExistsError, ConflictError):
                known = False
            except ApiError as error:
                known = False
                self._note(error)
                await asyncio.sleep(self._timing.retry_s)

    async def _take(self) -> None:
        try:
            await self._write_as_ours()
        except asyncio.CancelledError:
            # The answer may be on its way: do not leave a lease behind that nobody serves.
            await self._release()
            raise

    async def _write_as_ours(self) -> None:
        old, at = self._view.record, self._now()
        if old is not None and self._is_ours(old):
            # We took it before, and the answer was lost.
            await self._put(self._write.renew(old, at), created=False)
            return
        document = self._write.acquire(old, at)
        self._acquired = {document["spec"]["acquireTime"]}
        await self._put(document, created=old is None)

    async def _wait_change(self) -> bool:
        """Wait until the lease may have come free. True when what we know of it is current."""
        if not self._may_watch:
            await asyncio.sleep(min(self._timing.retry_s, self._view.free_in_s(self._loop.time())))
            return False
        started = self._loop.time()
        try:
            stream = await self._transport.watch(self._watch_request())
        except ForbiddenError:
            self._may_watch = False
            return False
        try:
            current = await self._follow(stream)
        finally:
            stream.close()
        if not current and self._loop.time() - started < self._timing.retry_s:
            await asyncio.sleep(self._timing.retry_s)
        return current

    async def _follow(self, stream: WatchStream) -> bool:
        while True:
            wait_s = self._view.free_in_s(self._loop.time())
            if wait_s == 0:
                return True
            try:
                lines = await stream.read(timeout_s=min(wait_s, _LONGEST_WAIT_S))
            except TimeoutError:
                # Either its time is up, by what we know; or the watch is silent: what we know may be old.
                return self._view.free_in_s(self._loop.time()) == 0
            if lines is None:
                return False
            self._attempt_at = self._loop.time()
            for line in lines:
                if not self._take_line(line):
                    return False

    def _take_line(self, line: bytes | Oversized) -> bool:
        """Take in one event; False when the watch can tell no more."""
        try:
            event = decode_event(line if isinstance(line, bytes) else line.head)
            if event.type in {"ADDED", "MODIFIED"}:
                self._view.observe(decode_lease(event.object), self._loop.time())
            elif event.type == "DELETED":
                self._view.observe(None, self._loop.time())
        except (MalformedObjectError, ValueError):
            return False
        return event.type != "ERROR"

    # Leading

    async def _lead(self, work: Work) -> bool:
        """Run `work` until it ends (True) or the lease is lost (False)."""
        finished = False

        async def run_work() -> None:
            nonlocal finished
            await work()
            finished = True

        async with asyncio.TaskGroup() as group:
            working = group.create_task(run_work())
            renewing = group.create_task(self._renew_until_lost(working))
            working.add_done_callback(lambda _: renewing.cancel())
        return finished

    async def _renew_until_lost(self, working: "asyncio.Task[None]") -> None:
        """Renew every retry period; cancel `working` when the lease is lost, at the fence at the latest."""
        self._arm_fence(working)
        try:
            while self.is_held():
                await asyncio.sleep(min(self._timing.retry_s, max(self._fence_at - self._loop.time(), 0)))
                if not self.is_held() or not await self._renew():
                    break
                self._arm_fence(working)
            self._stop_holding()
            working.cancel()
        finally:
            if self._fence is not None:
                self._fence.cancel()

    def _arm_fence(self, working: "asyncio.Task[None]") -> None:
        if self._fence is not None:
            self._fence.cancel()
        self._fence = self._loop.call_at(self._fence_at, working.cancel)

    async def _renew(self) -> bool:
        """Try once to renew. False when the lease is somebody else's; True if ours or not known."""
        self._attempt_at = self._loop.time()
        try:
            held = self._view.record
            if held is None:
                return False
            await self._put(self._write.renew(held, self._now()), created=False)
        except (ConflictError, NotFoundError) as error:
            self._note(error)
            return await self._verify()
        except ApiError as error:
            self._note(error)
        return True

    async def _verify(self) -> bool:
        """Somebody wrote the lease: whether it is still ours (an answer of ours was lost, a label was edited)."""
        try:
            record = await self._read()
        except ApiError as error:
            self._note(error)
            return True
        if record is None:
            # Deleted under us: what has to run out is our own, and ends now.
            self._view = LeaseView(self._timing)
            self.last_error = "the lease was deleted"
            return False
        self._view.observe(record, self._loop.time())
        if not self._is_ours(record):
            self.last_error = f"the lease was taken by {record.holder!r}"
        return self._is_ours(record)

    async def _release(self) -> None:
        """Give the lease up, so that a follower takes over at once. A failure costs them the lease's duration."""
        try:
            async with asyncio.timeout(_RELEASE_S):
                while True:
                    if await self._try_release():
                        return
                    await asyncio.sleep(_RELEASE_AGAIN_S)
        except TimeoutError:
            log.warning("lease.not_released", lease=self.name, error=self.last_error or "no answer in time")

    async def _try_release(self) -> bool:
        """Try once. True when the lease is ours no longer."""
        try:
            record = await self._read()
            if record is not None and self._is_ours(record):
                await self._call("update", self._write.release(record, self._now()))
                log.info("lease.released", lease=self.name)
        except ApiError as error:
            self.last_error = str(error)
            return False
        return True

    def _is_ours(self, record: LeaseRecord) -> bool:
        return record.holder == self.identity and record.acquired in self._acquired

    def _stop_holding(self) -> None:
        self._fence_at = _NEVER

    # Calls

    async def _put(self, document: Document, *, created: bool) -> None:
        """Write the lease as ours; on success it is held from the moment before."""
        started = self._loop.time()
        record = await self._call("create" if created else "update", document)
        self._view.observe(record, self._loop.time())
        self._acquired.add(record.acquired)
        self._fence_at = started + self._timing.renew_deadline_s
        self.last_error = ""

    async def _read(self) -> LeaseRecord | None:
        try:
            return await self._call("get", None)
        except NotFoundError:
            return None

    async def _call(self, verb: str, document: Document | None) -> LeaseRecord:
        request = Request(
            verb=verb,
            resource=LEASES,
            namespace=self._namespace,
            name="" if verb == "create" else self.name,
            body=document,
            share=None,
            timeout_s=self._call_deadline_s(),
        )
        try:
            return decode_lease(await self._transport.request(request))
        except ValueError as error:
            raise request.unavailable(f"the lease cannot be read: {error}") from error

    def _call_deadline_s(self) -> float:
        """Half the renew deadline, so that there is time for a second try; never past the fence."""
        half_s = self._timing.renew_deadline_s / 2
        left_s = self._fence_at - self._loop.time()
        return min(half_s, left_s) if left_s > 0 else half_s

    def _watch_request(self) -> Request:
        params = {
            "watch": "1",
            "fieldSelector": f"metadata.name={self.name}",
            "timeoutSeconds": str(_WATCH_S),
            "resourceVersion": self._view.record.version if self._view.record is not None else "",
        }
        return Request(
            verb="watch",
            resource=LEASES,
            namespace=self._namespace,
            params=params,
            share=None,
            timeout_s=self._timing.renew_deadline_s / 2,
        )

    def _note(self, error: ApiError) -> None:
        if str(error) != self.last_error:
            self.last_error = str(error)
            log.warning("lease.call_failed", lease=self.name, error=str(error), held=self.is_held())
