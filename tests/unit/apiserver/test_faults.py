from resizer.devcluster.apiserver.faults import BEFORE, ON_WATCH, Fault, Faults, shift_lease_times
from resizer.devcluster.apiserver.request import Attributes

ASKED = Attributes(verb="patch", plural="persistentvolumeclaims", subresource="status", namespace="n", name="c")


def hits(
    fault: Fault, asked: Attributes = ASKED, times: int = 100, user: str = "u", agent: str = "kubectl/1"
) -> list[bool]:
    faults = Faults()
    faults.add(fault)
    return [faults.strike(BEFORE, asked, user, agent) is not None for _ in range(times)]


async def test_count_bounds_the_hits() -> None:
    """A fault strikes as often as its count says, then no more."""
    assert hits(Fault(kind="error", count=3)) == [True] * 3 + [False] * 97


async def test_probability_repeats_with_its_seed() -> None:
    """Equal seeds give equal runs, other seeds others; the share of hits is about the probability."""
    first = hits(Fault(kind="error", probability=0.3, seed=1), times=1000)
    assert first == hits(Fault(kind="error", probability=0.3, seed=1), times=1000)
    assert first != hits(Fault(kind="error", probability=0.3, seed=2), times=1000)
    assert 230 < sum(first) < 370


async def test_every_field_narrows_the_fault() -> None:
    """A fault strikes only what agrees with all of its fields."""
    agreeing = {
        "verb": "patch",
        "resource": "persistentvolumeclaims",
        "subresource": "status",
        "namespace": "n",
        "name": "c",
        "user": "u",
        "user_agent": "kubectl",
    }
    assert all(hits(Fault(kind="error", **agreeing)))  # type: ignore[arg-type]
    for name in agreeing:
        assert not any(hits(Fault(kind="error", **{**agreeing, name: "other"})))  # type: ignore[arg-type]
    assert not any(hits(Fault(kind="error", subresource="")))


async def test_faults_strike_at_their_own_stage() -> None:
    """A fault of watches does nothing to ordinary requests."""
    faults = Faults()
    faults.add(Fault(kind="gone"))
    assert faults.strike(BEFORE, ASKED, "u", "") is None
    assert faults.strike(ON_WATCH, ASKED, "u", "") is not None


async def test_first_fault_that_strikes_wins() -> None:
    """Faults are asked in the order in which they were added; a spent one is passed over."""
    faults = Faults()
    faults.add(Fault(kind="error", count=1))
    faults.add(Fault(kind="throttle"))
    struck = [faults.strike(BEFORE, ASKED, "u", "") for _ in range(2)]
    assert [active.fault.kind for active in struck if active] == ["error", "throttle"]


def test_lease_times_are_shifted() -> None:
    """Only the two times of a lease move."""
    body = b'{"spec":{"renewTime":"2026-01-01T00:00:00.000000Z","holderIdentity":"a"}}'
    shifted = b'{"spec":{"renewTime":"2026-01-01T00:00:30.500000Z","holderIdentity":"a"}}'
    assert shift_lease_times(body, 30.5) == shifted
