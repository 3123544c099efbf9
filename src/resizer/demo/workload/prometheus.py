"""A Prometheus of the run's own: generated configuration, free loopback port, the repository's alerts, no trace left.

It scrapes once a second. At the end it is asked what it saw; the report draws its curves, so that they are what a
person with Grafana would have seen.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

import resizer
from resizer.demo.metrics import fetch
from resizer.demo.parts import DemoError
from resizer.demo.stage import free_port
from resizer.demo.workload.program import end_program, find_program, start_program

_START_WITHIN_S: Final = 30.0
_SCRAPED_WITHIN_S: Final = 30.0
_END_WITHIN_S: Final = 10.0

Series = list[tuple[float, float]]
"""Points of monotonic time and value."""


class Target(msgspec.Struct, frozen=True):
    """Something that is scraped."""

    job: str
    port: int
    path: str


class Watched(msgspec.Struct, frozen=True):
    """What Prometheus saw of a run. `note` says why there is nothing, or nothing of something."""

    targets_up: int = 0
    targets: int = 0
    samples: int = 0
    alerts_loaded: int = 0
    alerts_firing: list[str] = []
    resizes: int = 0
    note: str = ""


def rule_files() -> list[Path]:
    """The alerts of deploy/prometheus; none where the package was installed without its source tree."""
    return sorted((Path(resizer.__file__).parents[2] / "deploy" / "prometheus").glob("*.rules.yaml"))


def configuration(targets: list[Target], rules: list[Path]) -> dict[str, Any]:
    """The configuration of a run, as JSON, which is YAML too."""
    scrapes = [
        {
            "job_name": target.job,
            "metrics_path": target.path,
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{target.port}"]}],
        }
        for target in targets
    ]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rule) for rule in rules],
        "scrape_configs": scrapes,
    }


class Prometheus:
    """A server that runs; asked over its HTTP API."""

    def __init__(self, port: int, *, targets: int, rules: int) -> None:
        self.port = port
        self._targets = targets
        self._rules = rules

    async def _ask(self, path: str, **parameters: Any) -> Any:
        """Return `data` of an answer; DemoError when there is none."""
        try:
            text = await fetch(self.port, f"/api/v1/{path}?{urlencode(parameters)}")
            return msgspec.json.decode(text)["data"]
        except (OSError, TimeoutError, KeyError, TypeError, msgspec.DecodeError) as error:
            raise DemoError(f"the run's Prometheus does not answer {path}: {error}") from error

    async def value(self, query: str) -> float:
        """The value of a query with one result, 0 for none."""
        result = (await self._ask("query", query=query))["result"]
        return float(result[0]["value"][1]) if result else 0.0

    async def wait_for_targets(self) -> None:
        """Wait until everything is scraped: a Prometheus that starts takes five seconds over its targets."""
        deadline = time.monotonic() + _SCRAPED_WITHIN_S
        while await self.value("sum(up)") < self._targets:
            if time.monotonic() > deadline:
                raise DemoError(f"the run's Prometheus does not scrape its {self._targets} targets")
            await asyncio.sleep(0.1)

    async def series(self, query: str, *, begin_s: float, end_s: float) -> Series:
        """A query with one result, once a second over a span of monotonic time."""
        offset = time.time() - time.monotonic()
        span = {"start": f"{begin_s + offset:.3f}", "end": f"{end_s + offset:.3f}", "step": "1"}
        result = (await self._ask("query_range", query=query, **span))["result"]
        return [(float(at) - offset, float(value)) for at, value in result[0]["values"]] if result else []

    async def summary(self) -> Watched:
        """What it saw until now."""
        groups = (await self._ask("rules"))["groups"]
        alerts = (await self._ask("alerts"))["alerts"]
        loaded = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
        return Watched(
            targets_up=int(await self.value("sum(up)")),
            targets=self._targets,
            samples=int(await self.value("sum(sum_over_time(scrape_samples_scraped[1h]))")),
            alerts_loaded=len(loaded),
            alerts_firing=sorted({one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}),
            resizes=int(await self.value('sum(resizer_resizes_total{outcome="success"})')),
            note="" if self._rules else "no alerts loaded: deploy/prometheus is in the source tree only",
        )


@contextlib.asynccontextmanager
async def run_prometheus(folder: Path, targets: list[Target]) -> AsyncIterator[Prometheus | None]:
    """Run it for the block, with its data in `folder`; None where the program is missing."""
    program = find_program("prometheus")
    if program is None:
        yield None
        return
    rules = rule_files()
    configured = _configure(folder, targets, rules)
    port = free_port(0)
    command = [program, f"--config.file={configured}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
    with (folder / "log").open("ab") as log:
        process = await start_program([*command, f"--web.listen-address=127.0.0.1:{port}"], folder=folder, err=log)
    try:
        await _wait_until_ready(port, log=folder / "log", ended=process.wait())
        yield Prometheus(port, targets=len(targets), rules=len(rules))
    finally:
        await end_program(process, grace_s=_END_WITHIN_S)


async def _wait_until_ready(port: int, *, log: Path, ended: Any) -> None:
    end = asyncio.ensure_future(ended)
    deadline = time.monotonic() + _START_WITHIN_S
    try:
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                if "is Ready" in await fetch(port, "/-/ready"):
                    return
            if end.done() or time.monotonic() > deadline:
                raise DemoError(f"prometheus cannot be started: {_last_line(log)}")
            await asyncio.sleep(0.05)
    finally:
        end.cancel()


def _configure(folder: Path, targets: list[Target], rules: list[Path]) -> Path:
    folder.mkdir(mode=0o700)
    configured = folder / "prometheus.yaml"
    configured.write_bytes(msgspec.json.encode(configuration(targets, rules)))
    return configured


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]
