"""Where a kubelet keeps volumes below its own directory. Pure: no path is made here.

The layout is the real kubelet's (pkg/volume/csi of Kubernetes 1.36), because the node agent finds published
volumes by it:

- filesystem: `pods/<uid>/volumes/kubernetes.io~csi/<pv>/mount`, `vol_data.json` beside it; staging
  `plugins/kubernetes.io/csi/<driver>/<sha256 of the handle>/globalmount`, `vol_data.json` beside that too
- block: `plugins/kubernetes.io/csi/volumeDevices/publish/<pv>/<pod uid>`, staging `.../volumeDevices/staging/<pv>`,
  data `.../volumeDevices/<pv>/data/vol_data.json`; in the pod's folder `volumeDevices/kubernetes.io~csi/<pv>` is a
  link to the published device
"""

import hashlib
from pathlib import Path
from typing import Final

VOLUME_DATA: Final = "vol_data.json"
_PLUGIN: Final = "plugins/kubernetes.io/csi"


def sha256_hex(text: str) -> str:
    """Return the digest as the kubelet writes it in names."""
    return hashlib.sha256(text.encode()).hexdigest()


def attachment_name(*, handle: str, driver: str, node: str) -> str:
    """Name of the VolumeAttachment of a CSI volume on a node, as the attach-detach controller gives it."""
    return f"csi-{sha256_hex(handle + driver + node)}"


class KubeletPaths:
    """The layout below `root`, usually /var/lib/kubelet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def pod(self, uid: str) -> Path:
        """Everything of one pod."""
        return self.root / "pods" / uid

    def mount(self, uid: str, volume: str) -> Path:
        """Where a pod's filesystem volume is published."""
        return self.pod(uid) / "volumes/kubernetes.io~csi" / volume / "mount"

    def staging(self, driver: str, handle: str) -> Path:
        """Where a filesystem volume is staged, once a node."""
        return self.root / _PLUGIN / driver / sha256_hex(handle) / "globalmount"

    def device(self, uid: str, volume: str) -> Path:
        """Where a pod's block volume is published."""
        return self.root / _PLUGIN / "volumeDevices/publish" / volume / uid

    def device_link(self, uid: str, volume: str) -> Path:
        """The link in the pod's folder to its published device."""
        return self.pod(uid) / "volumeDevices/kubernetes.io~csi" / volume

    def device_staging(self, volume: str) -> Path:
        """Where a block volume is staged, once a node."""
        return self.root / _PLUGIN / "volumeDevices/staging" / volume

    def device_data(self, volume: str) -> Path:
        """What the kubelet notes about a block volume."""
        return self.root / _PLUGIN / "volumeDevices" / volume / "data" / VOLUME_DATA
