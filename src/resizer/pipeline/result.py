"""What a worker gets back for a claim: the only verdict on when to look again."""

from msgspec import Struct


class Result(Struct, frozen=True):
    """The outcome of one look at a claim. `requeue_after_s`: look again after that; None: not before an event."""

    outcome: str
    requeue_after_s: float | None = None
