"""Loop devices: a file seen as a block device, which mounts and grows as a disk does.

The kernel's list in /sys/block is the only truth asked. A device is told apart from those of other programs by
its backing file, and is never touched unless that file is the one meant. Calls block for well below a
millisecond and are run in a thread all the same. ioctl numbers: linux/loop.h.
"""

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Final

import msgspec

_SET_FD: Final = 0x4C00
_CLR_FD: Final = 0x4C01
_SET_CAPACITY: Final = 0x4C07
_CTL_GET_FREE: Final = 0x4C82
_LOOP_MAJOR: Final = 7
_SYS_BLOCK: Final = Path("/sys/block")
_CONTROL: Final = "/dev/loop-control"
_ATTACH_ATTEMPTS: Final = 64
_DETACH_WAIT_S: Final = 5.0


class LoopDevice(msgspec.Struct, frozen=True):
    """An attached loop device; `number` is its minor, `backing_file` as the kernel names it."""

    number: int
    backing_file: str

    @property
    def path(self) -> str:
        """The device's node."""
        return f"/dev/loop{self.number}"

    @property
    def device(self) -> str:
        """major:minor, as mountinfo writes it."""
        return f"{_LOOP_MAJOR}:{self.number}"


def list_attached(folder: Path) -> list[LoopDevice]:
    """Return the attached devices whose backing file lies in `folder` (absolute, without links), deleted or not."""
    prefix = f"{folder}{os.sep}"
    devices = []
    for entry in _SYS_BLOCK.glob("loop*"):
        try:
            backing_file = (entry / "loop/backing_file").read_text().rstrip("\n")
        except OSError:
            continue  # not attached, or detached just now
        if backing_file.startswith(prefix):
            devices.append(LoopDevice(int(entry.name[4:]), backing_file.removesuffix(" (deleted)")))
    return sorted(devices, key=lambda device: device.number)


def find_attached(file: Path) -> LoopDevice | None:
    """Return the device attached to `file`, None if there is none."""
    return next((device for device in list_attached(file.parent) if device.backing_file == str(file)), None)


def attach(file: Path) -> LoopDevice:
    """Attach a free device to `file` and return it; the one already attached, if there is one. Raises OSError."""
    present = find_attached(file)
    if present is not None:
        return present
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTACH_ATTEMPTS):
            number = _free_number()
            if _try_attach(number, backing):
                return LoopDevice(number, str(file))
    finally:
        os.close(backing)
    raise OSError(errno.EBUSY, f"no free loop device in {_ATTACH_ATTEMPTS} attempts")


def _free_number() -> int:
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(control, _CTL_GET_FREE)
    finally:
        os.close(control)


def _try_attach(number: int, backing: int) -> bool:
    """Attach device `number` to the open file; False when another program took it first."""
    node = f"/dev/loop{number}"
    if not Path(node).exists():  # a container's /dev is not filled by the kernel
        os.mknod(node, 0o660 | 0o060000, os.makedev(_LOOP_MAJOR, number))
    device = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _SET_FD, backing)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    finally:
        os.close(device)
    return True


def refresh_size(device: LoopDevice) -> None:
    """Tell the kernel to take the backing file's present size as the device's: `losetup -c`. Raises OSError."""
    handle = os.open(device.path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, _SET_CAPACITY)
    finally:
        os.close(handle)


def size_bytes(device: LoopDevice) -> int:
    """Return the device's size in bytes, as the kernel has it. Raises OSError."""
    return int((_SYS_BLOCK / f"loop{device.number}/size").read_text()) * 512


def detach(device: LoopDevice) -> None:
    """Detach `device` and wait until it is; nothing happens when it is another file's by now. Raises OSError.

    Somebody who has the node open (udev looks at each device) puts the kernel's detaching off to his close.
    """
    folder = Path(device.backing_file).parent
    if device not in list_attached(folder):
        return
    handle = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, _CLR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:  # detached already
            raise
    finally:
        os.close(handle)
    deadline = time.monotonic() + _DETACH_WAIT_S
    while device in list_attached(folder):
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, f"{device.path} is still in use")
        time.sleep(0.005)
