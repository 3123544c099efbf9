"""From the wire's nested objects to the flat values of `resizer.model.objects`.

Each wire struct names only the fields that are used; msgspec skips the rest without building it. Text that repeats
over thousands of objects (namespaces, classes, phases, sizes, drivers) is interned. An object that no sane server
sends raises MalformedObjectError here; `decode` counts and skips it.

Source: Kubernetes API reference, PersistentVolumeClaim, PersistentVolume, Pod v1, VolumeAttachment v1; KEP-1790.
"""

import sys
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from resizer.model.objects import (
    AZURE_RESOURCE_GROUP,
    NODE_EXPANSION_NOT_REQUIRED,
    NODE_LABEL_PREFIX,
    NUDGED_AT,
    OPENSTORAGE_SECRET_NAME,
    OPENSTORAGE_SECRET_NAMESPACE,
    PRE_RESIZE_CAPACITY,
    RETRY,
    STORAGE_RESIZER,
    ZONE,
    ZONE_BETA,
    Attachment,
    Claim,
    Condition,
    Pod,
    PodMount,
    Volume,
)
from resizer.model.quantity import MalformedQuantityError, parse_bytes

_NONE: Final = Raw(b"null")
_intern = sys.intern
_Wire = TypeVar("_Wire")


class MalformedObjectError(ValueError):
    """An object that cannot be read; the text says why."""


class _Size(Struct, gc=False):
    storage: str = ""


class _Annotations(Struct, gc=False):
    storage_resizer: str = field(default="", name=STORAGE_RESIZER)
    not_required: str | None = field(default=None, name=NODE_EXPANSION_NOT_REQUIRED)
    retry: str = field(default="", name=RETRY)
    pre_resize_capacity: str = field(default="", name=PRE_RESIZE_CAPACITY)
    nudged_at: str = field(default="", name=NUDGED_AT)
    azure_resource_group: str = field(default="", name=AZURE_RESOURCE_GROUP)
    openstorage_secret_name: str = field(default="", name=OPENSTORAGE_SECRET_NAME)
    openstorage_secret_namespace: str = field(default="", name=OPENSTORAGE_SECRET_NAMESPACE)


_NO_ANNOTATIONS: Final = _Annotations()
_NO_SIZE: Final = _Size()


