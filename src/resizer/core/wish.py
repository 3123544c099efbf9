"""What the user wants of a claim, as far as it decides on back-offs: a change of it ends a wait."""

from typing import Final

from resizer.model.objects import Claim

Wish = tuple[int, str]
NO_WISH: Final[Wish] = (0, "")


def wish_of(claim: Claim) -> Wish:
    """Requested bytes, and the driver that the `storage-resizer` annotation names."""
    return claim.requested_bytes, claim.storage_resizer
