import json

import pytest

from resizer.kube.projection import (
    ATTACHMENT,
    CLAIM,
    POD,
    VOLUME,
    MalformedObjectError,
)
from resizer.model.objects import Condition, PodMount

META = {"name": "data", "namespace": "shop", "uid": "u1", "resourceVersion": "7"}


def claim_json(**changes):
    document = {
        "metadata": {
            **META,
            "annotations": {
                "volume.kubernetes.io/storage-resizer": "d.csi",
                "volume.kubernetes.io/node-expansion-not-required": "true",
                "csi-resizer.dev/retry": "{}",
                "other": "x",
            },
            "labels": {"app": "db", "csi-resizer.dev/node-b": "", "csi-resizer.dev/node-a": ""},
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "volumeName": "pv1",
            "storageClassName": "fast",
            "volumeAttributesClassName": "gold",
            "resources": {"requests": {"storage": "400Gi"}},
        },
        "status": {
            "phase": "Bound",
            "capacity": {"storage": "300Gi"},
            "allocatedResources": {"storage": "400Gi"},
            "allocatedResourceStatuses": {"storage": "NodeResizePending"},
            "currentVolumeAttributesClassName": "silver",
            "conditions": [
                {
                    "type": "Resizing",
                    "status": "True",
                    "reason": "r",
                    "message": "m",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                    "lastProbeTime": None,
                }
            ],
        },
    }
    return {**document, **changes}


def encode(document):
    return json.dumps(document).encode()


def test_every_field_of_a_claim_is_read():
    """Each field of the projection comes from its place in the API's object; labels of nodes are sorted."""
    claim = CLAIM.decode(encode(claim_json()))
    assert (claim.key, claim.uid, claim.version, claim.phase) == ("shop/data", "u1", "7", "Bound")
    assert (claim.requested, claim.capacity, claim.allocated) == ("400Gi", "300Gi", "400Gi")
    assert (claim.state, claim.volume_name, claim.storage_class) == ("NodeResizePending", "pv1", "fast")
    assert claim.conditions == (Condition("Resizing", "True", "r", "m", "2026-01-01T00:00:00Z", ""),)
    assert (claim.storage_resizer, claim.node_expansion_not_required, claim.retry) == ("d.csi", True, "{}")
    assert claim.node_labels == ("csi-resizer.dev/node-a", "csi-resizer.dev/node-b")
    assert (claim.attributes_class, claim.current_attributes_class, claim.deleting) == ("gold", "silver", True)


def test_absent_and_null_fields_are_empty():
    """What is absent, or null as Go writes it, is empty text; it is no error."""
    bare = CLAIM.decode(encode({"metadata": META}))
    nulls = claim_json(
        metadata={**META, "annotations": None, "labels": None, "deletionTimestamp": None},
        spec={"storageClassName": None, "resources": {"requests": None}, "volumeAttributesClassName": None},
        status={"capacity": None, "conditions": None},
    )
    assert CLAIM.decode(encode(nulls)) == bare
    assert (bare.requested, bare.capacity, bare.conditions, bare.deleting) == ("", "", (), False)


def test_text_that_repeats_is_kept_once():
    """Two claims share the memory of their namespace, class and sizes."""
    one, two = (CLAIM.decode(encode(claim_json())) for _ in range(2))
    assert one.namespace is two.namespace
    assert one.requested is two.requested
    assert one.conditions[0].type is two.conditions[0].type


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"metadata": {}},
        {"metadata": {**META, "name": ""}},
        {"metadata": {**META, "namespace": ""}},
        {"metadata": {**META, "uid": ""}},
        {"metadata": {**META, "resourceVersion": "new"}},
        {"metadata": {**META, "name": 7}},
        {"metadata": META, "spec": []},
        {"metadata": META, "status": {"capacity": {"storage": 5}}},
        claim_json(spec={"resources": {"requests": {"storage": "1e30"}}}),
        claim_json(spec={"resources": {"requests": {"storage": "lots"}}}),
        claim_json(spec={"resources": {"requests": {"storage": "-1Gi"}}}),
        claim_json(status={"conditions": [{"status": "True"}]}),
        [],
    ],
)
def test_a_claim_that_no_sane_server_sends_is_refused(document):
    """Missing metadata, wrong types and impossible sizes are errors of one kind, never a crash or a half claim."""
    with pytest.raises(MalformedObjectError):
        CLAIM.decode(encode(document))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"metadata": nul'])
def test_bytes_that_are_no_json_are_refused(data):
    """Truncated, binary and absurdly nested input is refused like any other malformed object."""
    with pytest.raises(MalformedObjectError):
        CLAIM.decode(data)


def volume_json(**spec):
    return {
        "metadata": {
            "name": "pv1",
            "uid": "u2",
            "resourceVersion": "9",
            "annotations": {"volume.alpha.kubernetes.io/pre-resize-capacity": "300Gi"},
        },
        "spec": {
            "capacity": {"storage": "400Gi"},
            "accessModes": ["ReadWriteOnce"],
            "mountOptions": ["noatime"],
            "volumeMode": "Block",
            "storageClassName": "fast",
            "claimRef": {"namespace": "shop", "name": "data", "uid": "u1"},
            **spec,
        },
    }


