"""The objects of the Kubernetes API as they come over the wire, nested, with the fields that are used and no others.

msgspec builds only what is named here. `projection` makes the flat values from them that the program keeps.

Source: Kubernetes API reference, PersistentVolumeClaim, PersistentVolume, Pod v1, VolumeAttachment v1; KEP-1790.
"""

from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from resizer.model.objects import (
    AZURE_RESOURCE_GROUP,
    NODE_EXPANSION_NOT_REQUIRED,
    NUDGED_AT,
    OPENSTORAGE_SECRET_NAME,
    OPENSTORAGE_SECRET_NAMESPACE,
    PRE_RESIZE_CAPACITY,
    RETRY,
    STORAGE_RESIZER,
)

NONE: Final = Raw(b"null")


class WireSize(Struct, gc=False):
    """The storage entry of a resource list, or of a map keyed by resource."""

    storage: str = ""


class WireAnnotations(Struct, gc=False):
    """The annotations that are read."""

    storage_resizer: str = field(default="", name=STORAGE_RESIZER)
    not_required: str | None = field(default=None, name=NODE_EXPANSION_NOT_REQUIRED)
    retry: str = field(default="", name=RETRY)
    pre_resize_capacity: str | None = field(default=None, name=PRE_RESIZE_CAPACITY)
    nudged_at: str = field(default="", name=NUDGED_AT)
    azure_resource_group: str = field(default="", name=AZURE_RESOURCE_GROUP)
    openstorage_secret_name: str = field(default="", name=OPENSTORAGE_SECRET_NAME)
    openstorage_secret_namespace: str = field(default="", name=OPENSTORAGE_SECRET_NAMESPACE)


NO_ANNOTATIONS: Final = WireAnnotations()
NO_SIZE: Final = WireSize()


class WireMeta(Struct, gc=False, rename="camel"):
    """ObjectMeta."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    annotations: WireAnnotations | None = None
    labels: Raw = NONE
    """As written: hardly any object has a label that is read."""


class WireClaimResources(Struct, gc=False):
    """A claim's spec.resources."""

    requests: WireSize | None = None


class WireClaimSpec(Struct, gc=False, rename="camel"):
    """A claim's spec."""

    volume_name: str = ""
    storage_class_name: str | None = None
    volume_attributes_class_name: str | None = None
    resources: WireClaimResources | None = None


class WireCondition(Struct, gc=False, rename="camel"):
    """A claim's condition."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_probe_time: str | None = None


class WireClaimStatus(Struct, gc=False, rename="camel"):
    """A claim's status."""

    phase: str = ""
    capacity: WireSize | None = None
    allocated_resources: WireSize | None = None
    allocated_resource_statuses: WireSize | None = None
    conditions: list[WireCondition] | None = None
    current_volume_attributes_class_name: str | None = None


class WireClaim(Struct, gc=False):
    """A PersistentVolumeClaim."""

    metadata: WireMeta
    spec: WireClaimSpec = field(default_factory=WireClaimSpec)
    status: WireClaimStatus = field(default_factory=WireClaimStatus)


class WireSecretRef(Struct, gc=False):
    """A SecretReference."""

    name: str = ""
    namespace: str = ""


class WireCsiSource(Struct, gc=False, rename="camel"):
    """A volume's CSI source."""

    driver: str = ""
    volume_handle: str = ""
    fs_type: str = ""
    controller_expand_secret_ref: WireSecretRef | None = None
    node_expand_secret_ref: WireSecretRef | None = None


class WireClaimRef(Struct, gc=False):
    """A volume's claimRef."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


class WireVolumeSpec(Struct, gc=False, rename="camel"):
    """A volume's spec; in-tree sources are kept as they were written."""

    capacity: WireSize | None = None
    claim_ref: WireClaimRef | None = None
    access_modes: list[str] | None = None
    mount_options: list[str] | None = None
    volume_mode: str | None = None
    storage_class_name: str = ""
    csi: WireCsiSource | None = None
    gce_persistent_disk: Raw = NONE
    aws_elastic_block_store: Raw = NONE
    azure_disk: Raw = NONE
    azure_file: Raw = NONE
    cinder: Raw = NONE
    vsphere_volume: Raw = NONE
    portworx_volume: Raw = NONE
    rbd: Raw = NONE
    glusterfs: Raw = NONE


IN_TREE: Final = tuple(
    (info.name, info.encode_name) for info in msgspec.structs.fields(WireVolumeSpec) if info.default is NONE
)


class WireVolume(Struct, gc=False):
    """A PersistentVolume."""

    metadata: WireMeta
    spec: WireVolumeSpec = field(default_factory=WireVolumeSpec)


class WireClaimSource(Struct, gc=False, rename="camel"):
    """A pod's volume that is a claim."""

    claim_name: str = ""
    read_only: bool = False


class WirePodVolume(Struct, gc=False, rename="camel"):
    """A pod's volume."""

    name: str
    persistent_volume_claim: WireClaimSource | None = None
    ephemeral: Raw = NONE


class WirePodSpec(Struct, gc=False, rename="camel"):
    """A pod's spec."""

    node_name: str = ""
    volumes: list[WirePodVolume] | None = None


class WirePodStatus(Struct, gc=False):
    """A pod's status."""

    phase: str = ""


class WirePod(Struct, gc=False):
    """A Pod."""

    metadata: WireMeta
    spec: WirePodSpec = field(default_factory=WirePodSpec)
    status: WirePodStatus = field(default_factory=WirePodStatus)


class WireAttachmentSource(Struct, gc=False, rename="camel"):
    """What is attached."""

    persistent_volume_name: str | None = None


class WireAttachmentSpec(Struct, gc=False, rename="camel"):
    """An attachment's spec."""

    node_name: str = ""
    source: WireAttachmentSource = field(default_factory=WireAttachmentSource)


class WireAttachmentStatus(Struct, gc=False):
    """An attachment's status."""

    attached: bool = False


class WireAttachment(Struct, gc=False):
    """A VolumeAttachment."""

    metadata: WireMeta
    spec: WireAttachmentSpec = field(default_factory=WireAttachmentSpec)
    status: WireAttachmentStatus = field(default_factory=WireAttachmentStatus)
