"""From the cache's changes to the queues: which driver's queue, if any, a claim goes to, and when.

In: every change of a claim or a volume, the end of a pod or a VolumeAttachment that is watched, and a resync tick.
Out: keys in the queue of the driver that the claim's volume names. Of claim and volume either may come first: the
other brings the claim to its queue. Whether a back-off is jumped is decided in the core; the intake only makes sure
that somebody looks.
"""

from collections.abc import Callable

from resizer.core.triggers import find_trigger, wants_attention
from resizer.model.objects import Attachment, Claim, Pod, Volume
from resizer.pipeline.ports import Objects
from resizer.pipeline.queue import ClaimQueue

OnGone = Callable[[Claim], None]


class Intake:
    """Routes claims to the queues of the drivers served. Synchronous throughout."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._queues: dict[str, ClaimQueue] = {}
        self._on_gone: list[OnGone] = []

    def serve(self, driver: str, queue: ClaimQueue) -> None:
        """Send this driver's claims to `queue` from now on, beginning with those that need a look already."""
        self._queues[driver] = queue
        self.resync(driver)

    def withdraw(self, driver: str) -> None:
        """Serve this driver no longer (its lease or its connection is lost)."""
        self._queues.pop(driver, None)

    def on_gone(self, listener: OnGone) -> Callable[[], None]:
        """Call the listener with each claim that is deleted, or whose name another has taken; the answer ends that."""
        self._on_gone.append(listener)
        return lambda: self._on_gone.remove(listener)

    def claim_changed(self, old: Claim | None, new: Claim | None) -> None:
        """Take a change of a claim: `old` None when it is new, `new` None when it is gone."""
        if old is not None and (new is None or new.uid != old.uid):
            for listener in self._on_gone:
                listener(old)
        if new is None or not self._queues:  # nobody is served yet: `serve` looks at every claim
            return
        if find_trigger(old, new) != "ignore" or (old is None and self._has_leftovers(new)):
            self._enqueue(new)

    def volume_changed(self, old: Volume | None, new: Volume | None) -> None:
        """Take a change of a volume: the claim it is bound to may have waited for it, or it needs clearing up."""
        if new is None or not new.claim_name or not self._queues:
            return
        claim = self._objects.claim(new.claim_key)
        if claim is None or claim.volume_name != new.name:
            return
        is_news = old is None or old.uid != new.uid or old.driver != new.driver or old.claim_uid != new.claim_uid
        if new.pre_resize_capacity is not None or (is_news and wants_attention(claim)):
            self._enqueue(claim)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Take a change of a pod: the claims that it uses no longer may have waited for that."""
        if old is None or not old.uses_volumes:
            return
        if new is not None and new.uid == old.uid and new.uses_volumes:
            return
        for mount in old.mounts:
            self._look_for_growth(f"{old.namespace}/{mount.claim_name}")

    def attachment_changed(self, old: Attachment | None, new: Attachment | None) -> None:
        """Take a change of a VolumeAttachment: the claim of a volume that is detached may have waited for that."""
        if old is None or (new is not None and new.volume_name == old.volume_name):
            return
        volume = self._objects.volume(old.volume_name)
        if volume is not None and volume.claim_key:
            self._look_for_growth(volume.claim_key)

    def _look_for_growth(self, key: str) -> None:
        claim = self._objects.claim(key)
        if claim is not None and claim.requested_bytes > claim.capacity_bytes:
            self._enqueue(claim)

    def resync(self, driver: str | None = None) -> None:
        """Look again at every claim that asks for more or bears traces; of one driver, or of all."""
        for claim in self._objects.claims():
            if wants_attention(claim) or self._has_leftovers(claim):
                self._enqueue(claim, only=driver)

    def _has_leftovers(self, claim: Claim) -> bool:
        volume = self._objects.volume(claim.volume_name) if claim.volume_name else None
        return volume is not None and volume.pre_resize_capacity is not None

    def _enqueue(self, claim: Claim, *, only: str | None = None) -> None:
        volume = self._objects.volume(claim.volume_name) if claim.volume_name else None
        if volume is None or (only is not None and volume.driver != only):
            return
        queue = self._queues.get(volume.driver)
        if queue is not None:
            queue.add(claim.key)
