"""The HTTP endpoint of a running pipeline: its probes, its certificate, and who may read its state.

Made by `start` from the settings and what runs. Whatever keeps the endpoint from being served as configured (a port in
use, a certificate that cannot be read) ends the start: nothing is served less well guarded than was asked for.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from resizer.app.error import StartError
from resizer.app.pipeline import Pipeline
from resizer.kube.client import KubeClient
from resizer.kube.token_review import TokenReviewer
from resizer.obs.address import MalformedListenAddressError
from resizer.obs.certificate import CertificateError, ServerCertificate
from resizer.obs.http import Endpoint, EndpointError, serve_http
from resizer.obs.metrics import Metrics
from resizer.obs.probe import Probe
from resizer.settings import Settings

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def serving(settings: Settings, *, kube: KubeClient, metrics: Metrics, pipeline: Pipeline) -> AsyncIterator[None]:
    """Serve metrics, probes and state for the block, if an address is set. Raises StartError."""
    if not settings.http_address:
        yield
        return
    try:
        endpoint = _endpoint(settings, kube=kube, metrics=metrics, pipeline=pipeline)
        async with serve_http(settings.http_address, endpoint) as port:
            log.info("http.serving", address=settings.http_address, port=port, tls=endpoint.certificate is not None)
            yield
    except (EndpointError, MalformedListenAddressError, CertificateError) as error:
        raise StartError(str(error), exit_code=1) from error


def _endpoint(settings: Settings, *, kube: KubeClient, metrics: Metrics, pipeline: Pipeline) -> Endpoint:
    liveness, readiness, leadership = Probe(), Probe(), Probe()
    liveness.add("event-loop", pipeline.loop_watch.check)
    liveness.add("loops", lambda: _joined(kube.liveness_problems()))
    readiness.add("kubernetes", lambda: _joined(kube.readiness_problems()))
    readiness.add("recovery-fields", lambda: pipeline.gate.problem or None)
    leadership.add("leases", lambda: _joined(kube.election_problems()))
    return Endpoint(
        registry=metrics.registry,
        liveness=liveness,
        readiness=readiness,
        leader_election=leadership,
        state=pipeline.state,
        metrics_path=settings.metrics_path,
        debug_open=settings.debug_endpoints,
        reviewer=TokenReviewer(kube.transport) if settings.debug_authentication else None,
        certificate=_certificate(settings),
    )


def _certificate(settings: Settings) -> ServerCertificate | None:
    if not settings.tls_cert_file:
        return None
    return ServerCertificate(Path(settings.tls_cert_file), Path(settings.tls_key_file))


def _joined(problems: list[str]) -> str | None:
    return "; ".join(problems) or None
