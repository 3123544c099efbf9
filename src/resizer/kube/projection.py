"""From the wire's nested objects to the flat values of `resizer.model.objects`.

Each wire struct names only the fields that are used; msgspec skips the rest without building it. Text that repeats
over thousands of objects (namespaces, classes, phases, sizes, drivers) is interned. An object that no sane server
sends raises MalformedObjectError here; `decode` counts and skips it.

Source: Kubernetes API reference, PersistentVolumeClaim, PersistentVolume, Pod v1, VolumeAttachment v1; KEP-1790.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from resizer.kube.wire import (
    IN_TREE,
    NO_ANNOTATIONS,
    NO_SIZE,
    WireAttachment,
    WireClaim,
    WireClaimRef,
    WireCondition,
    WireCsiSource,
    WireMeta,
    WirePod,
    WirePodSpec,
    WireSecretRef,
    WireSize,
    WireVolume,
    WireVolumeSpec,
)
from resizer.model.objects import (
    AZURE_RESOURCE_GROUP,
    NODE_LABEL_PREFIX,
    OPENSTORAGE_SECRET_NAME,
    OPENSTORAGE_SECRET_NAMESPACE,
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

_intern = sys.intern
_Wire = TypeVar("_Wire")
T = TypeVar("T")

_CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
"""Types of the watch's events that hold an object of its resource; the others are BOOKMARK and ERROR."""
_NO_CSI_SOURCE: Final = WireCsiSource()
_NO_CLAIM_REF: Final = WireClaimRef()
_NO_SECRET_REF: Final = WireSecretRef()
_NODE_LABEL: Final = NODE_LABEL_PREFIX.encode()


class MalformedObjectError(ValueError):
    """An object that cannot be read; the text says why."""


class _Change(Struct, Generic[_Wire], gc=False):
    """A watch's event with its object."""

    type: str
    object: _Wire


class Kind(Generic[T]):
    """The objects of one resource: how they are read, alone or in the event of a watch."""

    def __init__(self, wire: type[_Wire], project: Callable[[_Wire], T]) -> None:
        self._objects = msgspec.json.Decoder(wire)
        self._changes: msgspec.json.Decoder[_Change[_Wire]] = msgspec.json.Decoder(_Change[wire])  # type: ignore[valid-type]
        self._project: Callable[[_Wire], T] = project

    def decode(self, data: bytes | Raw) -> T:
        """Read one object. Raises MalformedObjectError."""
        try:
            wire = self._objects.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedObjectError(str(error)[:200]) from error
        return self._project(wire)

    def decode_change(self, line: bytes) -> tuple[str, T] | None:
        """Read a watch's line in one go: the event's type and its object.

        None when it is no event of an object, or one that cannot be read: then it is to be taken apart.
        """
        try:
            change = self._changes.decode(line)
            return (change.type, self._project(change.object)) if change.type in _CHANGES else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, MalformedObjectError):
            return None


def _claim(wire: WireClaim) -> Claim:
    """Read one PersistentVolumeClaim."""
    meta, spec, status = wire.metadata, wire.spec, wire.status
    _check_identity(meta, namespaced=True)
    notes = meta.annotations or NO_ANNOTATIONS
    resources = spec.resources
    # In part by position: a call of more than 30 (each keyword counts twice) goes through a dictionary.
    return Claim(
        _intern(meta.namespace),
        meta.name,
        meta.uid,
        meta.resource_version,
        _intern(status.phase),
        spec.volume_name,
        _intern(spec.storage_class_name or ""),
        _size(resources.requests if resources else None, "spec.resources.requests.storage"),
        capacity=_size(status.capacity, "status.capacity.storage"),
        allocated=_size(status.allocated_resources, "status.allocatedResources.storage"),
        state=_intern((status.allocated_resource_statuses or NO_SIZE).storage),
        conditions=tuple(_condition(c) for c in status.conditions) if status.conditions else (),
        storage_resizer=_intern(notes.storage_resizer),
        node_expansion_not_required=notes.not_required is not None,
        retry=notes.retry,
        node_labels=_node_labels(meta.labels),
        attributes_class=_intern(spec.volume_attributes_class_name or ""),
        current_attributes_class=_intern(status.current_volume_attributes_class_name or ""),
        deleting=meta.deletion_timestamp is not None,
    )


def _volume(wire: WireVolume) -> Volume:
    """Read one PersistentVolume as it stands, in-tree sources untranslated."""
    meta, spec = wire.metadata, wire.spec
    _check_identity(meta, namespaced=False)
    csi, ref = spec.csi or _NO_CSI_SOURCE, spec.claim_ref or _NO_CLAIM_REF
    expand = csi.controller_expand_secret_ref or _NO_SECRET_REF
    node_expand = csi.node_expand_secret_ref or _NO_SECRET_REF
    in_tree_source, in_tree_json = ("", b"") if spec.csi is not None else _in_tree(spec)
    # In part by position, as above.
    return Volume(
        meta.name,
        meta.uid,
        meta.resource_version,
        _size(spec.capacity, "spec.capacity.storage"),
        _intern(ref.namespace),
        ref.name,
        ref.uid,
        _intern(csi.driver),
        csi.volume_handle,
        _intern(csi.fs_type),
        _intern(spec.volume_mode or "Filesystem"),
        _texts(spec.access_modes),
        _texts(spec.mount_options),
        _intern(expand.namespace),
        expand_secret_name=_intern(expand.name),
        node_expand_secret_namespace=_intern(node_expand.namespace),
        node_expand_secret_name=_intern(node_expand.name),
        pre_resize_capacity=(meta.annotations or NO_ANNOTATIONS).pre_resize_capacity,
        storage_class=_intern(spec.storage_class_name),
        in_tree_source=in_tree_source,
        in_tree_json=in_tree_json,
        in_tree_notes=_in_tree_notes(meta) if in_tree_source else (),
    )


