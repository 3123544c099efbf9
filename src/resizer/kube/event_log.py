"""Which events are worth sending, and as what: decided here, without waiting and without a clock of its own.

The same claim, reason and message within an hour is one event whose count and last time go up; after an hour (the
API server forgets events then) it is a new one. Each claim has a budget (25 at once, then one in five minutes, as
client-go's spam filter), so that one claim that fails fast cannot fill the namespace. Both memories are bounded.

Source: Kubernetes API reference, Event v1 core; client-go tools/record.
"""

import itertools
from collections import OrderedDict
from typing import Any, Final

from msgspec import Struct

from resizer.kube.answer import printable
from resizer.model.objects import Claim
from resizer.model.timestamp import format_time

MAX_MESSAGE: Final = 1024
AGGREGATE_S: Final = 3600.0
BURST: Final = 25.0
REFILL_S: Final = 300.0
_MAX_KEYS: Final = 4096
_MAX_NAME: Final = 253


class Notice(Struct, frozen=True, kw_only=True):
    """One emission, with everything that is needed to send it later."""

    namespace: str
    claim: str
    uid: str
    version: str
    type: str
    reason: str
    message: str
    driver: str
    at: float
    event: str
    """Name of the event, should it be made: fixed here, so that a second try cannot make a second one."""

    @property
    def same(self) -> tuple[str, ...]:
        """What makes two emissions one event."""
        return (self.uid, self.type, self.reason, self.message, self.driver)


class Sent(Struct):
    """An event that exists: its name, how often it was said, when it was made (Unix seconds)."""

    name: str
    count: int
    created_at: float


class EventLog:
    """What was sent, and what each claim may still send."""

    def __init__(self) -> None:
        self._sent: OrderedDict[tuple[str, ...], Sent] = OrderedDict()
        self._budgets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._numbers = itertools.count()

    def notice(self, claim: Claim, *, type_: str, reason: str, message: str, driver: str, at: float) -> Notice:
        """Make the notice of an emission: its message clean and short, its name unique as client-go's."""
        unique = int(at * 1e9) + next(self._numbers)
        return Notice(
            namespace=claim.namespace,
            claim=claim.name,
            uid=claim.uid,
            version=claim.version,
            type=type_,
            reason=reason,
            message=printable(message, limit=MAX_MESSAGE),
            driver=driver,
            at=at,
            # Cut anywhere a name may end in what no name may end in.
            event=f"{claim.name[: _MAX_NAME - 17].rstrip('-.')}.{unique:x}",
        )

    def admit(self, notice: Notice) -> bool:
        """Take one from the claim's budget; False when it is used up."""
        tokens, at = self._budgets.pop(notice.uid, (BURST, notice.at))
        tokens = min(BURST, tokens + max(notice.at - at, 0) / REFILL_S)
        admitted = tokens >= 1
        self._budgets[notice.uid] = (tokens - admitted, notice.at)
        if len(self._budgets) > _MAX_KEYS:
            self._budgets.popitem(last=False)
        return admitted

    def earlier(self, notice: Notice) -> Sent | None:
        """The event that this one repeats, if that is young enough to be counted up."""
        found = self._sent.get(notice.same)
        return found if found is not None and notice.at - found.created_at < AGGREGATE_S else None

    def created(self, notice: Notice) -> None:
        """Remember that the event was made."""
        self._sent.pop(notice.same, None)
        self._sent[notice.same] = Sent(notice.event, 1, notice.at)
        if len(self._sent) > _MAX_KEYS:
            self._sent.popitem(last=False)

    def repeated(self, notice: Notice) -> None:
        """Remember that the event was counted up."""
        self._sent[notice.same].count += 1

    def forget(self, notice: Notice) -> None:
        """The event is no longer there."""
        self._sent.pop(notice.same, None)


def event_body(notice: Notice) -> dict[str, Any]:
    """Return a new event."""
    component = f"external-resizer {notice.driver}"
    at = format_time(notice.at)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": notice.event, "namespace": notice.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": notice.namespace,
            "name": notice.claim,
            "uid": notice.uid,
            "resourceVersion": notice.version,
        },
        "type": notice.type,
        "reason": notice.reason,
        "message": notice.message,
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
    }
