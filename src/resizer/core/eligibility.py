"""Whether a claim is ours to grow, and if not, why: the first thing that stands against it."""

from typing import Literal

from resizer.model.objects import Claim, Volume

Ineligible = Literal[
    "not-bound",
    "no-growth-asked",
    "volume-missing",
    "volume-of-another-claim",
    "driver-not-served",
]


def find_obstacle(claim: Claim, volume: Volume | None, *, driver: str) -> Ineligible | None:
    """Say what keeps `driver` from growing this claim; None when nothing does.

    Only a Bound claim with a volume whose `claimRef` carries this claim's uid, of the driver served, that asks
    for more than its `status.capacity`, is grown (DESIGN section 3).
    """
    if claim.phase != "Bound" or not claim.volume_name:
        return "not-bound"
    if volume is None:
        return "volume-missing"
    if not is_served(claim, volume, driver=driver):
        return "driver-not-served"
    if not is_bound_to(volume, claim):
        return "volume-of-another-claim"
    if claim.requested_bytes <= claim.capacity_bytes:
        return "no-growth-asked"
    return None


def is_served(claim: Claim, volume: Volume, *, driver: str) -> bool:
    """Whether `driver` is the one to grow the volume.

    An in-tree volume is the CSI driver's only once the claim's `storage-resizer` annotation says so: it names who
    grows migrated volumes, and says otherwise while their plugin in Kubernetes itself still does.
    """
    return volume.driver == driver and (not volume.in_tree_source or claim.storage_resizer == driver)


def is_bound_to(volume: Volume, claim: Claim) -> bool:
    """Whether the volume's `claimRef` names this very claim: namespace and uid, not just a name used again."""
    return bool(volume.claim_uid) and volume.claim_uid == claim.uid and volume.claim_namespace == claim.namespace


def keeps_stale_annotation(claim: Claim, volume: Volume | None, *, driver: str) -> bool:
    """Whether `pre-resize-capacity` is left over: the claim's capacity has reached its volume's."""
    return (
        volume is not None
        and volume.pre_resize_capacity is not None
        and is_served(claim, volume, driver=driver)
        and is_bound_to(volume, claim)
        and claim.volume_name == volume.name
        and claim.capacity_bytes >= volume.capacity_bytes
    )
