"""Carries a plan out: asks for one claim after the other, and waits for those under way, at most so many at once.

One loop, no task of its own for each claim: ask while there is room, see who has grown, wait for a change. After the
first failure nothing new is asked for (unless told to go on); what was asked for is still waited for. A request that
was under way when the run was cancelled may or may not have reached the server: `asking` names it.
"""

from collections import deque
from typing import Final, Protocol

from resizer.cli.grow_plan import Entry, present_size
from resizer.cli.status_follow import Follower
from resizer.cli.status_session import Session, describe
from resizer.explain.progress import find_phase, is_refused
from resizer.kube.projection import CLAIM, MalformedObjectError
from resizer.kube.request import MERGE_PATCH, Request
from resizer.kube.resource import CLAIMS
from resizer.model.errors import ApiError, ConflictError
from resizer.model.objects import Claim
from resizer.model.quantity import format_bytes

CONFLICTS: Final = 5


class Display(Protocol):
    """What is told of the run."""

    def asked(self, entry: Entry) -> None:
        """The claim asks for its new size now."""

    def moved(self, entry: Entry, phase: str) -> None:
        """The claim is in another phase."""

    def grown(self, entry: Entry) -> None:
        """The claim has its new size."""

    def failed(self, entry: Entry, why: str) -> None:
        """It did not come to it."""


class _ChangedError(Exception):
    """Somebody else changed the claim meanwhile, so that the plan no longer holds for it."""


class GrowRun:
    """One run. The lists say at any time, also after a cancellation, how far it came."""

    def __init__(
        self, session: Session, entries: tuple[Entry, ...], *, display: Display, is_persistent: bool, most: int
    ) -> None:
        self.asking = ""
        self.asked: list[str] = []
        self.grown: list[str] = []
        self.failed: dict[str, str] = {}
        self._session = session
        self._left = deque(entries)
        self._running: dict[str, tuple[Entry, int]] = {}
        self._phases: dict[str, str] = {}
        self._display = display
        self._is_persistent = is_persistent
        self._most = most

    @property
    def not_begun(self) -> list[str]:
        """Claims that nothing was asked for."""
        return [entry.claim.name for entry in self._left if entry.claim.name != self.asking]

    @property
    def under_way(self) -> list[str]:
        """Claims that were asked for and have not ended."""
        return [entry.claim.name for entry, _ in self._running.values()]

    async def ask_all(self) -> None:
        """Ask for every claim, and wait for none."""
        while self._left and self._may_go_on:
            await self._ask_next()
            self._running.clear()

    async def grow_all(self, follower: Follower) -> None:
        """Ask for every claim, and wait until each has grown or failed."""
        while self._running or (self._left and self._may_go_on):
            while self._left and len(self._running) < self._most and self._may_go_on:
                await self._ask_next()
            for key in list(self._running):
                self._look(key, follower.claim(key))
            if self._running and (len(self._running) >= self._most or not self._left or not self._may_go_on):
                await follower.wait_change()

    @property
    def _may_go_on(self) -> bool:
        return self._is_persistent or not self.failed

    async def _ask_next(self) -> None:
        entry = self._left[0]
        self.asking = entry.claim.name
        try:
            version = 0 if entry.is_asked else int((await self._ask(entry)).version)
        except (ApiError, _ChangedError, MalformedObjectError) as error:
            self._fail(entry, describe(error) if isinstance(error, ApiError) else str(error))
        else:
            self.asked.append(entry.claim.name)
            self._running[entry.claim.key] = entry, version
            self._display.asked(entry)
        self.asking = ""
        self._left.popleft()

    async def _ask(self, entry: Entry) -> Claim:
        """Write the request, with the version it was decided on. Raises ApiError, _ChangedError."""
        claim = entry.claim
        for _attempt in range(CONFLICTS):
            try:
                return await self._patch(claim, entry.to_text)
            except ConflictError:
                claim = await self._session.reader.claim(claim.namespace, claim.name)
            if claim.uid != entry.claim.uid:
                raise _ChangedError("it was deleted and made again meanwhile")
            if present_size(claim) > entry.to_bytes:
                raise _ChangedError(f"somebody asked for {format_bytes(present_size(claim))} meanwhile; left as it is")
        raise _ChangedError(f"it changed {CONFLICTS} times while it was written to; try again")

    async def _patch(self, claim: Claim, text: str) -> Claim:
        request = Request(
            verb="patch",
            resource=CLAIMS,
            namespace=claim.namespace,
            name=claim.name,
            body={
                "metadata": {"resourceVersion": claim.version},
                "spec": {"resources": {"requests": {"storage": text}}},
            },
            content_type=MERGE_PATCH,
        )
        return CLAIM.decode(await self._session.transport.request(request))

    def _look(self, key: str, claim: Claim | None) -> None:
        """See how far this claim is."""
        entry, version = self._running[key]
        if claim is None or claim.uid != entry.claim.uid:
            self._fail(entry, "it was deleted while it was waited for")
        elif claim.capacity_bytes >= entry.to_bytes:
            self.grown.append(entry.claim.name)
            self._display.grown(entry)
            del self._running[key]
        elif int(claim.version) < version:
            return  # the watch has not told of our own request yet
        elif claim.requested_bytes < entry.to_bytes:
            self._fail(entry, f"somebody made it ask for {claim.requested} instead")
        elif is_refused(claim):
            self._fail(entry, f"it was refused; see kubectl volume-resize explain {claim.name} -n {claim.namespace}")
        elif (phase := find_phase(claim, None)) != self._phases.get(key):
            self._phases[key] = phase
            self._display.moved(entry, phase)

    def _fail(self, entry: Entry, why: str) -> None:
        self._running.pop(entry.claim.key, None)
        self.failed[entry.claim.name] = why
        self._display.failed(entry, why)
