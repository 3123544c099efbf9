"""In-tree volumes as CSI knows them: driver, handle, filesystem, access modes and secrets. Pure.

`KubeClient` puts every volume with an in-tree source through `translate` before anything else sees it, so that the
rest of the program knows CSI volumes only. What comes out keeps `in_tree_source`: such a volume is grown only if the
claim's `storage-resizer` annotation names the CSI driver (core.eligibility). The volume object itself is never
rewritten; translation is how CSI drivers are asked for disks that were made before they existed.

The rules are Kubernetes' own (csi-translation-lib, KEP-625), held against what that library says of the volumes in
`tests/data/translation.jsonl`. ControllerExpandVolume carries no volume attributes, so none are made up here.

| source | driver | handle |
| --- | --- | --- |
| gcePersistentDisk | pd.csi.storage.gke.io | projects/UNSPECIFIED/{zones,regions}/Z/disks/NAME |
| awsElasticBlockStore | ebs.csi.aws.com | vol-..., without aws://ZONE/ |
| azureDisk | disk.csi.azure.com | the disk's URI |
| azureFile | file.csi.azure.com | GROUP#ACCOUNT#SHARE#VOLUME#NAMESPACE |
| cinder | cinder.csi.openstack.org | the volume's id |
| vsphereVolume | csi.vsphere.vmware.com | the disk's path |
| portworxVolume | pxd.portworx.com | the volume's id |

Kubernetes dropped rbd and glusterfs without a translation: those are refused in words that say what to do.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from resizer.csi.translation_provider import (
    UntranslatableError,
    translate_aws,
    translate_azure_disk,
    translate_azure_file,
    translate_cinder,
    translate_gce,
    translate_portworx,
    translate_vsphere,
)
from resizer.model.objects import Volume

_TRANSLATORS: Final[dict[str, tuple[str, Callable[[Volume], Volume]]]] = {
    "gcePersistentDisk": ("pd.csi.storage.gke.io", translate_gce),
    "awsElasticBlockStore": ("ebs.csi.aws.com", translate_aws),
    "azureDisk": ("disk.csi.azure.com", translate_azure_disk),
    "azureFile": ("file.csi.azure.com", translate_azure_file),
    "cinder": ("cinder.csi.openstack.org", translate_cinder),
    "vsphereVolume": ("csi.vsphere.vmware.com", translate_vsphere),
    "portworxVolume": ("pxd.portworx.com", translate_portworx),
}

MIGRATION_TARGETS: Final = frozenset(driver for driver, _ in _TRANSLATORS.values())
"""Drivers that take over in-tree volumes."""

_REFUSED: Final = {
    "rbd": (
        "Kubernetes no longer has the in-tree plugin rbd, and its volumes were never translated to CSI: copy the data "
        "to a new volume of the CSI driver rbd.csi.ceph.com, which can be grown"
    ),
    "glusterfs": (
        "Kubernetes no longer has the in-tree plugin glusterfs, and no CSI driver takes its volumes over: copy the "
        "data to a new volume of a CSI driver that can grow (for Gluster itself: kadalu)"
    ),
}


def translate(volume: Volume) -> Volume:
    """Return an in-tree volume as its CSI driver knows it.

    One that cannot be translated comes back with the reason in `untranslatable`; with a driver all the same if there
    is one that ought to have grown it.
    """
    name = volume.in_tree_source
    if name in _REFUSED:
        return replace(volume, in_tree_json=b"", untranslatable=f'volume "{volume.name}": {_REFUSED[name]}')
    if name not in _TRANSLATORS:
        return volume
    driver, translator = _TRANSLATORS[name]
    try:
        translated = translator(volume)
    except UntranslatableError as error:
        reason = f'volume "{volume.name}" cannot be translated for {driver}: {error}'
        translated = replace(volume, untranslatable=reason)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = f'volume "{volume.name}" cannot be translated for {driver}: its spec.{name} is malformed: {error}'
        translated = replace(volume, untranslatable=reason)
    return replace(translated, driver=driver, in_tree_json=b"", in_tree_notes=())