class _Meta(Struct, gc=False, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    annotations: _Annotations | None = None
    labels: dict[str, str] | None = None


class _ClaimResources(Struct, gc=False):
    requests: _Size | None = None


class _ClaimSpec(Struct, gc=False, rename="camel"):
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_attributes_class_name: str | None = None
    resources: _ClaimResources | None = None


class _Condition(Struct, gc=False, rename="camel"):
    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_probe_time: str | None = None


class _ClaimStatus(Struct, gc=False, rename="camel"):
    phase: str = ""
    capacity: _Size | None = None
    allocated_resources: _Size | None = None
    allocated_resource_statuses: _Size | None = None
    conditions: list[_Condition] | None = None
    current_volume_attributes_class_name: str | None = None


class _Claim(Struct, gc=False):
    metadata: _Meta
    spec: _ClaimSpec = field(default_factory=_ClaimSpec)
    status: _ClaimStatus = field(default_factory=_ClaimStatus)


class _SecretRef(Struct, gc=False):
    name: str = ""
    namespace: str = ""


class _CsiSource(Struct, gc=False, rename="camel"):
    driver: str = ""
    volume_handle: str = ""
    fs_type: str = ""
    controller_expand_secret_ref: _SecretRef | None = None
    node_expand_secret_ref: _SecretRef | None = None


class _ClaimRef(Struct, gc=False):
    namespace: str = ""
    name: str = ""
    uid: str = ""


class _VolumeSpec(Struct, gc=False, rename="camel"):
    capacity: _Size | None = None
    claim_ref: _ClaimRef | None = None
    access_modes: list[str] | None = None
    mount_options: list[str] | None = None
    volume_mode: str | None = None
    storage_class_name: str = ""
    csi: _CsiSource | None = None
    gce_persistent_disk: Raw = _NONE
    aws_elastic_block_store: Raw = _NONE
    azure_disk: Raw = _NONE
    azure_file: Raw = _NONE
    cinder: Raw = _NONE
    vsphere_volume: Raw = _NONE
    portworx_volume: Raw = _NONE
    rbd: Raw = _NONE
    glusterfs: Raw = _NONE


_IN_TREE: Final = tuple(
    (info.name, info.encode_name) for info in msgspec.structs.fields(_VolumeSpec) if info.default is _NONE
)


class _Volume(Struct, gc=False):
    metadata: _Meta
    spec: _VolumeSpec = field(default_factory=_VolumeSpec)


class _ClaimSource(Struct, gc=False, rename="camel"):
    claim_name: str = ""
    read_only: bool = False


class _PodVolume(Struct, gc=False, rename="camel"):
    name: str
    persistent_volume_claim: _ClaimSource | None = None
    ephemeral: Raw = _NONE


class _Mount(Struct, gc=False, rename="camel"):
    name: str
    read_only: bool = False


class _Container(Struct, gc=False, rename="camel"):
    volume_mounts: list[_Mount] | None = None
    volume_devices: list[_Mount] | None = None


class _PodSpec(Struct, gc=False, rename="camel"):
    node_name: str = ""
    volumes: list[_PodVolume] | None = None
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    ephemeral_containers: list[_Container] | None = None


class _PodStatus(Struct, gc=False):
    phase: str = ""


class _Pod(Struct, gc=False):
    metadata: _Meta
    spec: _PodSpec = field(default_factory=_PodSpec)
    status: _PodStatus = field(default_factory=_PodStatus)


class _AttachmentSource(Struct, gc=False, rename="camel"):
    persistent_volume_name: str | None = None


class _AttachmentSpec(Struct, gc=False, rename="camel"):
    node_name: str = ""
    source: _AttachmentSource = field(default_factory=_AttachmentSource)


class _AttachmentStatus(Struct, gc=False):
    attached: bool = False


class _Attachment(Struct, gc=False):
    metadata: _Meta
    spec: _AttachmentSpec = field(default_factory=_AttachmentSpec)
    status: _AttachmentStatus = field(default_factory=_AttachmentStatus)


_claim_decoder: Final = msgspec.json.Decoder(_Claim)
_volume_decoder: Final = msgspec.json.Decoder(_Volume)
_pod_decoder: Final = msgspec.json.Decoder(_Pod)
_attachment_decoder: Final = msgspec.json.Decoder(_Attachment)


def decode_claim(data: bytes | Raw) -> Claim:
    """Read one PersistentVolumeClaim. Raises MalformedObjectError."""
    wire = _decode(_claim_decoder, data)
    meta, spec, status = wire.metadata, wire.spec, wire.status
    _check_identity(meta, namespaced=True)
    notes = meta.annotations or _NO_ANNOTATIONS
    resources = spec.resources
    return Claim(
        namespace=_intern(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        version=meta.resource_version,
        phase=_intern(status.phase),
        volume_name=spec.volume_name,
        storage_class=_intern(spec.storage_class_name or ""),
        requested=_size(resources.requests if resources else None, "spec.resources.requests.storage"),
        capacity=_size(status.capacity, "status.capacity.storage"),
        allocated=_size(status.allocated_resources, "status.allocatedResources.storage"),
        state=_intern((status.allocated_resource_statuses or _NO_SIZE).storage),
        conditions=tuple(_condition(c) for c in status.conditions) if status.conditions else (),
        storage_resizer=_intern(notes.storage_resizer),
        node_expansion_not_required=notes.not_required is not None,
        retry=notes.retry,
        node_labels=_node_labels(meta.labels),
        attributes_class=_intern(spec.volume_attributes_class_name or ""),
        current_attributes_class=_intern(status.current_volume_attributes_class_name or ""),
        deleting=meta.deletion_timestamp is not None,
    )


def decode_volume(data: bytes | Raw) -> Volume:
    """Read one PersistentVolume as it stands, in-tree sources untranslated. Raises MalformedObjectError."""
    wire = _decode(_volume_decoder, data)
    meta, spec = wire.metadata, wire.spec
    _check_identity(meta, namespaced=False)
    csi, ref = spec.csi or _CsiSource(), spec.claim_ref or _ClaimRef()
    expand, node_expand = csi.controller_expand_secret_ref or _SecretRef(), csi.node_expand_secret_ref or _SecretRef()
    in_tree_source, in_tree_json = ("", b"") if spec.csi is not None else _in_tree(spec)
    return Volume(
        name=meta.name,
        uid=meta.uid,
        version=meta.resource_version,
        capacity=_size(spec.capacity, "spec.capacity.storage"),
        claim_namespace=_intern(ref.namespace),
        claim_name=ref.name,
        claim_uid=ref.uid,
        driver=_intern(csi.driver),
        handle=csi.volume_handle,
        fs_type=_intern(csi.fs_type),
        volume_mode=_intern(spec.volume_mode or "Filesystem"),
        access_modes=_texts(spec.access_modes),
        mount_options=_texts(spec.mount_options),
        expand_secret_namespace=_intern(expand.namespace),
        expand_secret_name=_intern(expand.name),
        node_expand_secret_namespace=_intern(node_expand.namespace),
        node_expand_secret_name=_intern(node_expand.name),
        pre_resize_capacity=_intern((meta.annotations or _NO_ANNOTATIONS).pre_resize_capacity),
        storage_class=_intern(spec.storage_class_name),
        in_tree_source=in_tree_source,
        in_tree_json=in_tree_json,
        in_tree_notes=_in_tree_notes(meta) if in_tree_source else (),
    )


def decode_pod(data: bytes | Raw) -> Pod:
    """Read one Pod, as far as it concerns the claims it mounts. Raises MalformedObjectError."""
    wire = _decode(_pod_decoder, data)
    meta = wire.metadata
    _check_identity(meta, namespaced=True)
    return Pod(
        namespace=_intern(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        version=meta.resource_version,
        phase=_intern(wire.status.phase),
        node=_intern(wire.spec.node_name),
        mounts=_pod_mounts(meta.name, wire.spec),
        nudged_at=(meta.annotations or _NO_ANNOTATIONS).nudged_at,
        deleting=meta.deletion_timestamp is not None,
    )


def decode_attachment(data: bytes | Raw) -> Attachment:
    """Read one VolumeAttachment: the four fields that are kept. Raises MalformedObjectError."""
    wire = _decode(_attachment_decoder, data)
    _check_identity(wire.metadata, namespaced=False, needs_uid=False)
    return Attachment(
        name=wire.metadata.name,
        version=wire.metadata.resource_version,
        volume_name=wire.spec.source.persistent_volume_name or "",
        node=_intern(wire.spec.node_name),
        attached=wire.status.attached,
    )


def _decode(decoder: "msgspec.json.Decoder[_Wire]", data: bytes | Raw) -> "_Wire":
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedObjectError(str(error)[:200]) from error


def _check_identity(meta: _Meta, *, namespaced: bool, needs_uid: bool = True) -> None:
    for value, path in ((meta.name, "name"), (meta.namespace or not namespaced, "namespace")):
        if not value:
            raise MalformedObjectError(f"it has no metadata.{path}")
    if needs_uid and not meta.uid:
        raise MalformedObjectError("it has no metadata.uid")
    if not (meta.resource_version.isascii() and meta.resource_version.isdigit()):
        raise MalformedObjectError(f"its metadata.resourceVersion {meta.resource_version[:40]!r} is not a number")


def _size(size: _Size | None, path: str) -> str:
    if size is None or not size.storage:
        return ""
    try:
        parse_bytes(size.storage)
    except MalformedQuantityError as error:
        raise MalformedObjectError(f"{path}: {error}") from error
    return _intern(size.storage)


def _condition(wire: _Condition) -> Condition:
    return Condition(
        type=_intern(wire.type),
        status=_intern(wire.status),
        reason=_intern(wire.reason),
        message=wire.message,
        last_transition_time=wire.last_transition_time or "",
        last_probe_time=wire.last_probe_time or "",
    )


def _node_labels(labels: dict[str, str] | None) -> tuple[str, ...]:
    if not labels:
        return ()
    return tuple(sorted(_intern(label) for label in labels if label.startswith(NODE_LABEL_PREFIX)))


def _texts(values: list[str] | None) -> tuple[str, ...]:
    return tuple(_intern(value) for value in values) if values else ()


def _in_tree(spec: _VolumeSpec) -> tuple[str, bytes]:
    for attribute, name in _IN_TREE:
        raw = bytes(getattr(spec, attribute))
        if raw != b"null":
            return name, raw
    return "", b""


def _in_tree_notes(meta: _Meta) -> tuple[tuple[str, str], ...]:
    """Return the labels and annotations that the translation of an in-tree volume depends on."""
    labels, notes = meta.labels or {}, meta.annotations or _NO_ANNOTATIONS
    found = (
        (ZONE, labels.get(ZONE, "")),
        (ZONE_BETA, labels.get(ZONE_BETA, "")),
        (AZURE_RESOURCE_GROUP, notes.azure_resource_group),
        (OPENSTORAGE_SECRET_NAME, notes.openstorage_secret_name),
        (OPENSTORAGE_SECRET_NAMESPACE, notes.openstorage_secret_namespace),
    )
    return tuple((key, _intern(value)) for key, value in found if value)


def _pod_mounts(pod_name: str, spec: _PodSpec) -> tuple[PodMount, ...]:
    if not spec.volumes:
        return ()
    writers, readers = _volume_users(spec)
    mounts = []
    for volume in spec.volumes:
        # A volume that no container names is staged by the kubelet all the same, and counts as written.
        only_read = volume.name in readers and volume.name not in writers
        source = volume.persistent_volume_claim
        if source is not None and source.claim_name:
            mounts.append(PodMount(claim_name=source.claim_name, read_only=source.read_only or only_read))
        elif bytes(volume.ephemeral) != b"null":
            mounts.append(PodMount(claim_name=f"{pod_name}-{volume.name}", read_only=only_read))
    return tuple(mounts)


def _volume_users(spec: _PodSpec) -> tuple[set[str], set[str]]:
    """Return the names of volumes that some container may write to, and of those that some container reads."""
    writers: set[str] = set()
    readers: set[str] = set()
    for container in (*(spec.containers or ()), *(spec.init_containers or ()), *(spec.ephemeral_containers or ())):
        for mount in container.volume_mounts or ():
            (readers if mount.read_only else writers).add(mount.name)
        writers.update(device.name for device in container.volume_devices or ())
    return writers, readers
