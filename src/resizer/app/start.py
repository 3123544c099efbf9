"""From settings to a running pipeline, and to a clean end: what cannot be used is told before anything runs."""

import asyncio
from pathlib import Path

from resizer.app.endpoint import serving
from resizer.app.error import StartError
from resizer.app.pipeline import Pipeline
from resizer.csi.connection import DriverConnection, MalformedAddressError
from resizer.csi.rules import MalformedRulesError, RuleBook, load_known_rules, load_rules
from resizer.csi.translation import translate
from resizer.kube.client import KubeClient, KubeOptions
from resizer.kube.credentials import CredentialsError
from resizer.obs.metrics import Metrics, new_metrics
from resizer.settings import Settings


async def run_pipeline(settings: Settings, *, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises StartError when something that is needed cannot be had."""
    metrics = new_metrics()
    rules = _load_rules(settings)
    connections = _make_connections(settings, metrics)
    kube = await _open(settings, metrics, stop=stop)
    if kube is None:
        return
    pipeline = Pipeline(settings, kube=kube, metrics=metrics, rules=rules, connections=connections)
    try:
        async with serving(settings, kube=kube, metrics=metrics, pipeline=pipeline):
            await pipeline.run(stop)
    finally:
        await kube.close()


async def _open(settings: Settings, metrics: Metrics, *, stop: asyncio.Event) -> KubeClient | None:
    """Open the way to the API server; None when `stop` came first: a plugin for credentials may take a minute."""
    opening = asyncio.create_task(
        KubeClient.open(_kube_options(settings), telemetry=metrics.kube, translate=translate), name="opening"
    )
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await opening if opening.done() else None
    except CredentialsError as error:
        raise StartError(str(error), exit_code=2) from error
    finally:
        for task in (opening, stopping):
            task.cancel()
        await asyncio.wait({opening, stopping})


def _load_rules(settings: Settings) -> RuleBook:
    """The user's own rules go before those that ship with the program: the first that matches counts."""
    try:
        own = load_rules(Path(settings.driver_rules)) if settings.driver_rules else RuleBook()
        return own.before(load_known_rules())
    except MalformedRulesError as error:
        raise StartError(str(error), exit_code=2) from error


def _make_connections(settings: Settings, metrics: Metrics) -> list[DriverConnection]:
    try:
        return [
            DriverConnection(address, timeout_s=settings.timeout, telemetry=metrics.csi)
            for address in settings.csi_address
        ]
    except MalformedAddressError as error:
        raise StartError(f"csi-address: {error}", exit_code=2) from error


def _kube_options(settings: Settings) -> KubeOptions:
    return KubeOptions(
        kubeconfig=Path(settings.kubeconfig) if settings.kubeconfig else None,
        master=settings.master,
        qps=settings.kube_api_qps,
        burst=settings.kube_api_burst,
    )
