"""How a benchmark is to run: whose work, and whom to tell of progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.contender import Contender


@dataclass(frozen=True, slots=True)
class How:
    """What every benchmark is given. `full` asks the long ones for their full length."""

    contender: Contender
    say: Callable[[str], None]
    full: bool = False
