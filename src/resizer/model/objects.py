"""Flat projections of the Kubernetes objects that a resize reads: one small value each, only the fields used.

`kube` makes them from the wire and keeps tens of thousands, so they hold text (interned by the decoder) and
small tuples, and are left out of garbage collection. Sizes stay as the text the API server sent, for writing
back; the `*_bytes` properties read them (through the bounded cache of `parse_quantity`). A decoder refuses an
object whose sizes cannot be read, so the properties do not fail on what it let through.

Sources: Kubernetes API reference (PersistentVolumeClaim, PersistentVolume, Pod, VolumeAttachment v1); KEP-1790
for `allocatedResources` and `allocatedResourceStatuses`.
"""

from typing import Final

from msgspec import Struct

from resizer.model.quantity import parse_bytes

# Values of the claim's allocatedResourceStatuses for storage: KEP-1790
CONTROLLER_RESIZE_IN_PROGRESS: Final = "ControllerResizeInProgress"
CONTROLLER_RESIZE_INFEASIBLE: Final = "ControllerResizeInfeasible"
NODE_RESIZE_PENDING: Final = "NodeResizePending"
NODE_RESIZE_IN_PROGRESS: Final = "NodeResizeInProgress"
NODE_RESIZE_INFEASIBLE: Final = "NodeResizeInfeasible"

# status.conditions[].type
RESIZING: Final = "Resizing"
FILE_SYSTEM_RESIZE_PENDING: Final = "FileSystemResizePending"
CONTROLLER_RESIZE_ERROR: Final = "ControllerResizeError"
NODE_RESIZE_ERROR: Final = "NodeResizeError"
RESIZE_CONDITIONS: Final = frozenset({RESIZING, FILE_SYSTEM_RESIZE_PENDING, CONTROLLER_RESIZE_ERROR, NODE_RESIZE_ERROR})

# annotations and labels
PRE_RESIZE_CAPACITY: Final = "volume.alpha.kubernetes.io/pre-resize-capacity"
NODE_EXPANSION_NOT_REQUIRED: Final = "volume.kubernetes.io/node-expansion-not-required"
STORAGE_RESIZER: Final = "volume.kubernetes.io/storage-resizer"
RETRY: Final = "csi-resizer.dev/retry"
NUDGED_AT: Final = "csi-resizer.dev/nudged-at"
ZONE: Final = "topology.kubernetes.io/zone"
ZONE_BETA: Final = "failure-domain.beta.kubernetes.io/zone"
AZURE_RESOURCE_GROUP: Final = "kubernetes.io/azure-file-resource-group"
OPENSTORAGE_SECRET_NAME: Final = "openstorage.io/auth-secret-name"  # noqa: S105 -- its key
OPENSTORAGE_SECRET_NAMESPACE: Final = "openstorage.io/auth-secret-namespace"  # noqa: S105 -- its key
NODE_LABEL_PREFIX: Final = "csi-resizer.dev/node-"


class Condition(Struct, frozen=True, gc=False):
    """One entry of a claim's `status.conditions`, every field kept so that foreign ones survive a patch."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    last_probe_time: str = ""


class Claim(Struct, frozen=True, gc=False):
    """A PersistentVolumeClaim. Empty text stands for a field that is absent."""

    namespace: str
    name: str
    uid: str
    version: str
    phase: str = ""
    volume_name: str = ""
    storage_class: str = ""
    requested: str = ""
    capacity: str = ""
    allocated: str = ""
    state: str = ""
    conditions: tuple[Condition, ...] = ()
    storage_resizer: str = ""
    node_expansion_not_required: bool = False
    retry: str = ""
    node_labels: tuple[str, ...] = ()
    attributes_class: str = ""
    current_attributes_class: str = ""
    deleting: bool = False

    @property
    def key(self) -> str:
        """The queue's key, `namespace/name`, as client-go writes it."""
        return f"{self.namespace}/{self.name}"

    @property
    def requested_bytes(self) -> int:
        """S: `spec.resources.requests.storage` in bytes, 0 when absent."""
        return parse_bytes(self.requested) if self.requested else 0

    @property
    def capacity_bytes(self) -> int:
        """C: `status.capacity.storage` in bytes, 0 when absent."""
        return parse_bytes(self.capacity) if self.capacity else 0

    @property
    def allocated_bytes(self) -> int:
        """A: `status.allocatedResources.storage` in bytes, 0 when absent."""
        return parse_bytes(self.allocated) if self.allocated else 0

    def condition(self, type_: str) -> Condition | None:
        """Return the condition of this type, if there is one."""
        return next((c for c in self.conditions if c.type == type_), None)

    def has_condition(self, type_: str) -> bool:
        """Whether the condition of this type is True."""
        found = self.condition(type_)
        return found is not None and found.status == "True"


class Volume(Struct, frozen=True, gc=False):
    """A PersistentVolume. `driver` and `handle` are those of its CSI source, after translation if migrated."""

    name: str
    uid: str
    version: str
    capacity: str = ""
    claim_namespace: str = ""
    claim_name: str = ""
    claim_uid: str = ""
    driver: str = ""
    handle: str = ""
    fs_type: str = ""
    volume_mode: str = "Filesystem"
    access_modes: tuple[str, ...] = ()
    mount_options: tuple[str, ...] = ()
    expand_secret_namespace: str = ""
    expand_secret_name: str = ""
    node_expand_secret_namespace: str = ""
    node_expand_secret_name: str = ""
    pre_resize_capacity: str | None = None
    """Text of the annotation; None without one, which an empty text is not."""
    storage_class: str = ""
    in_tree_source: str = ""
    """Name of the in-tree volume source ("gcePersistentDisk", ...), empty for a CSI volume."""
    in_tree_json: bytes = b""
    """That source as the API server wrote it; empty once it has been translated."""
    in_tree_notes: tuple[tuple[str, str], ...] = ()
    """Labels and annotations that translation reads, of in-tree volumes only."""
    untranslatable: str = ""
    """Why an in-tree volume has no CSI handle, for the person who wants it grown."""

    @property
    def capacity_bytes(self) -> int:
        """V: `spec.capacity.storage` in bytes, 0 when absent."""
        return parse_bytes(self.capacity) if self.capacity else 0

    @property
    def claim_key(self) -> str:
        """Key of the claim that `claimRef` names, empty when there is none."""
        return f"{self.claim_namespace}/{self.claim_name}" if self.claim_name else ""


class PodMount(Struct, frozen=True, gc=False):
    """One claim that a pod mounts. Generic ephemeral volumes stand under their claim's derived name."""

    claim_name: str
    read_only: bool = False


class Pod(Struct, frozen=True, gc=False):
    """A Pod, as far as it matters to the claims it mounts."""

    namespace: str
    name: str
    uid: str
    version: str
    phase: str = ""
    node: str = ""
    mounts: tuple[PodMount, ...] = ()
    nudged_at: str = ""
    deleting: bool = False

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def finished(self) -> bool:
        """A finished pod uses its volumes no longer (phase Succeeded or Failed)."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def uses_volumes(self) -> bool:
        """Whether it runs on a node, so that its volumes are in use there."""
        return bool(self.node) and self.phase == "Running"


class Attachment(Struct, frozen=True, gc=False):
    """A VolumeAttachment: which volume is attached to which node."""

    name: str
    version: str
    volume_name: str = ""
    node: str = ""
    attached: bool = False


class Node(Struct, frozen=True, gc=False):
    """A Node, as far as it matters to growth. `kubelet_version` as the kubelet reports it ("v1.34.1")."""

    name: str
    is_ready: bool = False
    kubelet_version: str = ""
