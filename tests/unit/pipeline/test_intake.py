"""From changes in the cache to the queue of the driver that a claim's volume names."""

import asyncio

import pytest
from msgspec.structs import replace

from resizer.model.objects import Attachment, PodMount
from resizer.pipeline.intake import Intake
from tests.unit.pipeline.conftest import CLAIM, DRIVER, POD, VOLUME

pytestmark = pytest.mark.looptime


@pytest.fixture
def place(server, new_queue):
    """An intake that serves two drivers, over a server that a test may fill."""

    class Place:
        def __init__(self):
            self.server = server(None, None)
            self.intake = Intake(self.server)
            self.queues = {name: new_queue(name) for name in (DRIVER, "other.csi.test")}
            for name, queue in self.queues.items():
                self.intake.serve(name, queue)

        def put(self, claim=None, volume=None):
            if claim is not None:
                self.server.by_key[claim.key] = claim
            if volume is not None:
                self.server.volumes[volume.name] = volume

        def waiting(self):
            return {name: queue.depth() for name, queue in self.queues.items() if queue.depth()}

    async def build():
        return Place()

    return build


async def test_each_claim_goes_to_its_drivers_queue(place):
    """The volume's driver decides, not the claim's class or name."""
    here = await place()
    here.put(CLAIM, replace(VOLUME, driver="other.csi.test"))
    here.intake.claim_changed(None, CLAIM)
    assert here.waiting() == {"other.csi.test": 1}


async def test_a_claim_of_a_driver_not_served_goes_nowhere(place):
    """Foreign drivers' claims wake nobody."""
    here = await place()
    here.put(CLAIM, replace(VOLUME, driver="third.csi.test"))
    here.intake.claim_changed(None, CLAIM)
    assert here.waiting() == {}


async def test_a_volume_that_comes_later_brings_its_claim(place):
    """The claim was seen first and could not be routed; the volume's arrival does it."""
    here = await place()
    here.put(CLAIM)
    here.intake.claim_changed(None, CLAIM)
    assert here.waiting() == {}
    here.put(volume=VOLUME)
    here.intake.volume_changed(None, VOLUME)
    assert here.waiting() == {DRIVER: 1}


async def test_a_volume_of_another_claim_brings_nobody(place):
    """A volume whose claim names another volume, or that has no claim, is no news."""
    here = await place()
    here.put(replace(CLAIM, volume_name="pv-2"), VOLUME)
    here.intake.volume_changed(None, VOLUME)
    here.intake.volume_changed(None, replace(VOLUME, claim_name=""))
    here.intake.volume_changed(VOLUME, None)
    assert here.waiting() == {}


async def test_a_recreated_claim_is_another(place):
    """The old one is announced as gone, by its own uid, and the new one gets its own look."""
    here = await place()
    gone = []
    end = here.intake.on_gone(gone.append)
    here.put(replace(CLAIM, uid="uid-2"), VOLUME)
    here.intake.claim_changed(CLAIM, replace(CLAIM, uid="uid-2"))
    assert [claim.uid for claim in gone] == ["uid-1"]
    assert here.waiting() == {DRIVER: 1}
    end()
    here.intake.claim_changed(CLAIM, None)
    assert len(gone) == 1


async def test_serving_begins_with_what_is_there(place, new_queue):
    """A driver that is served from now on gets its claims at once, the other's are not touched."""
    here = await place()
    here.put(CLAIM, VOLUME)
    here.intake.withdraw(DRIVER)
    here.intake.claim_changed(None, CLAIM)
    assert here.waiting() == {}
    queue = new_queue()
    here.intake.serve(DRIVER, queue)
    assert queue.depth() == 1
    assert here.waiting() == {}


async def test_leftovers_are_looked_at(place):
    """A finished claim whose volume bears `pre-resize-capacity` is cleared up, at start and at a resync."""
    here = await place()
    done = replace(CLAIM, capacity="5Gi")
    here.put(done, replace(VOLUME, capacity="5Gi", pre_resize_capacity="3Gi"))
    here.intake.claim_changed(None, done)
    assert here.waiting() == {DRIVER: 1}


async def test_a_pod_that_goes_wakes_the_claims_it_used(place):
    """An offline-only driver's claims wait for exactly that; others' changes wake nobody."""
    here = await place()
    here.put(CLAIM, VOLUME)
    here.intake.pod_changed(None, POD)
    here.intake.pod_changed(POD, replace(POD, version="2"))
    assert here.waiting() == {}
    here.intake.pod_changed(replace(POD, mounts=(PodMount("data"), PodMount("unknown"))), None)
    assert here.waiting() == {DRIVER: 1}


async def test_a_pod_made_again_under_its_name_wakes_the_claims_of_the_one_that_went(place):
    """A list shows a stateful pod's successor in its place, and running already: the one that was there has gone."""
    here = await place()
    here.put(CLAIM, VOLUME)
    here.intake.pod_changed(POD, replace(POD, uid="pod-2", version="2"))
    assert here.waiting() == {DRIVER: 1}


async def test_a_detached_volume_wakes_its_claim(place):
    """The attachment goes after the pod, and the claim is looked at again."""
    here = await place()
    here.put(CLAIM, VOLUME)
    attachment = Attachment("a", "1", volume_name="pv", node="n1", attached=True)
    here.intake.attachment_changed(None, attachment)
    here.intake.attachment_changed(attachment, replace(attachment, version="2"))
    assert here.waiting() == {}
    here.intake.attachment_changed(attachment, None)
    assert here.waiting() == {DRIVER: 1}
    await asyncio.sleep(0)
