"""The recorded cases through everything that runs in a cluster: watches, queues, stages, gRPC, a driver, patches."""

import pytest

from tests.parity.harness import play_through
from tests.parity.recorded import Case, read_cases
from tests.parity.report import Report

CASES = tuple(read_cases())
SAMPLE = tuple(case for number, case in enumerate(CASES) if case.file != "matrix" or number % 15 == 0)


async def _check(cases: tuple[Case, ...], folder, capsys) -> None:
    report = Report(await play_through(cases, folder))
    with capsys.disabled():
        print(f"\n{report.table()}")  # noqa: T201  # the figures are what the reader is after
    assert not report.disagreements, "\n".join(report.disagreements[:20])
    assert not report.unneeded()
    assert not report.silent


async def test_the_pipeline_ends_where_the_peer_ended(folder, capsys):
    """Every special case and some of the matrix: claim, volume and each distinct call agree, each difference is needed.

    Calls are compared in full: bytes, access mode, access type, filesystem, mount flags and secrets.
    """
    await _check(SAMPLE, folder, capsys)


@pytest.mark.soak
async def test_the_pipeline_ends_where_the_peer_ended_in_every_case(folder, capsys):
    """All 963 recorded cases at once, through one program."""
    assert len(CASES) == 963
    await _check(CASES, folder, capsys)
