from resizer.driver.backend_loop import belongs_to
from resizer.driver.loop_device import LoopDevice
from resizer.driver.mount import parse_mounts

MOUNTINFO = r"""
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 24 7:3 / /state/staging rw,relatime shared:5 master:1 - xfs /dev/loop3 rw,inode64
32 24 7:3 / /pods/a\040b/mount ro,relatime - xfs /dev/loop3 rw,inode64
33 24 0:44 / /btrfs rw - btrfs /dev/loop4 ro,space_cache
34 24 0:6 /loop5 /pods/no-such-block rw - devtmpfs devtmpfs rw
""".strip()


def test_lines_of_mountinfo() -> None:
    """Optional fields, escapes, and read-only of the mount and of its filesystem are told apart."""
    root, staging, target, btrfs, _ = parse_mounts(MOUNTINFO)
    assert (root.mount_point, root.source) == ("/", "/dev/vda")
    assert (staging.device, staging.fs_type, staging.read_only) == ("7:3", "xfs", False)
    assert (target.mount_point, target.read_only, target.filesystem_read_only) == ("/pods/a b/mount", True, False)
    assert (btrfs.read_only, btrfs.filesystem_read_only) == (False, True)


def test_whose_mount_it_is() -> None:
    """A mount belongs to a device by number, or by source where the filesystem has numbers of its own (btrfs)."""
    _, staging, target, btrfs, node = parse_mounts(MOUNTINFO)
    third, fourth, fifth = (LoopDevice(number, "/state/x.img") for number in (3, 4, 5))
    assert [belongs_to(staging, device) for device in (third, fourth)] == [True, False]
    assert belongs_to(target, third)
    assert [belongs_to(btrfs, device) for device in (third, fourth)] == [False, True]
    assert not belongs_to(node, fifth), "a name alone is no proof: the node must be this device's"
