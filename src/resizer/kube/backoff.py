"""How long to wait before trying again: 0.8 s, doubling to 30 s, spread so that many clients do not come at once."""

import random
from collections.abc import Callable


class Backoff:
    """Exponential back-off. `draw` gives numbers from 0 to 1."""

    def __init__(
        self, *, first_s: float = 0.8, most_s: float = 30.0, draw: Callable[[], float] = random.random
    ) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._draw = draw
        self._wait_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now; the next wait is twice as long. Never more than the most."""
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, self._most_s)
        return min(wait_s * (1 + self._draw() / 2), self._most_s)

    def reset(self) -> None:
        """Begin again with the first."""
        self._wait_s = self._first_s
