"""From a driver that fails to the webhook of whoever is on call: program, Prometheus and Alertmanager are all real."""

import asyncio
import contextlib
import re
import time
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from tests.e2e.rig import HTTP, running_rig
from tests.scripted_driver import Answer, Plan, ScriptedDriver
from tests.soak.monitoring import NEEDS_PROMETHEUS, Prometheus, free_port, running_alertmanager, running_prometheus

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
EXPAND = "ControllerExpandVolume"
PENDING_FOR_S = 2

pytestmark = [pytest.mark.soak, NEEDS_PROMETHEUS]


def hurried_rules(folder: Path) -> list[Path]:
    """The committed rules with their waiting times cut to seconds; nothing else differs."""
    made = []
    for source in sorted(DEPLOY.glob("*.rules.yaml")):
        rules = yaml.safe_load(source.read_text())
        for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
            rule["for"] = "1s"
            if "keep_firing_for" in rule:
                rule["keep_firing_for"] = "10s"
            if "resizer_claim_pending_since_timestamp_seconds" in rule["expr"]:
                rule["expr"], cut = re.subn(r"> (60|600|900|1800)\b", f"> {PENDING_FOR_S}", rule["expr"])
                assert cut == 1, rule["expr"]
        made.append(folder / source.name)
        made[-1].write_text(yaml.safe_dump(rules))
    return made


def hurried_alertmanager(webhook: int) -> dict:
    """The committed example, with webhooks for receivers and no waiting to group."""
    config = yaml.safe_load((DEPLOY / "alertmanager.example.yaml").read_text())
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        receiver["webhook_configs"] = [{"url": f"http://127.0.0.1:{webhook}/{receiver['name']}"}]
    return config


class Webhook:
    """What is delivered, by receiver, as it arrives."""

    def __init__(self) -> None:
        self.delivered: list[tuple[str, dict]] = []
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def serve(self):
        application = web.Application()
        application.router.add_post("/{receiver}", self._receive)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield port
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.json()
        async with self._changed:
            self.delivered += [(request.match_info["receiver"], alert) for alert in body["alerts"]]
            self._changed.notify_all()
        return web.Response()

    @property
    def fired(self) -> set[str]:
        """Names of the alerts that were delivered as firing."""
        return {alert["labels"]["alertname"] for _, alert in self.delivered if alert["status"] == "firing"}

    async def wait(self, name: str, status: str = "firing", *, timeout_s: float = 30.0) -> tuple[str, dict]:
        """Wait for this alert in this state: who received it, and the alert."""

        def found() -> list[tuple[str, dict]]:
            return [d for d in self.delivered if d[1]["labels"]["alertname"] == name and d[1]["status"] == status]

        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(found)
        except TimeoutError:
            raise AssertionError(f"{name} never was {status}: {self.delivered}") from None
        return found()[-1]


async def wait_calm(prometheus: Prometheus, webhook: Webhook, drivers: int) -> None:
    """Wait until drivers are connected and nothing fires any more: before the first scrape nobody seems to be there."""
    await prometheus.wait(f"sum(resizer_driver_connected) == {drivers}")
    await prometheus.wait('absent(ALERTS{alertstate="firing"})')
    webhook.delivered.clear()


FAULTS = {
    "ResizeStuckController": (Answer(code="INTERNAL", message="backend said no"), "pager", "internal"),
    "ResizeInfeasible": (Answer(code="OUT_OF_RANGE", message="at most 4Gi"), "tickets", ""),
}


