"""How each provider's in-tree volume is named in CSI: one function a provider, used by `translation` only.

Each takes the volume as the API server has it and returns it with handle, filesystem type, access modes and secrets
filled in. Raises UntranslatableError for a source that Kubernetes refuses to translate, too.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from resizer.model.objects import (
    AZURE_RESOURCE_GROUP,
    OPENSTORAGE_SECRET_NAME,
    OPENSTORAGE_SECRET_NAMESPACE,
    ZONE,
    ZONE_BETA,
    Volume,
)

UNSPECIFIED: Final = "UNSPECIFIED"
"""What GCE's driver takes for a project or a zone that only it can know."""
_ZONE_DELIMITER: Final = "__"
_AWS_VOLUME: Final = re.compile(r"vol-[^/]*")
_AZURE_ACCOUNT: Final = re.compile(r"azure-storage-account-(.+)-secret")
_AZURE_MANAGED: Final = "managed"


class UntranslatableError(ValueError):
    """Kubernetes does not translate this volume; the text says why, and what is expected."""


class _Disk(Struct, rename="camel"):
    """AWS, Cinder and Portworx: a volume's id and its filesystem."""

    volume_id: str = msgspec.field(default="", name="volumeID")
    fs_type: str = ""


class _GcePersistentDisk(Struct, rename="camel"):
    pd_name: str = ""
    fs_type: str = ""


class _AzureDisk(Struct, rename="camel"):
    disk_uri: str = msgspec.field(default="", name="diskURI")
    kind: str | None = None
    fs_type: str | None = None


class _AzureFile(Struct, rename="camel"):
    secret_name: str = ""
    share_name: str = ""
    secret_namespace: str | None = None


class _VsphereVolume(Struct, rename="camel"):
    volume_path: str = ""
    fs_type: str = ""


def translate_gce(volume: Volume) -> Volume:
    """A zonal disk by its zone label, a regional one by the region that its zones share."""
    disk = msgspec.json.decode(volume.in_tree_json, type=_GcePersistentDisk)
    notes = dict(volume.in_tree_notes)
    zones = (notes.get(ZONE_BETA) or notes.get(ZONE) or UNSPECIFIED).split(_ZONE_DELIMITER)
    place = f"zones/{zones[0]}" if len(zones) == 1 else f"regions/{_gce_region(zones)}"
    handle = f"projects/{UNSPECIFIED}/{place}/disks/{disk.pd_name}"
    return replace(volume, handle=handle, fs_type=disk.fs_type, access_modes=_gce_access_modes(volume.access_modes))


def _gce_region(zones: Iterable[str]) -> str:
    regions = set()
    for zone in zones:
        parts = zone.split("-")
        if len(parts) != 3:
            raise UntranslatableError(f"its zone label holds {zone!r}, which is not of the form us-central1-a")
        regions.add("-".join(parts[:2]))
    if len(regions) != 1:
        raise UntranslatableError(f"its zones lie in several regions ({', '.join(sorted(regions))}); one is expected")
    return regions.pop()


def _gce_access_modes(modes: tuple[str, ...]) -> tuple[str, ...]:
    """In-tree disks never enforced access modes, the CSI driver does: all but read-only ones count as once."""
    if not modes:
        return modes
    # ReadWriteMany counts as once, and once goes before read-only; ReadWriteOncePod beside read-only is passed over.
    is_read_only = "ReadOnlyMany" in modes and not {"ReadWriteOnce", "ReadWriteMany"} & set(modes)
    return ("ReadOnlyMany",) if is_read_only else ("ReadWriteOnce",)


def translate_aws(volume: Volume) -> Volume:
    """The id without aws:// and zone, which older clusters wrote before it."""
    disk = msgspec.json.decode(volume.in_tree_json, type=_Disk)
    return replace(volume, handle=_aws_volume_id(disk.volume_id), fs_type=disk.fs_type)


def _aws_volume_id(text: str) -> str:
    if not text.startswith("aws://"):
        return text
    place = re.split("[?#]", text.removeprefix("aws://"), maxsplit=1)[0]
    found = unquote(place.partition("/")[2]).strip("/")
    if _AWS_VOLUME.fullmatch(found) is None:
        raise UntranslatableError(f"its volumeID {text!r} is neither vol-ID nor aws://ZONE/vol-ID")
    return found


def translate_cinder(volume: Volume) -> Volume:
    """The id as it is."""
    disk = msgspec.json.decode(volume.in_tree_json, type=_Disk)
    return replace(volume, handle=disk.volume_id, fs_type=disk.fs_type)


def translate_azure_disk(volume: Volume) -> Volume:
    """The URI of a managed disk; disks of other kinds lie in storage accounts, which the CSI driver does not know."""
    disk = msgspec.json.decode(volume.in_tree_json, type=_AzureDisk)
    if disk.kind is not None and disk.kind.lower() != _AZURE_MANAGED:
        raise UntranslatableError(f"its kind is {disk.kind}, and only Managed disks have a CSI driver")
    return replace(volume, handle=disk.disk_uri, fs_type=disk.fs_type or "")


def translate_azure_file(volume: Volume) -> Volume:
    """Resource group, account, share, volume and the secret's namespace, which together name a share.

    The secret goes to the node only: the library names none for growth.
    """
    share = msgspec.json.decode(volume.in_tree_json, type=_AzureFile)
    found = _AZURE_ACCOUNT.search(share.secret_name)
    account = found[1] if found else share.secret_name
    namespace = volume.claim_namespace if share.secret_namespace is None else share.secret_namespace
    if not namespace:
        raise UntranslatableError("neither azureFile.secretNamespace nor claimRef says where its secret is")
    group = dict(volume.in_tree_notes).get(AZURE_RESOURCE_GROUP, "")
    return replace(volume, handle=f"{group}#{account}#{share.share_name}#{volume.name}#{namespace}", fs_type="")


def translate_vsphere(volume: Volume) -> Volume:
    """The path of the disk on its datastore."""
    disk = msgspec.json.decode(volume.in_tree_json, type=_VsphereVolume)
    return replace(volume, handle=disk.volume_path, fs_type=disk.fs_type)


def translate_portworx(volume: Volume) -> Volume:
    """The id as it is; the secret that the volume's annotations name goes to every call."""
    disk = msgspec.json.decode(volume.in_tree_json, type=_Disk)
    notes = dict(volume.in_tree_notes)
    name, namespace = notes.get(OPENSTORAGE_SECRET_NAME, ""), notes.get(OPENSTORAGE_SECRET_NAMESPACE, "")
    if not (name and namespace):
        name = namespace = ""
    return replace(
        volume,
        handle=disk.volume_id,
        fs_type=disk.fs_type,
        expand_secret_name=name,
        expand_secret_namespace=namespace,
        node_expand_secret_name=name,
        node_expand_secret_namespace=namespace,
    )
