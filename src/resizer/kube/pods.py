"""Pods of the namespaces that have a claim waiting, and of no others: the pipeline's `PodSource`.

Most pods use no claim and are let pass; which claims a pod uses never changes.

Without the right to pods each namespace's `wait_synced` raises ForbiddenError, the lack is said once (rights), and
the watch goes on trying at its slowest, so that a right granted later is noticed.
"""

from collections.abc import Callable

from resizer.kube.decode import Decoder
from resizer.kube.holding import LINGER_S, HeldWatches
from resizer.kube.projection import POD
from resizer.kube.reflector import Reflector, Selection, Timing
from resizer.kube.resource import PODS
from resizer.kube.store import Listener, Shelf
from resizer.kube.telemetry import KubeTelemetry
from resizer.kube.transport import Transport
from resizer.model.objects import Pod


class KubeNamespacePods:
    """The pods of one namespace: the pipeline's `NamespacePods` port."""

    def __init__(
        self, namespace: str, transport: Transport, *, decoder: Decoder[Pod], telemetry: KubeTelemetry, timing: Timing
    ) -> None:
        self.shelf: Shelf[Pod] = Shelf(
            key_of=lambda pod: pod.name, uid_of=lambda pod: pod.uid, is_wanted=lambda pod: bool(pod.mounts)
        )
        self.reflector = Reflector(
            transport,
            Selection(PODS, namespace=namespace),
            shelf=self.shelf,
            decoder=decoder,
            telemetry=telemetry,
            timing=timing,
        )
        self._by_claim: dict[str, tuple[str, ...]] = {}
        self.shelf.subscribe(self._index)

    @property
    def synced(self) -> bool:
        """Whether the first list has been processed."""
        return self.reflector.health.synced

    async def wait_synced(self) -> None:
        """Wait until the first list has been processed. Raises ForbiddenError when the right is missing."""
        await self.reflector.health.wait_synced()

    def pods_of(self, claim_name: str) -> list[Pod]:
        """Pods that mount this claim, in any phase."""
        found = (self.shelf.get(name) for name in sorted(self._by_claim.get(claim_name, ())))
        return [pod for pod in found if pod is not None]

    def pod(self, name: str) -> Pod | None:
        """Return the pod of this name."""
        return self.shelf.get(name)

    async def run(self) -> None:
        """List and watch until cancelled."""
        await self.reflector.run()

    def _index(self, old: Pod | None, new: Pod | None) -> None:
        """Keep which pods mount a claim: as a tuple, for it is nearly always one, and a set of one takes 200 bytes."""
        if old is not None and new is not None and old.mounts == new.mounts:
            return
        for mount in old.mounts if old is not None else ():
            others = tuple(name for name in self._by_claim.get(mount.claim_name, ()) if old and name != old.name)
            if others:
                self._by_claim[mount.claim_name] = others
            else:
                self._by_claim.pop(mount.claim_name, None)
        for mount in new.mounts if new is not None else ():
            names = self._by_claim.get(mount.claim_name, ())
            if new is not None and new.name not in names:
                self._by_claim[mount.claim_name] = (*names, new.name)


class KubePods:
    """The pipeline's `PodSource` port. `run` must be running for lists to arrive."""

    def __init__(
        self,
        transport: Transport,
        *,
        telemetry: KubeTelemetry,
        timing: Timing | None = None,
        linger_s: float = LINGER_S,
    ) -> None:
        self.decoder: Decoder[Pod] = Decoder(PODS.plural, POD, telemetry=telemetry)
        self._transport = transport
        self._telemetry = telemetry
        self._timing = timing or Timing()
        self._listeners: list[Listener[Pod]] = []
        self._watches: HeldWatches[KubeNamespacePods] = HeldWatches(self._make, linger_s=linger_s)

    def hold(self, namespace: str) -> KubeNamespacePods:
        """Start (or join) the watch of this namespace. Each `hold` is undone by one `release`."""
        return self._watches.hold(namespace)

    def release(self, namespace: str) -> None:
        """Give one `hold` back; the last one ends the watch, after a short linger."""
        self._watches.release(namespace)

    def subscribe(self, listener: Listener[Pod]) -> Callable[[], None]:
        """Call `listener(old, new)` on every change of a pod in any held namespace; the answer ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def put(self, pod: Pod) -> None:
        """Take in the state of a pod that a write answered."""
        held = self._watches.get(pod.namespace)
        if held is not None:
            held.shelf.put_answer(pod)

    def reflectors(self) -> list[Reflector[Pod]]:
        """The watches that run now."""
        return [pods.reflector for pods in self._watches.values()]

    async def run(self) -> None:
        """Run the watches that are held until cancelled."""
        await self._watches.run()

    def objects(self) -> int:
        """Pods in the cache: those that use claims."""
        return sum(len(pods.shelf) for pods in self._watches.values())

    def _make(self, namespace: str) -> KubeNamespacePods:
        made = KubeNamespacePods(
            namespace, self._transport, decoder=self.decoder, telemetry=self._telemetry, timing=self._timing
        )
        made.shelf.subscribe(self._tell)
        return made

    def _tell(self, old: Pod | None, new: Pod | None) -> None:
        for listener in tuple(self._listeners):
            listener(old, new)
