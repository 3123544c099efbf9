"""Projections and errors: what they answer about themselves."""

import pytest

from resizer.model.errors import ApiError, ConflictError, DriverError, ThrottledError
from resizer.model.objects import Claim, Condition, Pod, Volume


def test_sizes_that_are_absent_are_zero():
    """A claim without status and a volume without capacity are worth nothing, and break nothing."""
    claim, volume = Claim("n", "c", "u", "1"), Volume("v", "vu", "1")
    assert (claim.requested_bytes, claim.capacity_bytes, claim.allocated_bytes, volume.capacity_bytes) == (0, 0, 0, 0)


def test_keys_are_client_gos():
    """Namespace and name with a slash; a volume without a claimRef names no claim."""
    assert Claim("n", "c", "u", "1").key == "n/c"
    assert Pod("n", "p", "u", "1").key == "n/p"
    assert Volume("v", "vu", "1", claim_namespace="n", claim_name="c").claim_key == "n/c"
    assert Volume("v", "vu", "1", claim_namespace="n").claim_key == ""


@pytest.mark.parametrize(("status", "expected"), [("True", True), ("False", False), ("maybe", False)])
def test_a_condition_holds_only_when_true(status, expected):
    """Any other status, and no condition at all, is no."""
    claim = Claim("n", "c", "u", "1", conditions=(Condition("Resizing", status),))
    assert claim.has_condition("Resizing") is expected
    assert claim.condition("Other") is None
    assert not claim.has_condition("Other")


@pytest.mark.parametrize(("phase", "expected"), [("Running", False), ("Succeeded", True), ("Failed", True)])
def test_a_finished_pod_uses_nothing(phase, expected):
    """Succeeded and Failed are finished, whatever else the pod says."""
    assert Pod("n", "p", "u", "1", phase=phase).finished is expected


@pytest.mark.parametrize(
    ("phase", "node", "expected"), [("Running", "n1", True), ("Running", "", False), ("Pending", "n1", False)]
)
def test_a_pod_uses_its_volumes_where_it_runs(phase, node, expected):
    """Running, and on a node."""
    assert Pod("n", "p", "u", "1", phase=phase, node=node).uses_volumes is expected


def test_an_error_names_what_was_tried():
    """One line: verb, resource, name, cause."""
    error = ApiError("no such thing", verb="get", resource="persistentvolumes", name="v", status=404)
    assert str(error) == "get persistentvolumes v: no such thing"
    assert str(ConflictError("changed", verb="patch", resource="pods")) == "patch pods: changed"


def test_a_throttled_call_says_how_long():
    """429 with the server's own figure."""
    error = ThrottledError("slow down", verb="list", resource="pods", retry_after_s=3)
    assert (error.status, error.retry_after_s) == (429, 3)


def test_a_drivers_error_keeps_code_and_text():
    """The pipeline matches on the code; people read the text."""
    error = DriverError("OUT_OF_RANGE", "too large")
    assert (error.code, error.message) == ("OUT_OF_RANGE", "too large")
    assert str(error) == "rpc error: code = OUT_OF_RANGE desc = too large"
