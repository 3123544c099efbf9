"""A growth counts only if device and filesystem really have it."""

import pytest

from resizer.demo.measure import Sizes, find_fault

GIB = 1024**3


def fault(after, *, before=(10 * GIB, 10 * GIB - 100), granted=20 * GIB, is_mounted=True):
    return find_fault(
        before=Sizes(*before), after=Sizes(*after), granted_before=10 * GIB, granted=granted, is_mounted=is_mounted
    )


def test_filesystem_that_shows_its_growth_is_right():
    """What the filesystem kept for itself before, it may keep now; ext4's inode tables are within the tolerance."""
    assert fault((20 * GIB, 20 * GIB - 100)) == ""
    assert fault((20 * GIB, 10 * GIB - 100 + int(9.84 * GIB))) == ""


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ((10 * GIB, 10 * GIB), "the device has"),
        ((20 * GIB, 10 * GIB - 100), "the filesystem grew by 0 bytes"),
        ((20 * GIB, 19 * GIB), "expected are"),
        ((20 * GIB, 21 * GIB), "more than its device"),
        ((20 * GIB + 512, 20 * GIB), "the device has"),
    ],
)
def test_what_did_not_grow_is_said(after, words):
    """A device of another size, and a filesystem that grew too little or beyond its device, are faults."""
    assert words in fault(after)


def test_image_is_held_to_its_superblock():
    """An image may lack only a last piece too small for a block group."""
    assert fault((20 * GIB, 20 * GIB), is_mounted=False) == ""
    assert fault((20 * GIB, 20 * GIB - 4096), is_mounted=False) == ""
    assert "superblock lacks" in fault((20 * GIB, 10 * GIB), is_mounted=False)
