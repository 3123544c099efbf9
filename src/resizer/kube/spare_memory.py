"""Memory that reading a list took and nobody needs any more: glibc keeps it, unless it is told to give it back.

Between what stays of a list lie the holes of what was read and dropped; later work does not fit into them. Giving back
their pages takes half a millisecond and 3 to 5 MB off a process with 20,000 claims and as many pods.

Source: malloc_trim(3). Other C libraries have no such call, and nothing is done there.
"""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Give free pages back to the system."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
