"""The program in the demo's pod: appends records with fsync, without end, and measures what it feels of a growth.

Run as `python writer.py FILE INTERVAL_S` in a process of its own, as a container's would be; standard library only,
so that it starts quickly. It prints one JSON line twice a second and a last one when it gets SIGTERM, after reading
all records back. The kernel ends it when the demo's process ends, however that ends.

A pause is the time from the moment a record was ready to be written until it was durable. The file is a ring of a
bounded size: records lie at fixed places and carry their number and a checksum.
"""

import ctypes
import json
import os
import signal
import sys
import time
import zlib

RECORD_BYTES = 4096
RING_RECORDS = 4096
REPORT_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1


class Writer:
    """One file, and what happened to the records written to it."""

    def __init__(self, path: str, *, interval_s: float) -> None:
        """Open the file, which is made."""
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._interval_s = interval_s
        self._stopped = False
        self.appends = 0
        self.errors = 0
        self.first_error = ""
        self.longest_pause_s = 0.0

    def stop(self) -> None:
        """End after the record under way."""
        self._stopped = True

    def run(self) -> None:
        """Write until stopped."""
        reported = time.monotonic()
        while not self._stopped:
            started = time.monotonic()
            self._append()
            now = time.monotonic()
            self.longest_pause_s = max(self.longest_pause_s, now - started)
            if now - reported >= REPORT_EVERY_S or self.appends == 1:
                self.report()
                reported = now
            time.sleep(self._interval_s)

    def _append(self) -> None:
        try:
            os.pwrite(self._handle, record(self.appends), self.appends % RING_RECORDS * RECORD_BYTES)
            os.fsync(self._handle)
        except OSError as error:
            self._fail(f"record {self.appends}: {error.strerror}")
        else:
            self.appends += 1

    def check(self) -> None:
        """Read back what the ring still holds; a record that is not the one written is an error."""
        for number in range(max(0, self.appends - RING_RECORDS), self.appends):
            try:
                found = os.pread(self._handle, RECORD_BYTES, number % RING_RECORDS * RECORD_BYTES)
            except OSError as error:
                self._fail(f"record {number} cannot be read back: {error.strerror}")
                continue
            if found != record(number):
                self._fail(f"record {number} is not what was written")

    def _fail(self, text: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or text

    def report(self) -> None:
        """Print how it goes."""
        line = {
            "appends": self.appends,
            "errors": self.errors,
            "first_error": self.first_error,
            "longest_pause_s": round(self.longest_pause_s, 6),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def record(number: int) -> bytes:
    """Return the record of that number."""
    body = number.to_bytes(8, "big") * (RECORD_BYTES // 8 - 1)
    return body + zlib.crc32(body).to_bytes(8, "big")


def _die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent goes; end now if it has gone already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main(path: str, interval_s: str, parent: str) -> None:
    """Write to `path` until SIGTERM."""
    _die_with_parent(int(parent))
    writer = Writer(path, interval_s=float(interval_s))
    # Ctrl-C goes to the whole terminal; the demo decides when its pods end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: writer.stop())
    writer.run()
    writer.check()
    writer.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
