import pytest

from resizer.kube.lease import (
    LeaseTiming,
    LeaseView,
    LeaseWriting,
    decode_lease,
    lease_name,
    own_identity,
)
from resizer.model.timestamp import format_micro_time

TIMING = LeaseTiming()
MINE = LeaseWriting("l", "ns", "me", TIMING)


def record(holder="peer", *, renewed="2026-01-01T00:00:00.000000Z", duration=15, version="7", acquired="t0"):
    return decode_lease(
        b'{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l","namespace":"ns",'
        b'"resourceVersion":"%s","labels":{"a":"b"},"managedFields":[{}]},"spec":{"holderIdentity":"%s",'
        b'"leaseDurationSeconds":%d,"acquireTime":"%s","renewTime":"%s","leaseTransitions":3,"strategy":"x"}}'
        % (version.encode(), holder.encode(), duration, acquired.encode(), renewed.encode())
    )


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("hostpath.csi.k8s.io", "external-resizer-hostpath-csi-k8s-io"),
        ("Disk.csi/x", "external-resizer-Disk-csi-x"),
        ("odd.", "external-resizer-odd-X"),
    ],
)
def test_the_lease_is_the_peers(driver, name):
    """The same name as the peer's for the same driver, so that the two exclude each other."""
    assert lease_name(driver) == name


def test_identity_is_the_variable_or_the_host():
    """$RESIZER_IDENTITY goes first; what the API would refuse is replaced."""
    assert own_identity({"RESIZER_IDENTITY": "pod_1"}) == "pod-1"
    assert own_identity({})


def test_the_others_duration_counts_from_when_we_saw_it_change():
    """Its own times are never compared with a clock: a record of another age waits its full duration here."""
    view = LeaseView(TIMING)
    view.observe(record(renewed="1999-01-01T00:00:00.000000Z"), 100.0)
    assert view.free_in_s(100.0) == 15
    view.observe(record(renewed="1999-01-01T00:00:00.000000Z", version="8"), 110.0)
    assert view.free_in_s(110.0) == 5
    view.observe(record(renewed="2999-01-01T00:00:00.000000Z"), 112.0)
    assert view.free_in_s(112.0) == 15
    assert view.free_in_s(127.0) == 0


def test_a_released_lease_and_one_that_never_was_are_free_at_once():
    """Nobody waits for a lease that nobody holds."""
    view = LeaseView(TIMING)
    view.observe(None, 0.0)
    assert view.free_in_s(0.0) == 0
    view.observe(record(), 0.0)
    view.observe(record(""), 1.0)
    assert view.free_in_s(1.0) == 0


def test_a_deleted_lease_ends_when_it_would_have_ended():
    """Its holder has not noticed yet, and still acts."""
    view = LeaseView(TIMING)
    view.observe(record(), 10.0)
    view.observe(None, 12.0)
    assert (view.free_in_s(12.0), view.free_in_s(25.0)) == (13, 0)


def test_our_own_name_in_a_record_we_did_not_write_is_somebody_else():
    """Two processes on one host share its name; the second waits like any other follower."""
    view = LeaseView(TIMING)
    view.observe(record("me"), 0.0)
    assert view.free_in_s(0.0) == 15


def test_taking_over_keeps_what_others_put_into_the_lease():
    """Labels and unknown fields stay, the version read is sent, transitions count holders."""
    taken = MINE.acquire(record(), 0.5)
    assert taken["metadata"] == {"name": "l", "namespace": "ns", "resourceVersion": "7", "labels": {"a": "b"}}
    assert taken["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 8,
        "acquireTime": "1970-01-01T00:00:00.500000Z",
        "renewTime": "1970-01-01T00:00:00.500000Z",
        "leaseTransitions": 4,
        "strategy": "x",
    }


def test_a_new_lease_has_name_and_labels():
    """The first contender makes the lease, with the labels asked for (the peer's --leader-election-labels)."""
    made = LeaseWriting("l", "ns", "me", TIMING, {"team": "db"}).acquire(None, 0)
    assert made["metadata"] == {"name": "l", "namespace": "ns", "labels": {"team": "db"}}
    assert made["spec"]["leaseTransitions"] == 0


def test_renewing_moves_the_time_only_and_releasing_leaves_nobody():
    """A renewal keeps acquireTime and transitions; a release is client-go's: no holder, one second."""
    held = record("me")
    assert MINE.renew(held, 1)["spec"] == {**held.document["spec"], "renewTime": format_micro_time(1)}
    released = MINE.release(held, 1)["spec"]
    assert (released["holderIdentity"], released["leaseDurationSeconds"], released["leaseTransitions"]) == ("", 1, 3)


@pytest.mark.parametrize(("lease", "renew", "retry"), [(5, 5, 1), (8, 5, 5), (8, 5, 0)])
def test_timings_that_cannot_work_are_refused(lease, renew, retry):
    """The refusal names all three values."""
    with pytest.raises(ValueError, match="must be shorter"):
        LeaseTiming(lease, renew, retry)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"metadata":{"resourceVersion":5}}', b"[]"])
def test_what_is_no_lease_is_refused(data):
    """A malformed lease is an error, never a free lease."""
    with pytest.raises(ValueError, match="no Lease"):
        decode_lease(data)
