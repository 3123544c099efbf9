from tests.component.pipeline.rig import GIB, is_grown, running_rig


async def test_a_claim_is_grown(folder):
    """The pipeline in this process takes a claim from its edit to its end."""
    async with running_rig(folder) as rig:
        rig.seed()
        rig.start()
        await rig.wait(is_grown(rig))
        assert rig.sizes() == [5 * GIB]
        await rig.wait(lambda: "Normal/VolumeResizeSuccessful" in rig.events())
        assert rig.events() == ["Normal/Resizing", "Normal/VolumeResizeSuccessful"]
