"""VolumeAttachments, watched only while an offline-required claim waits: the pipeline's `AttachmentSource`.

They have no selector by volume, so all of a cluster's are listed; four fields of each are kept.
"""

from collections.abc import Callable

from resizer.kube.decode import Decoder
from resizer.kube.holding import LINGER_S, HeldWatches
from resizer.kube.projection import ATTACHMENT
from resizer.kube.reflector import Reflector, Selection, Timing
from resizer.kube.resource import ATTACHMENTS
from resizer.kube.store import Listener, Shelf
from resizer.kube.telemetry import KubeTelemetry
from resizer.kube.transport import Transport
from resizer.model.objects import Attachment


class _AttachmentWatch:
    """All attachments, by name and by volume."""

    def __init__(
        self, transport: Transport, *, decoder: Decoder[Attachment], telemetry: KubeTelemetry, timing: Timing
    ) -> None:
        self.shelf: Shelf[Attachment] = Shelf(key_of=lambda a: a.name, uid_of=lambda _: "")
        self.reflector = Reflector(
            transport,
            Selection(ATTACHMENTS),
            shelf=self.shelf,
            decoder=decoder,
            telemetry=telemetry,
            timing=timing,
        )
        self._by_volume: dict[str, set[str]] = {}
        self.shelf.subscribe(self._index)

    def of_volume(self, name: str) -> list[Attachment]:
        found = (self.shelf.get(attachment) for attachment in sorted(self._by_volume.get(name, ())))
        return [attachment for attachment in found if attachment is not None]

    async def run(self) -> None:
        await self.reflector.run()

    def _index(self, old: Attachment | None, new: Attachment | None) -> None:
        if old is not None:
            names = self._by_volume.get(old.volume_name, set())
            names.discard(old.name)
            if not names:
                self._by_volume.pop(old.volume_name, None)
        if new is not None:
            self._by_volume.setdefault(new.volume_name, set()).add(new.name)


class KubeAttachments:
    """The pipeline's `AttachmentSource` port. `run` must be running for the list to arrive."""

    def __init__(
        self,
        transport: Transport,
        *,
        telemetry: KubeTelemetry,
        timing: Timing | None = None,
        linger_s: float = LINGER_S,
    ) -> None:
        self._decoder: Decoder[Attachment] = Decoder(ATTACHMENTS.plural, ATTACHMENT, telemetry=telemetry)
        self._transport = transport
        self._telemetry = telemetry
        self._timing = timing or Timing()
        self._listeners: list[Listener[Attachment]] = []
        self._watches: HeldWatches[_AttachmentWatch] = HeldWatches(self._make, linger_s=linger_s)

    def hold(self) -> None:
        """Start (or join) the watch."""
        self._watches.hold("")

    def release(self) -> None:
        """Give one `hold` back."""
        self._watches.release("")

    async def wait_synced(self) -> None:
        """Wait until the first list has been processed; at once when nobody holds the watch. Raises ForbiddenError."""
        watch = self._watches.get("")
        if watch is not None:
            await watch.reflector.health.wait_synced()

    def attachments_of(self, volume_name: str) -> list[Attachment] | None:
        """Attachments of this volume; None while the first list has not been processed."""
        watch = self._watches.get("")
        if watch is None or not watch.reflector.health.synced:
            return None
        return watch.of_volume(volume_name)

    def subscribe(self, listener: Listener[Attachment]) -> Callable[[], None]:
        """Call `listener(old, new)` on every change while held; the answer ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def reflectors(self) -> list[Reflector[Attachment]]:
        """The watch, while it runs."""
        return [watch.reflector for watch in self._watches.values()]

    async def run(self) -> None:
        """Run the watch while it is held, until cancelled."""
        await self._watches.run()

    def objects(self) -> int:
        """Attachments in the cache."""
        return sum(len(watch.shelf) for watch in self._watches.values())

    def _make(self, _key: str) -> _AttachmentWatch:
        made = _AttachmentWatch(self._transport, decoder=self._decoder, telemetry=self._telemetry, timing=self._timing)
        made.shelf.subscribe(self._tell)
        return made

    def _tell(self, old: Attachment | None, new: Attachment | None) -> None:
        for listener in tuple(self._listeners):
            listener(old, new)
