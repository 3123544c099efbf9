"""The sparse file that holds a volume: made, grown, removed. It never shrinks. All calls block: use a thread."""

import os
from pathlib import Path

from resizer.driver.failure import from_os_error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make(path: Path, size_bytes: int) -> None:
    """Make a sparse file of that size, over what a killed attempt left; durable when this returns."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(handle, size_bytes)
            os.fsync(handle)
        finally:
            os.close(handle)
        _sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise from_os_error(error, doing=f"making {path.name} with {size_bytes} bytes") from error


def grow(path: Path, size_bytes: int) -> int:
    """Grow the file to that size if it is smaller, durably; returns the size it has then."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            present = os.fstat(handle).st_size
            if present >= size_bytes:
                return present
            os.ftruncate(handle, size_bytes)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise from_os_error(error, doing=f"growing {path.name} to {size_bytes} bytes") from error
    return size_bytes


def remove(path: Path) -> None:
    """Remove the file if it is there, durably."""
    try:
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise from_os_error(error, doing=f"removing {path.name}") from error


def size_bytes(path: Path) -> int | None:
    """Return the file's size, None if it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
