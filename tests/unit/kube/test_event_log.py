import re

from resizer.kube.event_log import AGGREGATE_S, BURST, EventLog, event_body
from resizer.model.objects import Claim

CLAIM = Claim("shop", "data", "u1", "7")


def notice(log, *, claim=CLAIM, message="m", at=1_767_225_600.0):
    return log.notice(claim, type_="Warning", reason="VolumeResizeFailed", message=message, driver="d.csi", at=at)


def test_an_event_is_written_as_the_peer_writes_it():
    """Involved object, source and times are those that `kubectl describe pvc` shows for the peer."""
    body = event_body(notice(EventLog()))
    assert body["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": "shop",
        "name": "data",
        "uid": "u1",
        "resourceVersion": "7",
    }
    component = "external-resizer d.csi"
    assert (body["source"], body["reportingComponent"]) == ({"component": component}, component)
    assert (body["type"], body["reason"], body["message"], body["count"]) == ("Warning", "VolumeResizeFailed", "m", 1)
    assert body["firstTimestamp"] == body["lastTimestamp"] == "2026-01-01T00:00:00Z"
    assert body["metadata"]["name"].startswith("data.")


def test_names_are_unique_and_fit():
    """Two events of one moment have two names, and a claim with the longest name still has a valid one."""
    label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    for long in ("c" * 253, "c" * 235 + "-" + "c" * 17, "c" * 234 + "-.c" + "c" * 16):
        log, claim = EventLog(), Claim("shop", long, "u", "1")
        names = {notice(log, claim=claim).event for _ in range(100)}
        assert len(names) == 100
        assert all(len(name) <= 253 and re.fullmatch(rf"{label}(\.{label})*", name) for name in names)


def test_messages_are_short_and_clean():
    """Control characters of a driver's message do not reach a terminal, and 1,024 characters are the most."""
    made = notice(EventLog(), message="bad\x1b[31m\nnews\x00" + "x" * 5000)
    assert made.message.startswith("bad [31m news ")
    assert len(made.message) == 1024


def test_a_repetition_within_the_hour_counts_up_and_later_is_a_new_event():
    """The API server forgets events after an hour, so what is patched is younger than that."""
    log = EventLog()
    first = notice(log)
    assert log.earlier(first) is None
    log.created(first)
    again = notice(log, at=first.at + AGGREGATE_S - 1)
    assert log.earlier(again).name == first.event
    log.repeated(again)
    assert log.earlier(again).count == 2
    assert log.earlier(notice(log, at=first.at + AGGREGATE_S)) is None
    assert log.earlier(notice(log, message="other")) is None


def test_one_claim_cannot_fill_the_namespace():
    """25 at once, then one in five minutes; another claim has its own budget."""
    log = EventLog()
    admitted = sum(log.admit(notice(log, message=str(number))) for number in range(100))
    assert admitted == BURST
    assert log.admit(notice(log, claim=Claim("shop", "b", "u2", "1")))
    assert log.admit(notice(log, at=1_767_225_600.0 + 300))
    assert not log.admit(notice(log, at=1_767_225_600.0 + 301))


def test_its_memory_is_bounded():
    """Many claims do not fill the memory."""
    log = EventLog()
    for number in range(6000):
        made = notice(log, claim=Claim("shop", "c", f"u{number}", "1"))
        log.admit(made)
        log.created(made)
    assert max(len(log._sent), len(log._budgets)) == 4096