def test_every_field_of_a_csi_volume_is_read():
    """Driver, handle, filesystem, both secrets, claimRef and the annotation come from their places."""
    csi = {
        "driver": "d.csi",
        "volumeHandle": "h",
        "fsType": "xfs",
        "controllerExpandSecretRef": {"name": "s1", "namespace": "n1"},
        "nodeExpandSecretRef": {"name": "s2", "namespace": "n2"},
    }
    volume = VOLUME.decode(encode(volume_json(csi=csi)))
    assert (volume.name, volume.uid, volume.version, volume.capacity) == ("pv1", "u2", "9", "400Gi")
    assert (volume.claim_key, volume.claim_uid) == ("shop/data", "u1")
    assert (volume.driver, volume.handle, volume.fs_type, volume.volume_mode) == ("d.csi", "h", "xfs", "Block")
    assert (volume.access_modes, volume.mount_options) == (("ReadWriteOnce",), ("noatime",))
    assert (volume.expand_secret_namespace, volume.expand_secret_name) == ("n1", "s1")
    assert (volume.node_expand_secret_namespace, volume.node_expand_secret_name) == ("n2", "s2")
    assert (volume.pre_resize_capacity, volume.storage_class, volume.in_tree_source) == ("300Gi", "fast", "")


@pytest.mark.parametrize("source", ["gcePersistentDisk", "awsElasticBlockStore", "azureDisk", "azureFile", "cinder"])
def test_an_in_tree_source_is_kept_as_it_was_written(source):
    """The translation to CSI needs the source's own JSON, and its name."""
    volume = VOLUME.decode(encode(volume_json(**{source: {"x": 1}})))
    assert (volume.in_tree_source, json.loads(volume.in_tree_json), volume.driver) == (source, {"x": 1}, "")


def test_what_translation_needs_besides_the_source_is_kept_for_in_tree_volumes_only():
    """Zone labels and the annotations of two providers go with an in-tree source; a CSI volume keeps none."""
    zone = "topology.kubernetes.io/zone"
    for source, kept in (({"gcePersistentDisk": {"pdName": "d"}}, ((zone, "z1"),)), ({"csi": {"driver": "d"}}, ())):
        document = volume_json(**source)
        document["metadata"]["labels"] = {zone: "z1", "app": "db"}
        assert VOLUME.decode(encode(document)).in_tree_notes == kept


def pod_json(volumes, containers, **spec):
    meta = {**META, "name": "db-0", "annotations": {"csi-resizer.dev/nudged-at": "t"}}
    return {
        "metadata": meta,
        "spec": {"nodeName": "n1", "volumes": volumes, "containers": containers, **spec},
        "status": {"phase": "Running"},
    }


def test_a_pods_claims_are_found_generic_ephemeral_ones_included():
    """A generic ephemeral volume's claim is called `<pod>-<volume>`; other volumes are no claims."""
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
        {"name": "tmp", "emptyDir": {}},
    ]
    pod = POD.decode(encode(pod_json(volumes, [{"volumeMounts": [{"name": "data"}, {"name": "scratch"}]}])))
    assert pod.mounts == (PodMount("data"), PodMount("db-0-scratch"))
    assert (pod.key, pod.phase, pod.node, pod.nudged_at, pod.deleting) == ("shop/db-0", "Running", "n1", "t", False)


@pytest.mark.parametrize(
    ("source", "containers", "read_only"),
    [
        ({}, [{"volumeMounts": [{"name": "v"}]}], False),
        ({"readOnly": True}, [{"volumeMounts": [{"name": "v"}]}], True),
        ({}, [{"volumeMounts": [{"name": "v", "readOnly": True}]}], False),
        ({}, [{"volumeDevices": [{"name": "v"}]}], False),
        ({}, [{}], False),
    ],
)
def test_a_mount_is_read_only_when_its_volume_is(source, containers, read_only):
    """A kubelet grows what containers mount read-only too; only the volume's own readOnly keeps it from that."""
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data", **source}}]
    assert POD.decode(encode(pod_json(volumes, containers))).mounts == (PodMount("data", read_only),)


def test_four_fields_of_an_attachment_are_read():
    """Volume, node and whether it is attached; inline volumes have no volume name."""
    meta = {"name": "a", "resourceVersion": "3"}
    spec = {"nodeName": "n1", "source": {"persistentVolumeName": "pv1"}}
    found = ATTACHMENT.decode(encode({"metadata": meta, "spec": spec, "status": {"attached": True}}))
    assert (found.name, found.volume_name, found.node, found.attached) == ("a", "pv1", "n1", True)
    inline = ATTACHMENT.decode(encode({"metadata": meta, "spec": {"nodeName": "n1", "source": {}}}))
    assert (inline.volume_name, inline.attached) == ("", False)
