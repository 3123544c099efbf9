"""The cache: claims by key, volumes by name, always the newest state that anyone has told us.

States come from two sides, watch events and the answers of our own writes and reads, in any order and more than
once. One rule decides: of two states of one object the one with the higher resourceVersion is the newer
(Kubernetes 1.35 made that comparison official; etcd has always worked so), and an older one never replaces a newer.
A deletion leaves a marker, so that a late event does not bring the object back; a new object of the same name has
another uid and a higher version, and wins.

Listeners are called synchronously with (old, new), after the cache holds the new state. They must not block.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from resizer.model.objects import Claim, Volume

MAX_MARKERS: Final = 4096
"""Deletions remembered against late events; late means seconds, so this is far more than is ever needed."""


class Cached(Protocol):
    """What the cache must know of an object."""

    @property
    def version(self) -> str:
        """Its resourceVersion, digits."""


T = TypeVar("T", bound=Cached)
Listener = Callable[[T | None, T | None], None]


class Shelf(Generic[T]):
    """The objects of one resource. `key_of` names an object, `uid_of` tells its incarnation ("" if unknown).

    An object that `is_wanted` says no to is let pass, unless one of its key is there: then it takes its place.
    """

    def __init__(
        self,
        *,
        key_of: Callable[[T], str],
        uid_of: Callable[[T], str],
        is_wanted: Callable[[T], bool] = lambda _: True,
    ) -> None:
        self._key_of = key_of
        self._uid_of = uid_of
        self._is_wanted = is_wanted
        self._objects: dict[str, T] = {}
        self._gone: dict[str, tuple[str, int]] = {}
        self._listeners: tuple[Listener[T], ...] = ()
        self._highest = 0
        self._sweep: set[str] | None = None
        self._ignored = 0

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: str) -> T | None:
        """Return the object of this key."""
        return self._objects.get(key)

    def values(self) -> tuple[T, ...]:
        """Return all objects, a snapshot."""
        return tuple(self._objects.values())

    def subscribe(self, listener: Listener[T]) -> Callable[[], None]:
        """Call `listener(old, new)` on every change from now on; the answer ends that."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return unsubscribe

    def put(self, new: T) -> bool:
        """Take in a state that a list or a watch told, unless a newer one is known. Tells whether it was taken."""
        key = self._key_of(new)
        if self._sweep is not None:
            self._sweep.add(key)
        return self._put(key, new)

    def put_answer(self, new: T) -> bool:
        """Take in the state that a write or a read of one object answered, unless a newer one is known.

        An answer may be late, and its object gone by now: it does not count as listed.
        """
        return self._put(self._key_of(new), new)

    def _put(self, key: str, new: T) -> bool:
        version = int(new.version)
        gone = self._gone.get(key)
        if gone is not None and (version <= gone[1] or (gone[0] and gone[0] == self._uid_of(new))):
            self._ignored += 1
            return False
        old = self._objects.get(key)
        if old is None and not self._is_wanted(new):
            return False
        if old is not None and version <= int(old.version):
            self._ignored += old.version != new.version
            return False
        self._highest = max(self._highest, version)
        self._gone.pop(key, None)
        self._objects[key] = new
        self._tell(old, new)
        return True

    def remove(self, last: T) -> bool:
        """Take a deletion in (its final state says which object, and at what version). Tells whether it was taken."""
        key, version = self._key_of(last), int(last.version)
        old = self._objects.get(key)
        if old is None and not self._is_wanted(last):
            return False
        uid = self._uid_of(last)
        if old is not None and int(old.version) > version and (not uid or self._uid_of(old) != uid):
            self._ignored += 1
            return False
        known = self._gone.get(key)
        if old is None and known is not None and version <= known[1]:
            self._ignored += 1
            return False
        self._highest = max(self._highest, version)
        self._forget(key, uid=uid, version=max(version, int(old.version) if old is not None else 0))
        return old is not None

    def forget(self, key: str, *, uid: str = "") -> None:
        """Drop an object that a read did not find (404) or whose state cannot be read; of that `uid` only, if given."""
        old = self._objects.get(key)
        if old is not None and uid in {"", self._uid_of(old)}:
            self._forget(key, uid=self._uid_of(old), version=int(old.version))

    def drop_unreadable(self, key: str) -> None:
        """Drop an object whose newest state cannot be read. It may come back once it can."""
        old = self._objects.pop(key, None)
        if old is not None:
            self._tell(old, None)

    def begin_list(self) -> int:
        """Start a fresh list; what is `put` from now on counts as listed. Returns the highest version known before."""
        self._sweep = set()
        return self._highest

    def history_went_back(self) -> None:
        """Forget everything: the server's versions are lower than before, as after etcd was restored."""
        for key in list(self._objects):
            self.drop_unreadable(key)
        self._gone.clear()
        self._highest = 0

    def end_list(self, version: int) -> int:
        """End a fresh list taken at `version`: what was not listed and is not newer is gone. Returns how many."""
        listed, self._sweep = self._sweep or set(), None
        self._highest = max(self._highest, version)
        unlisted = [k for k, o in self._objects.items() if k not in listed and int(o.version) <= version]
        for key in unlisted:
            # Without its uid: it may only have been unreadable while it was listed.
            self._forget(key, uid="", version=version)
        return len(unlisted)

    def statistics(self) -> dict[str, int]:
        """Return figures for /debug/state."""
        return {"objects": len(self._objects), "deletion_markers": len(self._gone), "older_ignored": self._ignored}

    def _forget(self, key: str, *, uid: str, version: int) -> None:
        self._gone.pop(key, None)
        self._gone[key] = (uid, version)
        while len(self._gone) > MAX_MARKERS:
            del self._gone[next(iter(self._gone))]
        old = self._objects.pop(key, None)
        if old is not None:
            self._tell(old, None)

    def _tell(self, old: T | None, new: T | None) -> None:
        for listener in self._listeners:
            listener(old, new)


class Store:
    """Claims and volumes: the pipeline's `Objects` port.

    `selected` is for a watch by label: an object that leaves the selection is reported as deleted, yet may come back
    with the same uid.
    """

    def __init__(self, *, selected: bool = False) -> None:
        claim_uid: Callable[[Claim], str] = (lambda _: "") if selected else attrgetter("uid")
        self.claim_shelf: Shelf[Claim] = Shelf(key_of=attrgetter("key"), uid_of=claim_uid)
        self.volume_shelf: Shelf[Volume] = Shelf(key_of=attrgetter("name"), uid_of=attrgetter("uid"))

    def claim(self, key: str) -> Claim | None:
        """Return the claim `namespace/name`, if it exists."""
        return self.claim_shelf.get(key)

    def volume(self, name: str) -> Volume | None:
        """Return the volume of this name, if it exists."""
        return self.volume_shelf.get(name)

    def claims(self) -> Iterable[Claim]:
        """All claims, a snapshot that later changes do not disturb."""
        return self.claim_shelf.values()

    def volumes(self) -> Iterable[Volume]:
        """All volumes, a snapshot that later changes do not disturb."""
        return self.volume_shelf.values()

    def subscribe_claims(self, listener: Listener[Claim]) -> Callable[[], None]:
        """Call `listener(old, new)` on every change of a claim; None stands for "not there"."""
        return self.claim_shelf.subscribe(listener)

    def subscribe_volumes(self, listener: Listener[Volume]) -> Callable[[], None]:
        """Call `listener(old, new)` on every change of a volume; None stands for "not there"."""
        return self.volume_shelf.subscribe(listener)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return figures for /debug/state."""
        return {"claims": self.claim_shelf.statistics(), "volumes": self.volume_shelf.statistics()}
