"""The claim's own side: is it bound, is there a driver for its volume, is a growth asked for, might one be.

Class and quota are the API server's business: they decide whether a larger request is *accepted*. Once it is in the
claim, no controller looks at them again, so they block only a growth that has not been asked for yet.
"""

from typing import Final, assert_never

from resizer.core.eligibility import Ineligible, find_obstacle
from resizer.explain.facts import SHOWN, Facts, Quota
from resizer.explain.finding import Check, block, ok, skip, unknown
from resizer.model.quantity import format_bytes
from resizer.model.text import printable


def check_binding(facts: Facts) -> Check:
    """Whether the claim and a volume belong to each other."""
    claim, volume = facts.claim, facts.volume
    if claim.phase == "Bound" and claim.volume_name and volume is None and facts.unreadable:
        return unknown("binding", f"volume {claim.volume_name} could not be read: {facts.unreadable[0]}")
    match _obstacle(facts):
        case "not-bound":
            if claim.phase == "Lost":
                text = f"the claim has lost its volume {claim.volume_name}: its data is gone or bound elsewhere"
                return block("binding", "volume-lost", text, "restore the volume from a backup into a new claim")
            text = f"the claim is {claim.phase or 'not bound'}: it has no volume yet, so nothing can grow"
            look = f"kubectl describe pvc {claim.name} -n {claim.namespace}"
            step = f"{look} says what it waits for (often: a pod that uses it)"
            return block("binding", "not-bound", text, step)
        case "volume-missing":
            text = f"the claim names volume {claim.volume_name}, which does not exist"
            return block(
                "binding", "volume-missing", text, "restore the PersistentVolume object, its data may still be there"
            )
        case "volume-of-another-claim":
            text = f"volume {claim.volume_name} says that it belongs to another claim ({_owner(facts)})"
            step = "was the claim deleted and made again? Point the volume's claimRef.uid at the one that is to have it"
            return block("binding", "volume-of-another-claim", text, step)
        case "driver-not-served" | "no-growth-asked" | None:
            return ok("binding", f"bound to volume {claim.volume_name}")
        case never:
            assert_never(never)


def check_driver(facts: Facts) -> Check:
    """Whether a CSI driver is responsible for the volume at all, and the cluster knows it."""
    claim, volume = facts.claim, facts.volume
    if volume is None:
        return skip("driver", "not known without a volume")
    if volume.untranslatable:
        step = "copy the data to a volume of a CSI driver that can grow"
        return block("driver", "in-tree-unsupported", printable(volume.untranslatable, limit=SHOWN), step)
    if not volume.driver:
        kind = volume.in_tree_source or "no CSI driver's"
        text = f"volume {volume.name} is {kind}: only volumes of a CSI driver are grown"
        return block("driver", "no-csi-driver", text, "move the data to a volume of a CSI driver that can grow")
    if _obstacle(facts) == "driver-not-served":
        who = claim.storage_resizer or "nobody yet"
        text = (
            f"in-tree volume ({volume.in_tree_source}): its annotation storage-resizer names {who}, not {volume.driver}"
        )
        step = (
            "Kubernetes sets volume.kubernetes.io/storage-resizer when it hands the volume over: is CSI migration on?"
        )
        return block("driver", "not-handed-over", text, step)
    known = facts.driver
    if known is None:
        return unknown("driver", f"{volume.driver}: CSIDriver and CSINode objects could not be read")
    if not known.is_declared and known.nodes is not None and not known.nodes:
        text = f"driver {volume.driver} is not installed: no CSIDriver object, and no node has registered it"
        return block("driver", "driver-unknown", text, f"install the CSI driver {volume.driver}")
    where = "" if known.nodes is None else f", registered on {len(known.nodes)} node{'s' * (len(known.nodes) != 1)}"
    return ok("driver", f"{volume.driver}{where}")


def check_class(facts: Facts) -> Check:
    """Whether the class lets the API server accept a larger request."""
    class_, claim = facts.storage_class, facts.claim
    if not claim.storage_class:
        return _unless_asked(facts, block("class", "class-missing", "the claim has no storage class", _STATIC))
    if class_ is None:
        return unknown("class", f"StorageClass {claim.storage_class} could not be read")
    if not class_.is_there:
        text = f"StorageClass {class_.name} does not exist (any more)"
        return _unless_asked(facts, block("class", "class-missing", text, _STATIC))
    if class_.allows_growth:
        return ok("class", f"{class_.name} allows growth")
    text = (
        f"StorageClass {class_.name} does not have allowVolumeExpansion: true; the API server refuses larger requests"
    )
    step = f"kubectl patch storageclass {class_.name} -p '{{\"allowVolumeExpansion\": true}}', if its driver can grow"
    return _unless_asked(facts, block("class", "class-forbids", text, step))


_STATIC: Final = (
    "create the StorageClass that the claim names, with allowVolumeExpansion: true; without one nothing grows"
)


def check_quota(facts: Facts) -> Check:
    """Whether the namespace's quotas leave anything for a larger request."""
    if is_asked(facts):
        return skip("quota", "the request has been accepted")
    if facts.quotas is None:
        return unknown("quota", "ResourceQuotas could not be read")
    if not facts.quotas:
        return ok("quota", "no quota counts this claim's storage")
    tightest: Quota = min(facts.quotas, key=lambda quota: quota.hard_bytes - quota.used_bytes)
    left = tightest.hard_bytes - tightest.used_bytes
    used = f"{format_bytes(tightest.used_bytes)} of {format_bytes(tightest.hard_bytes)} {tightest.resource} are used"
    if left <= 0:
        text = f"quota {tightest.name} leaves nothing to grow into: {used}; the API server refuses larger requests"
        return block("quota", "quota-exhausted", text, f"raise ResourceQuota {tightest.name}, or delete claims")
    return ok("quota", f"quota {tightest.name} leaves {format_bytes(left)} ({used})")


def check_wish(facts: Facts) -> Check:
    """Whether the claim asks for more than it has."""
    claim = facts.claim
    if is_asked(facts):
        return ok("request", f"{claim.requested} asked for, {claim.capacity or 'nothing'} there")
    text = f"the claim requests {claim.requested or 'nothing'}, and has {claim.capacity}"
    step = f"ask for more: kubectl volume-resize grow {claim.name} -n {claim.namespace} --to SIZE"
    return block("request", "nothing-asked", text, step)


def is_asked(facts: Facts) -> bool:
    """Whether the claim asks for more than it has."""
    return facts.claim.requested_bytes > facts.claim.capacity_bytes


def _unless_asked(facts: Facts, check: Check) -> Check:
    """The API server's refusals no longer matter once the request is in the claim."""
    return ok("class", f"{check.text} (the request stands already)") if is_asked(facts) else check


def _obstacle(facts: Facts) -> Ineligible | None:
    return find_obstacle(facts.claim, facts.volume, driver=facts.driver_name)


def _owner(facts: Facts) -> str:
    volume = facts.volume
    return f"{volume.claim_key}, uid {volume.claim_uid}" if volume is not None and volume.claim_key else "none"
