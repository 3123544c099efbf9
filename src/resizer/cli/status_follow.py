"""Follows claims as they change: the controller's own reflector, over just the claims that a command is about.

List, watch, relists and lost connections are the reflector's business; here a command waits for the next change.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from resizer.kube.decode import Decoder
from resizer.kube.projection import CLAIM
from resizer.kube.reflector import Reflector, Selection
from resizer.kube.resource import CLAIMS
from resizer.kube.store import Shelf
from resizer.kube.telemetry import NullKubeTelemetry
from resizer.kube.transport import Transport
from resizer.model.objects import Claim

GIVE_UP_AFTER_S: Final = 2.0


class Follower:
    """The claims as they are now, and a wait for their next change."""

    def __init__(self, shelf: Shelf[Claim]) -> None:
        self._shelf = shelf
        self._changed = asyncio.Event()
        shelf.subscribe(self._note)

    def claims(self) -> list[Claim]:
        """All claims followed, by namespace and name."""
        return sorted(self._shelf.values(), key=lambda claim: (claim.namespace, claim.name))

    def claim(self, key: str) -> Claim | None:
        """Return the claim of this key, None when it is not there (any more)."""
        return self._shelf.get(key)

    async def wait_change(self) -> None:
        """Wait until something has changed since the last call."""
        await self._changed.wait()
        self._changed.clear()

    def _note(self, old: Claim | None, new: Claim | None) -> None:
        del old, new
        self._changed.set()


@contextlib.asynccontextmanager
async def following(
    transport: Transport, *, namespace: str, selector: str = "", name: str = ""
) -> AsyncIterator[Follower]:
    """Follow claims of a namespace ("" for all) for the block. Raises ForbiddenError without the right to it."""
    telemetry = NullKubeTelemetry()
    shelf: Shelf[Claim] = Shelf(key_of=lambda claim: claim.key, uid_of=lambda claim: claim.uid)
    fields = f"metadata.name={name}" if name else ""
    reflector: Reflector[Claim] = Reflector(
        transport,
        Selection(CLAIMS, namespace=namespace, label_selector=selector, field_selector=fields),
        shelf=shelf,
        decoder=Decoder(CLAIMS.plural, CLAIM, telemetry=telemetry),
        telemetry=telemetry,
    )
    follower = Follower(shelf)
    task = asyncio.create_task(reflector.run(), name="follow-claims")
    try:
        await reflector.health.wait_synced()
        yield follower
    finally:
        task.cancel()
        # Bounded: whoever pressed Ctrl-C does not wait for a connection that is slow to go.
        await asyncio.wait({task}, timeout=GIVE_UP_AFTER_S)
