"""Who is grown: only a bound claim whose volume names it, of the driver served, that asks for more."""

import pytest

from resizer.core.eligibility import find_obstacle, keeps_stale_annotation

CASES = [
    ({}, {}, None),
    ({"phase": "Pending"}, {}, "not-bound"),
    ({"phase": "Lost"}, {}, "not-bound"),
    ({"volume_name": ""}, {}, "not-bound"),
    ({}, {"driver": "other"}, "driver-not-served"),
    ({}, {"claim_uid": "uid-2"}, "volume-of-another-claim"),
    ({}, {"claim_uid": ""}, "volume-of-another-claim"),
    ({}, {"claim_namespace": "elsewhere"}, "volume-of-another-claim"),
    ({"requested": "3Gi"}, {}, "no-growth-asked"),
    ({"requested": "3072Mi"}, {}, "no-growth-asked"),
    ({"deleting": True}, {}, None),
    ({}, {"in_tree_source": "gcePersistentDisk"}, "driver-not-served"),
    ({"storage_resizer": "d.csi.test"}, {"in_tree_source": "gcePersistentDisk"}, None),
]


@pytest.mark.parametrize(("claim_fields", "volume_fields", "expected"), CASES)
def test_the_first_obstacle(claim, volume, claim_fields, volume_fields, expected):
    """Each thing that stands against growth is named; a claim being deleted is treated like any other."""
    assert find_obstacle(claim(**claim_fields), volume(**volume_fields), driver="d.csi.test") == expected


def test_a_missing_volume_is_named(claim):
    """A volume may come later."""
    assert find_obstacle(claim(), None, driver="d.csi.test") == "volume-missing"


@pytest.mark.parametrize(
    ("claim_fields", "volume_fields", "expected"),
    [
        ({"capacity": "5Gi"}, {"capacity": "5Gi"}, True),
        ({"capacity": "3Gi"}, {"capacity": "5Gi"}, False),
        ({"capacity": "5Gi"}, {"capacity": "5Gi", "pre_resize_capacity": None}, False),
        ({"capacity": "5Gi"}, {"capacity": "5Gi", "pre_resize_capacity": ""}, True),
        ({"capacity": "5Gi"}, {"capacity": "5Gi", "driver": "other"}, False),
        ({"capacity": "5Gi"}, {"capacity": "5Gi", "claim_uid": "uid-2"}, False),
        ({"capacity": "5Gi", "volume_name": "pv-2"}, {"capacity": "5Gi"}, False),
    ],
)
def test_when_the_pre_resize_annotation_is_left_over(claim, volume, claim_fields, volume_fields, expected):
    """Only on our own claim's volume, and only once the claim has caught up."""
    fields = {"pre_resize_capacity": "3Gi", **volume_fields}
    assert keeps_stale_annotation(claim(**claim_fields), volume(**fields), driver="d.csi.test") is expected


def test_no_volume_keeps_no_annotation(claim):
    """Nothing is nothing."""
    assert not keeps_stale_annotation(claim(), None, driver="d.csi.test")
