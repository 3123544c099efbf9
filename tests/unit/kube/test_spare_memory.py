"""What a list no longer needs goes back to the system."""

import platform
from pathlib import Path

import pytest

from resizer.kube import spare_memory

MB = 1_000_000
PAGE = 4096


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / MB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_holes_between_what_stays_are_given_back():
    """Every second block of 40 MB is dropped: what stays keeps the heap as long as it is, holes and all."""
    blocks = [bytearray(b"x") * 100_000 for _ in range(400)]
    stays = blocks[::2]
    del blocks
    before = resident_mb()
    spare_memory.give_back()
    assert before - resident_mb() > 10
    assert len(stays) == 200


def test_another_c_library_is_left_alone(monkeypatch):
    """Nothing is given back, and nothing fails."""
    monkeypatch.setattr(spare_memory, "_trim", lambda: None)
    spare_memory.give_back()
