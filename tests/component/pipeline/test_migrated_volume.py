from tests.component.pipeline.rig import GIB, NAMESPACE, claim_body, is_grown, running_rig
from tests.scripted_driver import Plan

EBS = "ebs.csi.aws.com"
STORAGE_RESIZER = "volume.kubernetes.io/storage-resizer"


def seed_in_tree(rig, name, source, *, resizer=""):
    """A bound claim that asks for 5Gi of an in-tree volume of 3Gi."""
    annotations = {STORAGE_RESIZER: resizer} if resizer else None
    claim = rig.create("persistentvolumeclaims", claim_body(name, requested="5Gi", annotations=annotations))
    rig.set_status(name, {"phase": "Bound", "capacity": {"storage": "3Gi"}, "accessModes": ["ReadWriteOnce"]})
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "3Gi"},
        "storageClassName": "fast",
        "claimRef": {
            "kind": "PersistentVolumeClaim",
            "namespace": NAMESPACE,
            "name": name,
            "uid": claim["metadata"]["uid"],
        },
        **source,
    }
    rig.create("persistentvolumes", {"metadata": {"name": f"pv-{name}"}, "spec": spec})


def ebs(volume_id):
    return {"awsElasticBlockStore": {"volumeID": volume_id, "fsType": "ext4"}}


async def test_a_migrated_volume_is_grown_by_its_csi_driver(folder):
    """The driver is asked with the translated handle; the volume object keeps its in-tree source and grows.

    A claim whose annotation names the in-tree plugin is left to that, until the annotation names the driver.
    """
    async with running_rig(folder, Plan(name=EBS, node_expansion_required=False)) as rig:
        seed_in_tree(rig, "data", ebs("aws://eu-west-1a/vol-1"), resizer=EBS)
        seed_in_tree(rig, "left", ebs("vol-2"), resizer="kubernetes.io/aws-ebs")
        rig.start()
        await rig.wait(is_grown(rig))
        await rig.wait(lambda: "Normal/VolumeResizeSuccessful" in rig.events())
        (call,) = rig.driver.calls_of("ControllerExpandVolume")
        assert call.request["volume_id"] == "vol-1"
        assert call.request["volume_capability"]["mount"] == {"fs_type": "ext4"}
        spec = rig.volume()["spec"]
        assert (spec["capacity"]["storage"], "csi" in spec) == ("5Gi", False)
        assert rig.events("left") == []

        rig.patch(
            "persistentvolumeclaims", "left", lambda doc: doc["metadata"]["annotations"].update({STORAGE_RESIZER: EBS})
        )
        await rig.wait(is_grown(rig, name="left"))
        assert [call.request["volume_id"] for call in rig.driver.calls_of("ControllerExpandVolume")] == [
            "vol-1",
            "vol-2",
        ]


async def test_a_volume_that_cannot_be_translated_says_why(folder):
    """The claim's event names the volume and the field; the driver is not called, and another claim grows."""
    async with running_rig(folder, Plan(name=EBS, node_expansion_required=False)) as rig:
        seed_in_tree(rig, "data", ebs("aws://eu-west-1a/disk-1"), resizer=EBS)
        seed_in_tree(rig, "other", ebs("vol-2"), resizer=EBS)
        rig.start()
        await rig.wait(is_grown(rig, name="other"))
        await rig.wait(lambda: "Warning/VolumeResizeFailed" in rig.events())
        assert 'volume "pv-data" cannot be translated for ebs.csi.aws.com: its volumeID' in rig.event_messages()
        assert [call.request["volume_id"] for call in rig.driver.calls_of("ControllerExpandVolume")] == ["vol-2"]


async def test_rbd_and_glusterfs_are_refused_once_with_the_way_out(folder):
    """Each claim gets one event that says what to do; a new wish gets another, a resync or a label does not."""
    async with running_rig(folder, Plan(name=EBS, node_expansion_required=False)) as rig:
        seed_in_tree(rig, "data", {"rbd": {"monitors": ["a"], "image": "i"}})
        seed_in_tree(rig, "glued", {"glusterfs": {"endpoints": "e", "path": "p"}})
        rig.start(resync_period="50ms")
        await rig.wait(lambda: rig.events() + rig.events("glued") == ["Warning/VolumeResizeFailed"] * 2)
        assert "CSI driver rbd.csi.ceph.com" in rig.event_messages()
        assert "glusterfs" in rig.event_messages("glued")
        rig.patch("persistentvolumeclaims", "data", lambda doc: doc["metadata"].update(labels={"a": "b"}))
        seed_in_tree(rig, "later", ebs("vol-2"), resizer=EBS)
        await rig.wait(is_grown(rig, name="later"))
        counts = [v.document()["count"] for v in rig.server.store.named("events").objects.values()]
        assert max(counts) == 1
        rig.ask(f"{6 * GIB}")
        await rig.wait(
            lambda: any(
                v.document()["count"] == 2 and v.document()["involvedObject"]["name"] == "data"
                for v in rig.server.store.named("events").objects.values()
            )
        )
        assert rig.volume()["spec"]["capacity"]["storage"] == "3Gi"
