"""Which volumes are published on this node: read off the kubelet's directory, believing nothing there.

A volume of a claim is looked for by its name in the folder of every pod. What is found counts only if the kubelet's
note beside it (vol_data.json) names the same driver and handle, and if no link lies on the way: the agent runs as
root and hands these paths to a driver that does, too, so a path that leads out of the kubelet's directory is refused.
Whatever cannot be used is named in `problems`, and disturbs no other volume.

The layout is the kubelet's (pkg/volume/csi, Kubernetes 1.36):

| | published | note | staged |
| --- | --- | --- | --- |
| filesystem | pods/UID/volumes/kubernetes.io~csi/PV/mount | vol_data.json beside it | plugins/kubernetes.io/csi/DRIVER/SHA256 OF HANDLE/globalmount |
| block | plugins/kubernetes.io/csi/volumeDevices/publish/PV/UID | .../volumeDevices/PV/data/vol_data.json | .../volumeDevices/staging/PV |
"""  # noqa: E501 -- a table's row cannot be broken

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from resizer.model.objects import Volume
from resizer.model.text import printable

NOTE: Final = "vol_data.json"
_PLUGIN: Final = Path("plugins/kubernetes.io/csi")
_MAX_NOTE_BYTES: Final = 64 * 1024
_SHOWN: Final = 200


class Published(Struct, frozen=True):
    """One place where a volume is published for a pod of this node."""

    pod_uid: str
    path: str
    staging_path: str


class Findings(Struct, frozen=True):
    """What was found of one volume: usable places, and in words what was there and cannot be used."""

    places: tuple[Published, ...] = ()
    problems: tuple[str, ...] = ()


class _Note(Struct):
    driver_name: str = field(default="", name="driverName")
    volume_handle: str = field(default="", name="volumeHandle")


class _UnusableError(Exception):
    """Something lies where a volume is published and may not be used; the text says why."""


def find_published(root: Path, volume: Volume) -> Findings:
    """Look for the volume below the kubelet's directory `root`. Blocks on the filesystem only."""
    try:
        real_root = root.resolve(strict=True)
    except OSError as error:
        return Findings(problems=(f"the kubelet's directory {root} cannot be read: {error.strerror}",))
    if not _is_plain(volume.name):
        return Findings(problems=(f"volume name {printable(volume.name, limit=_SHOWN)!r} is no name of a folder",))
    candidates = _devices(real_root, volume) if volume.volume_mode == "Block" else _mounts(real_root, volume)
    places: list[Published] = []
    problems: list[str] = []
    for uid, path, note in candidates:
        try:
            _check_place(path, root=real_root, is_block=volume.volume_mode == "Block")
            _check_note(note, volume, root=real_root)
        except FileNotFoundError:
            continue  # it was taken down while we looked
        except _UnusableError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
        else:
            if not _is_read_only(path):
                places.append(Published(uid, str(path), str(_staging(real_root, volume))))
    return Findings(tuple(places), tuple(problems))


def _is_plain(name: str) -> bool:
    return bool(name) and name not in (".", "..") and "/" not in name and "\0" not in name


def _mounts(root: Path, volume: Volume) -> Iterator[tuple[str, Path, Path]]:
    """Pod, published path and note of each pod that has the volume mounted."""
    for uid in _names(root / "pods"):
        folder = root / "pods" / uid / "volumes/kubernetes.io~csi" / volume.name
        if os.path.lexists(folder / "mount"):
            yield uid, folder / "mount", folder / NOTE


def _devices(root: Path, volume: Volume) -> Iterator[tuple[str, Path, Path]]:
    """Pod, published path and note of each pod that has the volume as a device."""
    devices = root / _PLUGIN / "volumeDevices"
    for uid in _names(devices / "publish" / volume.name):
        yield uid, devices / "publish" / volume.name / uid, devices / volume.name / "data" / NOTE


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 -- names are wanted, and an error that names the folder
    except FileNotFoundError:
        return []


def _staging(root: Path, volume: Volume) -> Path:
    if volume.volume_mode == "Block":
        return root / _PLUGIN / "volumeDevices/staging" / volume.name
    return root / _PLUGIN / volume.driver / hashlib.sha256(volume.handle.encode()).hexdigest() / "globalmount"


def _check_place(path: Path, *, root: Path, is_block: bool) -> None:
    """Refuse a path that leads elsewhere, or to something that no kubelet publishes."""
    real = path.resolve(strict=True)
    if real != path:
        where = "out of the kubelet's directory" if not real.is_relative_to(root) else "elsewhere"
        raise _UnusableError(f"{path} is refused: a link on the way leads {where}, and no kubelet makes one there")
    mode = path.lstat().st_mode
    if not is_block and not stat.S_ISDIR(mode):
        raise _UnusableError(f"{path} is refused: it is no folder, and a filesystem is mounted on one")


def _check_note(note: Path, volume: Volume, *, root: Path) -> None:
    """Refuse a place that the kubelet's note does not say to be this volume's."""
    if not note.parent.resolve(strict=True).is_relative_to(root):
        raise _UnusableError(f"{note} is refused: a link leads out of the kubelet's directory")
    data = _read_note(note)
    try:
        found = msgspec.json.decode(data, type=_Note)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _UnusableError(
            f"{note} cannot be read ({printable(str(error), limit=_SHOWN)}): the kubelet writes it when it mounts the "
            "volume, so delete the pod to have it written again"
        ) from error
    if found.driver_name != volume.driver:
        name = printable(found.driver_name, limit=_SHOWN)
        raise _UnusableError(f"{note} names driver {name!r}, the volume is of {volume.driver}: left alone")
    if found.volume_handle != volume.handle:
        handle = printable(found.volume_handle, limit=_SHOWN)
        raise _UnusableError(
            f"{note} names volume {handle!r}, not {printable(volume.handle, limit=_SHOWN)!r}: left alone"
        )


def _read_note(note: Path) -> bytes:
    try:
        handle = os.open(note, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise _UnusableError(f"{note} is missing: the kubelet has not finished mounting, or not this volume") from error
    except OSError as error:
        raise _UnusableError(f"{note} cannot be opened: {error.strerror}") from error
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _UnusableError(f"{note} is no file")
        return stream.read(_MAX_NOTE_BYTES)


def _is_read_only(path: Path) -> bool:
    """Whether the volume is mounted read-only there: the kubelet never grows those."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
