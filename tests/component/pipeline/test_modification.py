"""A driver that could modify volumes: Resizer says that it does not, once for each class, and grows all the same."""

from tests.component.pipeline.rig import is_grown, running_rig
from tests.scripted_driver import Plan

MODIFIES = Plan(node_expansion_required=False, controller_capabilities=("EXPAND_VOLUME", "MODIFY_VOLUME"))
EVENT = "Warning/VolumeModifyUnsupported"


async def test_a_class_that_is_asked_for_is_answered_once_and_growth_goes_on(tmp_path_factory):
    """One warning at the start, one event a class, none without a wish; the volume grows as any other."""
    async with running_rig(tmp_path_factory.mktemp("m"), MODIFIES) as rig:
        rig.seed("before", requested="3Gi")
        rig.seed("later", requested="3Gi")
        rig.seed("plain", requested="3Gi")
        want(rig, "before", "gold")
        rig.start()
        await rig.wait(lambda: EVENT in rig.events("before"))
        want(rig, "later", "silver")
        await rig.wait(lambda: EVENT in rig.events("later"))
        for name in ("before", "later", "plain"):
            rig.ask("5Gi", name)
        for name in ("before", "later", "plain"):
            await rig.wait(is_grown(rig, name=name))
        await rig.stop()
        assert rig.events("before").count(EVENT) == 1
        assert "to get gold" in rig.event_messages("before")
        assert EVENT not in rig.events("plain")
        assert len(rig.logged("driver.modification_not_done")) == 1


async def test_a_driver_that_modifies_nothing_is_not_spoken_of(tmp_path_factory):
    """Without MODIFY_VOLUME neither warning nor event: the wish is somebody else's to answer."""
    async with running_rig(tmp_path_factory.mktemp("m"), Plan(node_expansion_required=False)) as rig:
        rig.seed("data")
        want(rig, "data", "gold")
        rig.start()
        await rig.wait(is_grown(rig))
        await rig.stop()
        assert EVENT not in rig.events()
        assert rig.logged("driver.modification_not_done") == []


def want(rig, name, class_):
    """The user asks for this VolumeAttributesClass."""
    rig.patch("persistentvolumeclaims", name, lambda doc: doc["spec"].update(volumeAttributesClassName=class_))
