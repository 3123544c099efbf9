"""Builders for decisions: a claim that wants to grow from 3Gi to 5Gi, its volume, a driver, a moment."""

import pytest
from msgspec.structs import replace

from resizer.core.state import Instant, Memory, Policy, Snapshot
from resizer.model.driver import DriverFacts
from resizer.model.objects import Claim, Volume
from tests.parity.simulation import EPOCH_S, Simulation

CLAIM = Claim(
    "default", "data", "uid-1", "7", phase="Bound", volume_name="pv", requested="5Gi", capacity="3Gi", storage_class="s"
)
VOLUME = Volume(
    "pv",
    "pv-uid",
    "9",
    "3Gi",
    claim_namespace="default",
    claim_name="data",
    claim_uid="uid-1",
    driver="d.csi.test",
    handle="h",
)
DRIVER = DriverFacts("d.csi.test")


@pytest.fixture
def claim():
    return lambda **fields: replace(CLAIM, **fields)


@pytest.fixture
def volume():
    return lambda **fields: replace(VOLUME, **fields)


@pytest.fixture
def snapshot():
    def build(claim=CLAIM, volume=VOLUME, *, driver=DRIVER, mono_s=0.0, users=None):
        return Snapshot(claim, volume, driver, Instant(EPOCH_S + mono_s, mono_s), users)

    return build


@pytest.fixture
def world():
    def build(answer, *, claim=CLAIM, volume=VOLUME, driver=DRIVER, memory=None, **fields):
        return Simulation(claim, volume, driver, answer, memory=memory or Memory(), policy=Policy(), **fields)

    return build
