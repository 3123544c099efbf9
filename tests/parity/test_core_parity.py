"""The core, alone, decides every recorded case as the peer did, save for the intended differences."""

from collections import Counter
from typing import Any

import pytest

from resizer.model.quantity import parse_bytes
from tests.parity.differences import DIFFERENCES, Expectation, expect
from tests.parity.play import play
from tests.parity.recorded import Case, read_cases

CASES = tuple(read_cases())
MOST_KILLS = 6
"""A growth has four steps that others see; what follows is the same again."""
BOUND = ("claim", "volume", "calls")


def _agrees(case: Case, expected: Expectation) -> bool:
    outcome, _ = play(case, patience_s=expected.patience_s)
    return {key: outcome[key] for key in BOUND} == expected.outcome


def _allocated(outcome: dict[str, Any]) -> int:
    return parse_bytes(outcome["claim"]["allocated"] or "0")


def test_every_recorded_case_is_there():
    """None is left out: 963 recorded on a real API server, and 330 random ones."""
    count = Counter(case.file.partition("-")[0] for case in CASES)
    assert count == {"cases": 150, "matrix": 813, "random": 330}
    assert len({case.label for case in CASES}) == len(CASES)


def test_the_core_ends_where_the_peer_ended(capsys):
    """Claim, volume and the sequence of distinct calls agree in every case, with the differences of section 9 only."""
    disagreements = []
    used: Counter[int] = Counter()
    for case in CASES:
        expected = expect(case)
        outcome, _ = play(case, patience_s=expected.patience_s)
        used.update(expected.used)
        disagreements += [
            f"{case.label}: {key}: recorded {expected.outcome[key]}, ours {outcome[key]}"
            for key in BOUND
            if outcome[key] != expected.outcome[key]
        ]
    agreed = len(CASES) - len({line.split(": ")[0] for line in disagreements})
    lines = [f"\nparity of the core: {agreed} of {len(CASES)} recorded cases agree"]
    lines += [f"  difference {d.number:>2}, used by {used[d.number]:>3}: {d.why}" for d in DIFFERENCES]
    with capsys.disabled():
        print("\n".join(lines))  # noqa: T201  # the figures are what the reader is after
    assert not disagreements, "\n".join(disagreements[:20])


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: f"difference-{difference.number}")
def test_each_intended_difference_is_needed(difference):
    """An entry of the list is used by some case, and every case that uses it fails without it."""
    users = [case for case in CASES if difference.number in expect(case).used]
    assert users
    unneeded = [case.label for case in users if _agrees(case, expect(case, without=difference.number))]
    assert not unneeded


def test_calls_are_no_more_than_the_peers():
    """Where the peer needed one call or none, so do we: back-off explains a difference only between retries."""
    more = []
    for case in CASES:
        outcome, _ = play(case)
        if case.result["calls"]["count"] in {0, 1} and outcome["count"] != case.result["calls"]["count"]:
            more.append((case.label, case.result["calls"]["count"], outcome["count"]))
    assert not more


def test_success_is_announced_where_the_peer_announced_it():
    """Every case that ends grown, or with the node at work, says so in an event of the peer's reason."""
    silent = []
    for case in CASES:
        expected = expect(case)
        outcome, world = play(case, patience_s=expected.patience_s)
        said = {f"{say.type_}/{say.reason}" for say in world.events}
        recorded = set(case.result["events"]) - (set() if 4 not in expected.used else {"Normal/VolumeResizeSuccessful"})
        if not recorded <= said:
            silent.append((case.label, sorted(recorded - said), outcome["claim"]))
    assert not silent


def test_killed_after_any_step_every_case_ends_the_same():
    """Law 7, from every recorded state and not only from those that a resize leaves behind.

    Targets that only a hand could write (below the wish, or above it) may be passed over by the next process, which
    sees the volume's new size: it grows the claim to the wish itself.
    """
    lost = []
    for case in CASES:
        answers = case.scenario.get("answer", {}).get("codes", ["OK"])
        if len(set(answers)) > 1 or "then" in case.scenario:
            continue  # who hears which answer, and which attempt an edit meets, is another story after a restart
        whole, world = play(case)
        for step in range(1, min(world.steps, MOST_KILLS) + 1):
            ended, _ = play(case, dies_after=step)
            aims_elsewhere = _allocated(ended) != _allocated(whole) and _allocated(ended) >= parse_bytes(
                case.size("spec")
            )
            if not aims_elsewhere and (ended["claim"], ended["volume"]) != (whole["claim"], whole["volume"]):
                lost.append(f"{case.label}, killed after step {step}: {ended['claim']}, whole {whole['claim']}")
    assert not lost, f"{len(lost)}:\n" + "\n".join(lost[:20])
