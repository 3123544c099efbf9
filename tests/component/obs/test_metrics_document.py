import asyncio
import re
import shutil
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.component.obs.obs_sample import busy_metrics, client, endpoint

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \| (?P<labels>[\w, ]*?) ?\| (?P<means>[^|]+) \|[^|]*\|$")


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    parsed = [ROW.match(line) for line in rows]
    assert all(parsed), [row for row, match in zip(rows, parsed, strict=True) if match is None]
    names = [match["name"] for match in parsed if match]
    assert len(set(names)) == len(names)
    return {
        match["name"]: (match["type"], frozenset(filter(None, re.split(r", ?", match["labels"]))))
        for match in parsed
        if match
    }


async def exposed() -> dict[str, tuple[str, frozenset[str]]]:
    async with client(endpoint(busy_metrics())) as session, session.get("/metrics") as response:
        text = await response.text()
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.samples, f"{family.name} has no sample: the test exercises too little"
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, frozenset(labels))
    return found


async def test_the_page_and_the_endpoint_agree():
    """Each metric on /metrics is documented with its type and labels, and each documented one is on /metrics."""
    assert documented() == await exposed()


async def test_names_follow_the_conventions():
    """Counters end in _total, times are in seconds, sizes in bytes, and every metric has a help text."""
    async with client(endpoint(busy_metrics())) as session, session.get("/metrics") as response:
        text = await response.text()
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert not family.name.endswith(("_created", "_ms", "_milliseconds")), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
        assert not any("persistentvolumeclaim" in s.labels for s in family.samples) or (
            family.name in {"resizer_claim_pending_since_timestamp_seconds", "resizer_claim_size_bytes"}
        )


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)")
async def test_promtool_finds_nothing():
    """Prometheus's own linter of metrics is silent."""
    async with client(endpoint(busy_metrics())) as session, session.get("/metrics") as response:
        text = await response.read()
    promtool = await asyncio.create_subprocess_exec(
        "promtool",
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await promtool.communicate(text)
    assert (promtool.returncode, said.decode()) == (0, "")
