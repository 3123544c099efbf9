import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from resizer.core.eligibility import find_obstacle
from resizer.csi.plugin_v1 import check_request
from resizer.csi.translation import MIGRATION_TARGETS, translate
from resizer.kube.projection import VOLUME
from resizer.model.errors import NotCalledError
from resizer.model.objects import Claim

CASES = [json.loads(line) for line in Path("tests/data/translation.jsonl").read_text().splitlines()]
CLAIM = Claim("shop", "data", "c1", "9", phase="Bound", volume_name="pv1", requested="400Gi", capacity="300Gi")


def translated(source, body, **metadata):
    meta = {"name": "pv1", "uid": "u1", "resourceVersion": "7", **metadata}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "claimRef": {"namespace": "shop", "name": "data", "uid": "c1"},
        source: body,
    }
    return translate(VOLUME.decode(json.dumps({"metadata": meta, "spec": spec}).encode()))


def secret(namespace, name):
    return f"{namespace}/{name}" if name else None


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_a_volume_is_translated_as_kubernetes_translates_it(case):
    """Driver, handle, filesystem, access modes and secrets are those of csi-translation-lib; it refuses, we refuse."""
    volume = translate(VOLUME.decode(json.dumps(case["volume"]).encode()))
    assert volume.in_tree_source, "it stays known as migrated"
    assert volume.in_tree_json == b"", "tens of thousands are kept: the source is not needed twice"
    if "error" in case:
        assert "pv1" in volume.untranslatable
        assert volume.driver in MIGRATION_TARGETS, "the driver that ought to grow it says why it does not"
        with pytest.raises(NotCalledError, match="cannot be translated"):
            check_request(volume, size_bytes=1)
        return
    assert volume.untranslatable == ""
    expected = case["csi"]
    assert {
        "driver": volume.driver,
        "handle": volume.handle,
        "fsType": volume.fs_type,
        "accessModes": list(volume.access_modes),
        "expandSecret": secret(volume.expand_secret_namespace, volume.expand_secret_name),
        "nodeExpandSecret": secret(volume.node_expand_secret_namespace, volume.node_expand_secret_name),
    } == {"expandSecret": None, "nodeExpandSecret": None, **expected}


def test_the_recorded_cases_cover_every_provider():
    """Each provider that Kubernetes translates has recorded cases."""
    assert {case["csi"]["driver"] for case in CASES if "csi" in case} == MIGRATION_TARGETS


@pytest.mark.parametrize(
    ("source", "words"), [("rbd", "CSI driver rbd.csi.ceph.com"), ("glusterfs", "copy the data to a new volume")]
)
def test_what_kubernetes_dropped_is_refused_with_the_way_out(source, words):
    """Neither rbd nor glusterfs has a driver here; the reason names the volume, the cause and what to do."""
    volume = translated(source, {"path": "x"})
    assert volume.driver == ""
    assert '"pv1"' in volume.untranslatable
    assert words in volume.untranslatable


@pytest.mark.parametrize("body", [[], 7, {"pdName": 7}, {"pdName": "d", "fsType": []}], ids=str)
def test_a_source_of_odd_types_is_explained(body):
    """What no API server would store costs nothing but that one volume, and says which field is wrong."""
    volume = translated("gcePersistentDisk", body)
    assert "spec.gcePersistentDisk is malformed" in volume.untranslatable
    assert volume.handle == ""


def test_a_migrated_volume_is_grown_only_if_the_annotation_names_the_driver():
    """Without `storage-resizer` the in-tree plugin still grows it: two resizers for one disk would be one too many."""
    volume = translated("awsElasticBlockStore", {"volumeID": "vol-1"})
    driver = "ebs.csi.aws.com"
    for named, obstacle in (("", "driver-not-served"), ("kubernetes.io/aws-ebs", "driver-not-served"), (driver, None)):
        claim = replace(CLAIM, storage_resizer=named)
        assert find_obstacle(claim, volume, driver=driver) == obstacle, named
    assert find_obstacle(CLAIM, volume, driver="other.csi") == "driver-not-served"


def test_a_csi_volume_needs_no_annotation():
    """The annotation guards migrated volumes only."""
    volume = translated("csi", {"driver": "d", "volumeHandle": "h"})
    assert find_obstacle(CLAIM, volume, driver="d") is None
