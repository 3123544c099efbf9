"""Says that a volume is not modified: a claim asks for another VolumeAttributesClass, and its driver could do that.

Resizer grows volumes and does not modify them. Whoever edits `volumeAttributesClassName` would wait in silence, so
there is one event for each class that is asked for, and one warning in the log when work for such a driver begins.
Like `in_tree`, this listens to the cache, writes nothing but events, and is silent while another replica works.
"""

from typing import Final

import structlog

from resizer.model.driver import DriverFacts
from resizer.model.objects import Claim, Volume
from resizer.pipeline.ports import EventSink, Objects

REASON: Final = "VolumeModifyUnsupported"
_MOST_REMEMBERED: Final = 4096

log = structlog.get_logger()


class ModificationNotice:
    """Synchronous throughout."""

    def __init__(self, objects: Objects, events: EventSink) -> None:
        self._objects = objects
        self._events = events
        self._modifying: set[str] = set()
        self._said: dict[str, str] = {}

    def driver_served(self, facts: DriverFacts) -> None:
        """Work for this driver begins: warn if it modifies volumes, and look at all its claims."""
        if not facts.modify_volume:
            return
        log.warning(
            "driver.modification_not_done",
            driver=facts.name,
            consequence="volumes are grown, and never modified when volumeAttributesClassName changes",
            next_step="run external-resizer with VolumeAttributesClass for this driver if you need that",
        )
        self._modifying.add(facts.name)
        for claim in self._objects.claims():
            self._look(claim)

    def driver_left(self, facts: DriverFacts) -> None:
        """Work for this driver has ended."""
        self._modifying.discard(facts.name)

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
        if new is not None and new.driver in self._modifying:
            claim = self._objects.claim(new.claim_key)
            if claim is not None:
                self._look(claim)

    def _look(self, claim: Claim) -> None:
        asked = claim.attributes_class
        if not self._modifying or not asked or asked == claim.current_attributes_class:
            return
        volume = self._objects.volume(claim.volume_name)
        if volume is None or volume.driver not in self._modifying or volume.claim_uid != claim.uid:
            return
        if self._said.get(claim.uid) == asked:
            return
        if len(self._said) >= _MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
        self._said[claim.uid] = asked
        current = claim.current_attributes_class or "none"
        self._events.emit(
            claim,
            type_="Warning",
            reason=REASON,
            message=(
                f"the volume keeps its VolumeAttributesClass ({current}): Resizer grows volumes and does not modify "
                f"them. Set volumeAttributesClassName back, or run external-resizer for {volume.driver} to get {asked}"
            ),
            driver=volume.driver,
        )
