"""The recorded cases through everything that runs in a cluster: watches, queues, stages, gRPC, a driver, patches."""

import pytest

from resizer.devcluster.apiserver.faults import Fault
from tests.component.pipeline.rig import Rig
from tests.parity.differences import expect
from tests.parity.harness import SETTINGS, has_begun, play_through
from tests.parity.recorded import Case, read_cases
from tests.parity.report import Report

CASES = tuple(read_cases())
SAMPLE = tuple(case for number, case in enumerate(CASES) if case.file.startswith("cases") or number % 15 == 0)


async def _check(cases: tuple[Case, ...], folder, capsys) -> None:
    report = Report(await play_through(cases, folder))
    with capsys.disabled():
        print(f"\n{report.table()}")  # noqa: T201  # the figures are what the reader is after
    assert not report.disagreements, "\n".join(report.disagreements[:20])
    assert not report.unneeded()
    assert not report.silent


async def test_the_pipeline_ends_where_the_peer_ended(folder, capsys):
    """Every special case and some of the others: claim, volume and each distinct call agree, each difference is needed.

    Calls are compared in full: bytes, access mode, access type, filesystem, mount flags and secrets.
    """
    await _check(SAMPLE, folder, capsys)


@pytest.mark.soak
async def test_the_pipeline_ends_where_the_peer_ended_in_every_case(folder, capsys):
    """All recorded cases at once, through one program."""
    assert len(CASES) == 1293
    await _check(CASES, folder, capsys)


CLAIM_STATUS = {"verb": "patch", "resource": "persistentvolumeclaims", "subresource": "status", "user_agent": "resizer"}
VOLUME = {"verb": "patch", "resource": "persistentvolumes", "user_agent": "resizer"}
HARM = (
    Fault(kind="error", probability=0.1, seed=1, **CLAIM_STATUS),
    Fault(kind="reset-after", probability=0.1, seed=2, **CLAIM_STATUS),
    Fault(kind="reset-after", probability=0.1, seed=3, **VOLUME),
    Fault(kind="unavailable", probability=0.1, seed=4, **VOLUME),
    Fault(kind="duplicate", probability=0.3, seed=5),
    Fault(kind="end", verb="watch", resource="persistentvolumeclaims", count=3),
)


async def _harm(rig: Rig) -> None:
    """Requests fail, also after they were applied; watches break; and the program is killed five times over."""
    for fault in HARM:
        rig.server.faults.add(fault)
    for _ in range(5):
        begun = rig.server.store.revision
        await rig.wait(lambda begun=begun: rig.server.store.revision > begun + 200, timeout_s=30)
        await rig.kill()
        rig.logs.clear()
        rig.start(**SETTINGS)
    await rig.wait(lambda: has_begun(rig), timeout_s=30)
    assert all(fault.hits for fault in rig.server.faults), "each kind of harm was done"
    rig.server.faults.clear()


def _is_written_by_hand(case: Case) -> bool:
    """Whether the case begins with records that no process leaves, and a crash halfway makes sound ones of them.

    A recorded target below the volume's size is first asked for and then, after a crash, not known of any more; a
    node at work before the volume object had its size is then left to its work. Random states are full of such.
    """
    if case.file.startswith("random"):
        return True
    scenario = case.scenario
    alloc, state = scenario.get("alloc", 0), scenario.get("state", "")
    shrinks = bool(alloc) and not state and alloc < scenario["pv"]
    return shrinks or (state == "NodeResizeInProgress" and scenario["pv"] < alloc)


@pytest.mark.soak
async def test_killed_and_disturbed_it_ends_where_the_peer_ended(folder):
    """Whatever fails meanwhile, and wherever it is killed: each claim and volume ends as recorded.

    How often a driver is asked may differ then, but it is never asked for less than the claim has.
    """
    cases = tuple(case for case in CASES if "then" not in case.scenario and not _is_written_by_hand(case))
    assert len(cases) > 850
    played = await play_through(cases, folder, disturb=_harm)
    wrong = []
    for one in played:
        outcome = expect(one.case).outcome
        wrong += [
            f"{one.case.label}: {key}: expected {outcome[key]}, ours {one.outcome[key]}"
            for key in ("claim", "volume")
            if one.outcome[key] != outcome[key]
        ]
        assert all(call[0] >= 3 << 30 for call in one.outcome["calls"])
    assert not wrong, f"{len(wrong)} differ\n" + "\n".join(wrong[:20])