async def test_a_failing_driver_reaches_the_pager(tmp_path_factory, capsys):
    """Each fault is delivered to the right receiver, names its claim and why, and is resolved once the claim grows."""
    folder = tmp_path_factory.mktemp("alert")
    names = {alert: f"data-{alert.lower()}" for alert in FAULTS}
    answers = {f"{EXPAND}/pv-{names[alert]}": (answer,) for alert, (answer, _, _) in FAULTS.items()}
    webhook, took_s = Webhook(), {}
    async with (
        running_rig(folder, Plan(node_expansion_required=False, answers=answers)) as rig,
        webhook.serve() as hook,
    ):
        process = await rig.start_resizer(HTTP)
        port = (await rig.wait_log(process, "http.serving"))["port"]
        async with (
            running_alertmanager(folder, hurried_alertmanager(hook)) as manager,
            running_prometheus(
                folder, targets={"resizer": port}, rules=hurried_rules(folder), alertmanager=manager
            ) as prometheus,
        ):
            await wait_calm(prometheus, webhook, 1)
            for name in names.values():
                await rig.place(name)
            began = time.monotonic()
            for name in names.values():
                await rig.edit(name)
            for alert, (_, receiver, class_) in FAULTS.items():
                got, body = await webhook.wait(alert)
                took_s[alert] = time.monotonic() - began
                assert got == receiver
                assert f"default/{names[alert]}" in body["annotations"]["description"]
                assert class_ in body["annotations"]["description"]
                assert body["labels"]["driver"] == rig.driver.plan.name
                assert body["annotations"]["runbook_url"].endswith(f"/{alert}.md")
                assert f"var-namespace=default&var-claim={names[alert]}" in body["annotations"]["dashboard_url"]

            rig.driver.plan = Plan(node_expansion_required=False)
            await webhook.wait("ResizeStuckController", "resolved")
    assert webhook.fired == set(FAULTS)
    with capsys.disabled():
        shown = ", ".join(f"{alert} {seconds:.1f} s" for alert, seconds in took_s.items())
        print(  # noqa: T201  # the figures are what the reader is after
            f"\nfrom fault to page ({PENDING_FOR_S} s pending and 1 s for instead of minutes): {shown}"
        )


async def test_a_driver_and_a_program_that_go_away_reach_the_pager(tmp_path_factory, capsys):
    """A driver ends, then the program: each is a page, and a claim that waits because of it is none of its own."""
    folder = tmp_path_factory.mktemp("down")
    webhook, driver = Webhook(), ScriptedDriver(Plan(name="second.csi.example.com", node_expansion_required=False))
    async with running_rig(folder) as rig, webhook.serve() as hook, contextlib.AsyncExitStack() as lifetime:
        await lifetime.enter_async_context(driver.serve(f"unix://{folder / 'second.sock'}"))
        process = await rig.start_resizer(HTTP, sockets=[rig.socket, folder / "second.sock"])
        port = (await rig.wait_log(process, "http.serving"))["port"]
        async with (
            running_alertmanager(folder, hurried_alertmanager(hook)) as manager,
            running_prometheus(
                folder, targets={"resizer": port}, rules=hurried_rules(folder), alertmanager=manager
            ) as prometheus,
        ):
            await rig.place(driver=driver.plan.name)
            await wait_calm(prometheus, webhook, 2)

            await lifetime.aclose()
            began = time.monotonic()
            await rig.edit()
            got, body = await webhook.wait("ResizerDriverDown")
            driver_s = time.monotonic() - began
            assert (got, body["labels"]["driver"]) == ("pager", driver.plan.name)
            assert "second.sock" in body["annotations"]["description"]
            await prometheus.wait('ALERTS{alertname="ResizeStuckController", alertstate="firing"}')

            process.kill()
            began = time.monotonic()
            got, body = await webhook.wait("ResizerDown")
            program_s = time.monotonic() - began
            assert (got, body["labels"]["job"]) == ("pager", "resizer")
    assert webhook.fired == {"ResizerDriverDown", "ResizerDown"}
    with capsys.disabled():
        print(  # noqa: T201  # the figures are what the reader is after
            "\nfrom fault to page (for 1 s instead of 5 min):"
            f" ResizerDriverDown {driver_s:.1f} s, ResizerDown {program_s:.1f} s"
        )
