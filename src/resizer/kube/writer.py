"""The only way to change claims, volumes and pods: merge patches that carry the version read.

Each call tries once. The answer of a write or a read goes into the cache before the call returns, so that the next
decision sees what was just written without waiting for the watch to bring it back. A version that has moved on is a
ConflictError; an answer that never came is an UnavailableError: the write may have been applied, and only a read
tells. Which fields a patch may touch is decided by who builds it (core), not here.
"""

from collections.abc import Callable
from typing import TypeVar

from resizer.kube.answer import printable
from resizer.kube.decode import Decoder, Malformed
from resizer.kube.limiter import Share
from resizer.kube.request import MERGE_PATCH, Request
from resizer.kube.resource import CLAIMS, PODS, VOLUMES, Resource
from resizer.kube.store import Store
from resizer.kube.transport import Transport
from resizer.model.errors import NotFoundError
from resizer.model.objects import Claim, Pod, Volume
from resizer.pipeline.ports import JsonObject

T = TypeVar("T", bound=Claim | Volume | Pod)


class KubeWriter:
    """The pipeline's `Writer` port. `put_pod` takes in the state of a pod that a patch answered."""

    def __init__(
        self,
        transport: Transport,
        store: Store,
        *,
        claims: Decoder[Claim],
        volumes: Decoder[Volume],
        pods: Decoder[Pod],
        put_pod: Callable[[Pod], None],
    ) -> None:
        self._transport = transport
        self._store = store
        self._claims = claims
        self._volumes = volumes
        self._pods = pods
        self._put_pod = put_pod

    async def patch_claim_status(self, claim: Claim, body: JsonObject) -> Claim:
        """Patch the claim's `status` subresource (labels and annotations pass through it as well)."""
        request = _patch(CLAIMS, claim.name, body, namespace=claim.namespace, subresource="status")
        new = await self._call(request, self._claims)
        self._store.claim_shelf.put_answer(new)
        return new

    async def patch_volume(self, volume: Volume, body: JsonObject) -> Volume:
        """Patch the volume."""
        new = await self._call(_patch(VOLUMES, volume.name, body), self._volumes)
        self._store.volume_shelf.put_answer(new)
        return new

    async def patch_pod_status(self, pod: Pod, body: JsonObject) -> Pod:
        """Patch the pod's `status` subresource."""
        request = _patch(PODS, pod.name, body, namespace=pod.namespace, subresource="status")
        new = await self._call(request, self._pods)
        self._put_pod(new)
        return new

    async def read_claim(self, key: str) -> Claim | None:
        """Read the claim afresh, past the cache; None when it is gone (the cache then forgets it)."""
        namespace, _, name = key.partition("/")
        shelf = self._store.claim_shelf
        known = shelf.get(key)
        request = Request(verb="get", resource=CLAIMS, namespace=namespace, name=name, share=Share.READ)
        try:
            new = await self._call(request, self._claims)
        except NotFoundError:
            if known is not None:
                shelf.forget(key, uid=known.uid)
            return None
        shelf.put_answer(new)
        return new

    async def read_volume(self, name: str) -> Volume | None:
        """Read the volume afresh, past the cache; None when it is gone (the cache then forgets it)."""
        shelf = self._store.volume_shelf
        known = shelf.get(name)
        try:
            new = await self._call(Request(verb="get", resource=VOLUMES, name=name, share=Share.READ), self._volumes)
        except NotFoundError:
            if known is not None:
                shelf.forget(name, uid=known.uid)
            return None
        shelf.put_answer(new)
        return new

    async def _call(self, request: Request, decoder: Decoder[T]) -> T:
        found = decoder.decode(await self._transport.request(request))
        if isinstance(found, Malformed):
            raise request.unavailable(f"the server's answer cannot be read: {found.reason}")
        key = found.name if isinstance(found, Volume) else found.key
        if key != request.object_name:
            # A proxy that mixes up its connections: nothing may come of that, least of all a growth.
            raise request.unavailable(f"the server's answer is about {printable(key, limit=300)}")
        return found


def _patch(resource: Resource, name: str, body: JsonObject, *, namespace: str = "", subresource: str = "") -> Request:
    return Request(
        verb="patch",
        resource=resource,
        namespace=namespace,
        name=name,
        subresource=subresource,
        body=body,
        content_type=MERGE_PATCH,
    )
