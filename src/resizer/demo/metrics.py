"""The pipeline's own metrics, read over HTTP as Prometheus reads them: for the figures the demo prints.

The most claims that a stage had in hand at one moment is nowhere on /metrics, so the gauge is sampled meanwhile.
"""

import asyncio
import contextlib
import re
from typing import Final

_SAMPLE_EVERY_S: Final = 0.02
_TIMEOUT_S: Final = 5.0
_INFLIGHT: Final = re.compile(r'resizer_stage_inflight\{[^}]*stage="([^"]+)"[^}]*\} ([0-9.e+]+)')
_LE: Final = re.compile(r'le="[^"]*",?')
_SHOWN: Final = re.compile(
    r"(resizer_stage_duration_seconds_(bucket|count|sum)|resizer_stage_inflight|resizer_stage_retries_total"
    r"|resizer_stage_failures_total|csi_sidecar_operations_seconds_(count|sum))\{"
)


async def fetch(port: int, path: str = "/metrics") -> str:
    """Return the body of one answer from 127.0.0.1; OSError or TimeoutError when there is none."""
    async with asyncio.timeout(_TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace")


def inflight(text: str) -> dict[str, int]:
    """Return the claims in hand by stage."""
    found: dict[str, int] = {}
    for stage, value in _INFLIGHT.findall(text):
        found[stage] = found.get(stage, 0) + int(float(value))
    return found


def shown_lines(text: str) -> list[str]:
    """Return the lines that tell how the stages went; without zeros, and without buckets that nothing was added to."""
    shown: list[str] = []
    bucket_before = ("", "")
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        if not _SHOWN.match(line) or float(value) == 0:
            continue
        if "_bucket{" in series:
            bucket = (_LE.sub("", series), value)
            if bucket == bucket_before:
                continue
            bucket_before = bucket
        shown.append(line)
    return shown


class Sampler:
    """Reads the gauge again and again and keeps the most."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.most: dict[str, int] = {}

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                for stage, count in inflight(await fetch(self._port)).items():
                    self.most[stage] = max(self.most.get(stage, 0), count)
            await asyncio.sleep(_SAMPLE_EVERY_S)
