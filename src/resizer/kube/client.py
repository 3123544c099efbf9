"""Everything the program needs of Kubernetes, put together: what the composition root opens, runs and asks.

    client = await KubeClient.open(KubeOptions(kubeconfig=path), telemetry=telemetry)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.run_sources())    # watches; end first
        group.create_task(client.run_events())     # events; drained by close()

Readiness and liveness are answered here as lists of problems, empty when all is well: not ready means that the
cache cannot be trusted or that a required right is missing; not alive means that a loop has stopped *trying* (an API
server that is away is no reason to restart).
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from resizer.kube.attachments import KubeAttachments
from resizer.kube.auth import load_credentials
from resizer.kube.credentials import CredentialsError
from resizer.kube.decode import Decoder
from resizer.kube.elector import Elector
from resizer.kube.events import KubeEvents
from resizer.kube.lease import LeaseTiming, lease_name, own_identity
from resizer.kube.limiter import FlowLimit, Limiter, Share
from resizer.kube.nodes import KubeNodes
from resizer.kube.pods import KubePods
from resizer.kube.projection import CLAIM, VOLUME, translated_volume
from resizer.kube.reflector import PAGE_SIZE, Reflector, Selection, Timing
from resizer.kube.request import Request
from resizer.kube.resource import CLAIMS, VOLUMES, Resource
from resizer.kube.review import RightsReview
from resizer.kube.rights import REQUIRED_FOR_ELECTION, Rights
from resizer.kube.secrets import KubeSecrets
from resizer.kube.store import Store
from resizer.kube.telemetry import KubeTelemetry, NullKubeTelemetry
from resizer.kube.transport import Transport
from resizer.kube.writer import KubeWriter
from resizer.model.errors import ApiError, UnauthorizedError, UnavailableError
from resizer.model.objects import Claim, Volume

WATCH_STALE_S: Final = 72.0
"""A watch older than this is stale: a bookmark comes once a minute, and a silent one is closed after 70 s."""
STUCK_S: Final = 180.0
"""No loop waits longer than this before it tries again: 70 s of silence, a list of 60 s, 30 s of back-off."""
ELECTION_STUCK_S: Final = 60.0
"""A leader tries every second; a follower hears of each renewal, and looks for itself after 30 s without one."""
_PROBE_S: Final = 10.0
_VERSION: Final = Resource("", "", "version")

Translate = Callable[[Volume], Volume]


class KubeOptions(Struct, frozen=True, kw_only=True):
    """How to reach the API server and how much to ask of it. `qps` 0 leaves the rate to the adaptive limit."""

    kubeconfig: Path | None = None
    context: str = ""
    master: str = ""
    use_default_kubeconfig: bool = False
    qps: float = 0.0
    burst: int = 0
    page_size: int = PAGE_SIZE
    timing: Timing = Timing()
    claim_selector: str = ""
    """Label selector; with one, the node agent sees its own claims only."""
    watch_volumes: bool = True
    identity: str = ""


class KubeClient:
    """The Kubernetes side of one process. Made by `open`, ended by `close`."""

    def __init__(
        self,
        options: KubeOptions,
        transport: Transport,
        *,
        limiter: Limiter,
        rights: Rights,
        telemetry: KubeTelemetry,
        translate: Translate | None,
        namespace: str,
    ) -> None:
        self.store = Store(selected=bool(options.claim_selector))
        self.rights = rights
        self.transport = transport
        self.limiter = limiter
        self.namespace = namespace
        self.pods = KubePods(transport, telemetry=telemetry, timing=options.timing)
        self.attachments = KubeAttachments(transport, telemetry=telemetry, timing=options.timing)
        self.nodes = KubeNodes(transport)
        self.secrets = KubeSecrets(transport)
        self.events = KubeEvents(transport, telemetry=telemetry)
        claims: Decoder[Claim] = Decoder(CLAIMS.plural, CLAIM, telemetry=telemetry)
        kind = VOLUME if translate is None else translated_volume(translate)
        volumes: Decoder[Volume] = Decoder(VOLUMES.plural, kind, telemetry=telemetry)
        self.writer = KubeWriter(
            transport, self.store, claims=claims, volumes=volumes, pods=self.pods.decoder, put_pod=self.pods.put
        )
        self.claim_reflector: Reflector[Claim] = Reflector(
            transport,
            Selection(CLAIMS, label_selector=options.claim_selector),
            shelf=self.store.claim_shelf,
            decoder=claims,
            telemetry=telemetry,
            timing=options.timing,
            page_size=options.page_size,
        )
        self.volume_reflector: Reflector[Volume] = Reflector(
            transport,
            Selection(VOLUMES),
            shelf=self.store.volume_shelf,
            decoder=volumes,
            telemetry=telemetry,
            timing=options.timing,
            page_size=options.page_size,
        )
        self._options = options
        self._telemetry = telemetry
        self._electors: dict[str, Elector] = {}
        self._review = RightsReview(transport, rights)

    @classmethod
    async def open(
        cls,
        options: KubeOptions,
        *,
        telemetry: KubeTelemetry | None = None,
        translate: Translate | None = None,
    ) -> "KubeClient":
        """Load credentials and make everything; nothing runs yet. Raises CredentialsError.

        With a kubeconfig the server is asked once, so that one that points nowhere or has expired is told at once; in
        the cluster an API server that is away is waited for. `translate` makes in-tree volumes into CSI volumes.
        """
        telemetry = telemetry or NullKubeTelemetry()
        credentials = await load_credentials(
            kubeconfig=options.kubeconfig,
            context=options.context,
            master=options.master,
            use_default_kubeconfig=options.use_default_kubeconfig,
        )
        limiter = Limiter(FlowLimit(qps=options.qps, burst=options.burst))
        rights = Rights()
        transport = Transport(credentials, limiter=limiter, rights=rights, telemetry=telemetry)
        client = cls(
            options,
            transport,
            limiter=limiter,
            rights=rights,
            telemetry=telemetry,
            translate=translate,
            namespace=credentials.access.namespace or "default",
        )
        if options.kubeconfig is not None or options.master or options.use_default_kubeconfig:
            try:
                await client.check_server()
            except BaseException:
                await transport.close()
                raise
        return client

    async def check_server(self) -> None:
        """Ask the server for its version. Raises CredentialsError when it is not there or does not know us."""
        request = Request(
            verb="get",
            resource=_VERSION,
            path="/version",
            share=Share.READ,
            timeout_s=_PROBE_S,
        )
        where = f"kubeconfig {self._options.kubeconfig}: " if self._options.kubeconfig is not None else ""
        try:
            await self.transport.request(request)
        except UnauthorizedError as error:
            text = f"{where}server {self.transport.server} does not accept these credentials (401); have they expired?"
            raise CredentialsError(text) from error
        except UnavailableError as error:
            if error.status == 0:
                text = f"{where}server {self.transport.server} cannot be reached: {error.message}"
                raise CredentialsError(text) from error
        except ApiError:
            # It answered: what it refuses is for others to say.
            return

    async def run_sources(self) -> None:
        """Run all watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._main_reflectors():
                group.create_task(reflector.run())
            if self._options.watch_volumes:
                # The node agent needs less than the required rights: it is told by 403s alone.
                group.create_task(self._review.run())
            group.create_task(self.pods.run())
            group.create_task(self.attachments.run())

    async def run_events(self) -> None:
        """Send events until cancelled."""
        await self.events.run()

    async def wait_synced(self) -> None:
        """Wait until claims (and volumes) have been listed once; a missing right is waited for, too."""
        for reflector in self._main_reflectors():
            await reflector.health.wait_listed()

    async def close(self, *, drain_s: float = 0.0) -> None:
        """Wait for queued events, at most so long, and close all connections. `run_events` must still run for that."""
        if drain_s:
            await self.events.drain(timeout_s=drain_s)
        await self.transport.close()

    def elector(
        self,
        driver: str,
        *,
        namespace: str = "",
        timing: LeaseTiming | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Elector:
        """Return a contender for this driver's lease, in the namespace given or our own."""
        self.rights.require(REQUIRED_FOR_ELECTION)
        namespace, name = namespace or self.namespace, lease_name(driver)
        self._review.leases.add((namespace, name))
        self._review.look_again()
        made = Elector(
            self.transport,
            name=name,
            namespace=namespace,
            identity=self._options.identity or own_identity(),
            telemetry=self._telemetry,
            timing=timing,
            labels=labels,
        )
        self._electors[made.name] = made
        return made

    def readiness_problems(self) -> list[str]:
        """What keeps us from being ready; empty when ready."""
        problems = []
        for reflector in self._main_reflectors():
            resource, health = reflector.selection.resource.plural, reflector.health
            if not health.synced:
                why = f": {health.last_error}" if health.last_error is not None else ""
                problems.append(f"{resource}: the first list has not been processed{why}")
            elif health.age_s() > WATCH_STALE_S:
                problems.append(f"{resource}: the watch has shown no life for {health.age_s():.0f}s")
        missing = self.rights.missing(required_only=True)
        return problems + [f"the right to {r.verb} {r.resource} is missing: {r.advice}" for r in missing]

    def liveness_problems(self) -> list[str]:
        """Which loop has stopped trying; empty while all do. Loops that were not started do not count."""
        ages = {r.selection.resource.plural: r.health.attempt_age_s() for r in self._all_reflectors() if r.running}
        return _stale(ages, STUCK_S) + self.election_problems()

    def election_problems(self) -> list[str]:
        """Which election has stopped trying (the peer's /healthz/leader-election); empty while all do."""
        ages = {e.name: e.attempt_age_s() for e in self._electors.values() if e.running}
        return _stale(ages, ELECTION_STUCK_S)

    def watch_ages_s(self) -> dict[str, float]:
        """Seconds since each resource's watch showed life; the oldest where there are several."""
        ages: dict[str, float] = {}
        for reflector in self._all_reflectors():
            resource = reflector.selection.resource.plural
            ages[resource] = max(ages.get(resource, 0.0), reflector.health.age_s())
        return ages

    def cache_objects(self) -> dict[str, int]:
        """Objects in each cache."""
        return {
            "persistentvolumeclaims": len(self.store.claim_shelf),
            "persistentvolumes": len(self.store.volume_shelf),
            "pods": self.pods.objects(),
            "volumeattachments": self.attachments.objects(),
        }

    def statistics(self) -> dict[str, object]:
        """Return the state for /debug/state."""
        return {
            "server": self.transport.server,
            "watches": [
                {"resource": r.selection.resource.plural, "namespace": r.selection.namespace, **r.statistics()}
                for r in self._all_reflectors()
            ],
            "cache": self.store.statistics(),
            "requests": self.limiter.statistics(),
            "events": self.events.statistics(),
            "leases": [elector.statistics() for elector in self._electors.values()],
            "missing_rights": self.rights.state(),
        }

    def _main_reflectors(self) -> "list[Reflector[Claim] | Reflector[Volume]]":
        return [self.claim_reflector, self.volume_reflector] if self._options.watch_volumes else [self.claim_reflector]

    def _all_reflectors(self) -> list[Reflector[Any]]:
        return [*self._main_reflectors(), *self.pods.reflectors(), *self.attachments.reflectors()]


def _stale(ages_s: dict[str, float], most_s: float) -> list[str]:
    return [f"{name}: nothing was tried for {age:.0f}s" for name, age in ages_s.items() if age > most_s]
