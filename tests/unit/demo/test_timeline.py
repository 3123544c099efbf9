"""A timeline reads the stages of a growth off the objects."""

from resizer.demo.timeline import Timeline

GIB = 1024**3


def claim(*, requested="2Gi", capacity="1Gi", allocated=None, state=None, conditions=()):
    status = {"capacity": {"storage": capacity}, "conditions": [{"type": one, "status": "True"} for one in conditions]}
    if allocated:
        status["allocatedResources"] = {"storage": allocated}
    if state:
        status["allocatedResourceStatuses"] = {"storage": state}
    return {"spec": {"resources": {"requests": {"storage": requested}}}, "status": status}


def timeline(**more):
    return Timeline(claim="data", volume="pv", target_bytes=2 * GIB, asked_at=100.0, **more)


def test_a_whole_growth_in_order():
    """Each object's state reaches its stage once, at the first time it is seen."""
    seen = timeline()
    assert not seen.see_claim(claim(), 100.1)
    assert seen.see_claim(claim(allocated="2Gi", state="ControllerResizeInProgress"), 100.2)
    assert seen.see_driver("ControllerExpandVolume", 100.3)
    assert seen.see_volume({"spec": {"capacity": {"storage": "2Gi"}}}, 100.4)
    assert seen.see_claim(claim(allocated="2Gi", state="NodeResizePending"), 100.5)
    assert seen.see_pod({"metadata": {"annotations": {"csi-resizer.dev/nudged-at": "x"}}}, 100.6)
    assert seen.see_claim(claim(allocated="2Gi", state="NodeResizeInProgress"), 100.7)
    assert seen.see_driver("NodeExpandVolume", 100.8)
    assert not seen.is_done
    assert seen.see_claim(claim(allocated="2Gi", capacity="2Gi"), 100.9)
    assert seen.is_done
    assert [round(at, 1) for at in seen.times_s.values()] == [0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert not seen.see_claim(claim(allocated="2Gi", capacity="2Gi"), 105)


def test_states_of_an_earlier_growth_count_for_nothing():
    """What still stands from the growth before (smaller target, its nudge, open conditions) reaches no stage."""
    seen = timeline(nudged_before="old")
    assert not seen.see_claim(claim(allocated="1Gi", state="NodeResizePending"), 101)
    assert not seen.see_pod({"metadata": {"annotations": {"csi-resizer.dev/nudged-at": "old"}}}, 101)
    assert not seen.see_volume({"spec": {"capacity": {"storage": "1Gi"}}}, 101)
    assert not seen.see_driver("NodeStageVolume", 101)
    assert not seen.see_claim(claim(allocated="2Gi", capacity="2Gi", conditions=["Resizing"]), 101)
    assert not seen.see_claim(claim(requested="1Gi", capacity="2Gi"), 101)
    assert not seen.is_done


def test_claim_that_has_the_size_already_is_done():
    """The answer to an edit that changes nothing ends the growth."""
    seen = timeline()
    assert seen.see_claim(claim(capacity="2Gi"), 100.0)
    assert seen.is_done
