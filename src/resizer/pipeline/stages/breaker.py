"""A circuit breaker for a driver that is down: pure, time is an argument.

A driver that nobody reaches answers every call with UNAVAILABLE, at once or, worse, late; a thousand claims that
find that out one by one fill its log and our workers. After `OPEN_AFTER` such answers in a row, from several volumes
(a single volume may be unavailable for reasons of its own), the circuit opens: claims are turned away without a call.
When the delay is over one call is let through as a probe. If it fails in the same way the circuit stays open, twice
as long as before and `longest_s` at most; every other answer, success or not, shows that the driver is there and
closes it. So does a connection made anew. A probe that has said nothing for one more delay may be a slow volume's: the
next one goes beside it. One that ends without an answer shows nothing.

    closed --OPEN_AFTER failures in a row, or nobody connected--> open --delay over--> half-open (probes)
       ^------------------------- any other answer -------------------------'  '--failure--> open, longer

What turns a claim away also says when to come back: the moment of the next probe, a little later for each claim that
was turned away before it, so that they do not all come at once when the driver is back. Volumes that have not failed
themselves probe first: where many volumes are unavailable and the driver is not, one that works is soon found out.
"""

from typing import Final, Literal

OPEN_AFTER: Final = 10
OF_VOLUMES: Final = 3
LONGEST_S: Final = 10.0
SPREAD_S: Final = 0.002
"""How much later each further claim that is turned away comes back, in seconds."""

REMEMBERED: Final = 4096
"""At most so many volumes are told apart."""

State = Literal["closed", "open", "half-open"]


class Breaker:
    """One driver's circuit. `admit` before a call; then exactly one of `succeed`, `fail` or `abandon`."""

    def __init__(self, *, first_s: float = 1.0, longest_s: float = LONGEST_S) -> None:
        self.state: State = "closed"
        self.opened = 0
        """How often the circuit has opened, for whoever counts."""
        self._first_s = first_s
        self._longest_s = max(first_s, longest_s)
        self._delay_s = first_s
        self._until_s = 0.0
        self._in_a_row = 0
        self._failed: set[str] = set()
        self._fresh: set[str] = set()
        """Turned away without having failed themselves."""
        self._turned_away = 0

    def admit(self, now_s: float, *, volume: str) -> float:
        """Return 0 when a call may be made now (if the circuit was open: as its probe), else after how long."""
        if self.state == "closed":
            return 0.0
        if now_s >= self._until_s and not self._gives_way(now_s, volume):
            self.state = "half-open"
            self._fresh.discard(volume)
            self._until_s = now_s + self._delay_s
            return 0.0
        if volume not in self._failed and len(self._fresh) < REMEMBERED:
            self._fresh.add(volume)
        self._turned_away += 1
        left_s = max(0.0, self._until_s - now_s)
        return left_s + min(self._turned_away * SPREAD_S, self._longest_s)

    def _gives_way(self, now_s: float, volume: str) -> bool:
        """Whether a volume that has failed leaves the probe to one that has not; not for ever, that one may be gone."""
        return bool(self._fresh) and volume not in self._fresh and now_s < self._until_s + self._delay_s

    def succeed(self) -> None:
        """The driver answered, whatever it said: it is there."""
        self.state = "closed"
        self._delay_s = self._first_s
        self._in_a_row = 0
        self._failed.clear()
        self._fresh.clear()

    def fail(self, now_s: float, *, volume: str) -> None:
        """The driver was unavailable to a call for this volume."""
        self._in_a_row += 1
        if len(self._failed) < REMEMBERED:
            self._failed.add(volume)
        if self.state == "half-open":
            self._delay_s = min(self._delay_s * 2, self._longest_s)
            self._open(now_s)
        elif self.state == "closed" and self._in_a_row >= OPEN_AFTER and len(self._failed) >= OF_VOLUMES:
            self._open(now_s)

    def trip(self, now_s: float) -> None:
        """Nobody is connected: no need to count."""
        if self.state == "half-open":
            self._delay_s = min(self._delay_s * 2, self._longest_s)
        if self.state != "open":
            self._open(now_s)

    def abandon(self) -> None:
        """The call that was admitted was not made, or was cut off: nothing is known, and the next may probe."""
        if self.state == "half-open":
            self.state = "open"
            self._until_s = 0.0

    def remaining_s(self, now_s: float) -> float:
        """Seconds until the next probe; 0 while calls are made."""
        return max(0.0, self._until_s - now_s) if self.state == "open" else 0.0

    def _open(self, now_s: float) -> None:
        self.opened += self.state == "closed"
        self.state = "open"
        self._until_s = now_s + self._delay_s
        self._turned_away = 0
