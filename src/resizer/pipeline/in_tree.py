"""Says why in-tree volumes that no CSI driver takes over (rbd, glusterfs) are not grown: one event for each wish.

No driver's queue ever sees such a claim, so this listens to the cache itself. It writes nothing but events, and only
while this process works for some driver, so that replicas that wait for a lease stay silent.
"""

from collections.abc import Callable
from typing import Final

from resizer.model.objects import Claim, Volume
from resizer.pipeline.ports import EventSink, Objects

_MOST_REMEMBERED: Final = 4096


class InTreeRefuser:
    """Synchronous throughout. `is_active` tells whether this process works for some driver."""

    def __init__(self, objects: Objects, events: EventSink, *, is_active: Callable[[], bool]) -> None:
        self._objects = objects
        self._events = events
        self._is_active = is_active
        self._said: dict[str, int] = {}

    def claim_changed(self, old: Claim | None, new: Claim | None) -> None:
        """Take a change of a claim."""
        if new is None:
            if old is not None:
                self._said.pop(old.uid, None)
            return
        self._look(new)

    def volume_changed(self, old: Volume | None, new: Volume | None) -> None:
        """Take a change of a volume: its claim may have been there before it."""
        del old
        if new is not None and new.untranslatable and not new.driver:
            claim = self._objects.claim(new.claim_key)
            if claim is not None:
                self._look(claim)

    def look_at_all(self) -> None:
        """Look at every claim: work has begun just now."""
        for claim in self._objects.claims():
            self._look(claim)

    def _look(self, claim: Claim) -> None:
        if not self._is_active():
            return
        volume = self._objects.volume(claim.volume_name)
        if volume is None or not volume.untranslatable or volume.driver or volume.claim_uid != claim.uid:
            return
        if claim.requested_bytes <= claim.capacity_bytes:
            return
        if self._said.get(claim.uid) == claim.requested_bytes:
            return
        if len(self._said) >= _MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
        self._said[claim.uid] = claim.requested_bytes
        self._events.emit(
            claim,
            type_="Warning",
            reason="VolumeResizeFailed",
            message=volume.untranslatable,
            driver=volume.in_tree_source,
        )