def _pod(wire: WirePod) -> Pod:
    """Read one Pod, as far as it concerns the claims it mounts."""
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
        nudged_at=(meta.annotations or NO_ANNOTATIONS).nudged_at,
        deleting=meta.deletion_timestamp is not None,
    )


def _attachment(wire: WireAttachment) -> Attachment:
    """Read one VolumeAttachment: the four fields that are kept."""
    _check_identity(wire.metadata, namespaced=False, needs_uid=False)
    return Attachment(
        name=wire.metadata.name,
        version=wire.metadata.resource_version,
        volume_name=wire.spec.source.persistent_volume_name or "",
        node=_intern(wire.spec.node_name),
        attached=wire.status.attached,
    )


def _check_identity(meta: WireMeta, *, namespaced: bool, needs_uid: bool = True) -> None:
    if not meta.name:
        raise MalformedObjectError("it has no metadata.name")
    if namespaced and not meta.namespace:
        raise MalformedObjectError("it has no metadata.namespace")
    if needs_uid and not meta.uid:
        raise MalformedObjectError("it has no metadata.uid")
    if not (meta.resource_version.isascii() and meta.resource_version.isdigit()):
        raise MalformedObjectError(f"its metadata.resourceVersion {meta.resource_version[:40]!r} is not a number")


def _size(size: WireSize | None, path: str) -> str:
    if size is None or not size.storage:
        return ""
    try:
        parse_bytes(size.storage)
    except MalformedQuantityError as error:
        raise MalformedObjectError(f"{path}: {error}") from error
    return _intern(size.storage)


def _condition(wire: WireCondition) -> Condition:
    return Condition(
        type=_intern(wire.type),
        status=_intern(wire.status),
        reason=_intern(wire.reason),
        message=wire.message,
        last_transition_time=wire.last_transition_time or "",
        last_probe_time=wire.last_probe_time or "",
    )


def _node_labels(labels: Raw) -> tuple[str, ...]:
    written = bytes(labels)
    # Not `in`: for bytes, Python 3.11 first makes and drops the error that they are no integer.
    if written.find(_NODE_LABEL) < 0 and written.find(b"\\") < 0:
        return ()
    return tuple(sorted(_intern(label) for label in _labels(labels) if label.startswith(NODE_LABEL_PREFIX)))


def _labels(labels: Raw) -> dict[str, str]:
    try:
        return _label_decoder.decode(labels) or {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedObjectError(f"metadata.labels: {error!s:.200}") from error


def _texts(values: list[str] | None) -> tuple[str, ...]:
    return _shared(tuple(values)) if values else ()


@lru_cache(maxsize=1024)
def _shared(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first tuple that was equal to this one: thousands of volumes have the same access modes."""
    return values


def _in_tree(spec: WireVolumeSpec) -> tuple[str, bytes]:
    for attribute, name in IN_TREE:
        raw = bytes(getattr(spec, attribute))
        if raw != b"null":
            return name, raw
    return "", b""


def _in_tree_notes(meta: WireMeta) -> tuple[tuple[str, str], ...]:
    """Return the labels and annotations that the translation of an in-tree volume depends on."""
    labels, notes = _labels(meta.labels), meta.annotations or NO_ANNOTATIONS
    found = (
        (ZONE, labels.get(ZONE, "")),
        (ZONE_BETA, labels.get(ZONE_BETA, "")),
        (AZURE_RESOURCE_GROUP, notes.azure_resource_group),
        (OPENSTORAGE_SECRET_NAME, notes.openstorage_secret_name),
        (OPENSTORAGE_SECRET_NAMESPACE, notes.openstorage_secret_namespace),
    )
    return tuple((key, _intern(value)) for key, value in found if value)


def _pod_mounts(pod_name: str, spec: WirePodSpec) -> tuple[PodMount, ...]:
    """Claims of the pod's volumes. A kubelet goes by the volume's own readOnly, not by how containers mount it."""
    mounts = []
    for volume in spec.volumes or ():
        source = volume.persistent_volume_claim
        if source is not None and source.claim_name:
            mounts.append(PodMount(claim_name=source.claim_name, read_only=source.read_only))
        elif bytes(volume.ephemeral) != b"null":
            mounts.append(PodMount(claim_name=f"{pod_name}-{volume.name}"))
    return tuple(mounts)


_label_decoder: Final = msgspec.json.Decoder(dict[str, str] | None)
CLAIM: Final = Kind(WireClaim, _claim)
VOLUME: Final = Kind(WireVolume, _volume)
POD: Final = Kind(WirePod, _pod)
ATTACHMENT: Final = Kind(WireAttachment, _attachment)


def translated_volume(translate: Callable[[Volume], Volume]) -> Kind[Volume]:
    """Return volumes of which those with an in-tree source are put through `translate`."""

    def project(wire: WireVolume) -> Volume:
        volume = _volume(wire)
        return translate(volume) if volume.in_tree_source else volume

    return Kind(WireVolume, project)
