"""Gathers the facts for `explain`: each read by itself, so that a missing right leaves one question open, not all.

A 404 is an answer ("there is none"); every other failure leaves None and a line in `unreadable`. Of a secret only
whether it exists counts: its content is not even decoded.
"""

import asyncio
import functools
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from msgspec import Raw

from resizer.cli.status_reader import Reader, document, now_s, part
from resizer.cli.status_session import describe
from resizer.csi.rules import load_known_rules
from resizer.explain.facts import ClassFacts, DriverObjects, Facts, Lease, Quota, Right, mounts
from resizer.kube.lease import lease_name
from resizer.kube.nodes import decode_node
from resizer.kube.projection import ATTACHMENT, POD
from resizer.kube.resource import ATTACHMENTS, LEASES, NODES, PODS, SECRETS, Resource
from resizer.kube.rights import REQUIRED
from resizer.model.errors import ApiError, NotFoundError
from resizer.model.objects import Claim, Node, Pod, Volume
from resizer.model.quantity import MalformedQuantityError, parse_bytes
from resizer.model.timestamp import parse_time

CLASSES: Final = Resource("storage.k8s.io", "v1", "storageclasses")
_DRIVERS: Final = Resource("storage.k8s.io", "v1", "csidrivers")
_CSI_NODES: Final = Resource("storage.k8s.io", "v1", "csinodes")
QUOTAS: Final = Resource("", "v1", "resourcequotas")
_REVIEWS: Final = Resource("authorization.k8s.io", "v1", "subjectaccessreviews")
_STORAGE: Final = "requests.storage"
_OF_CLASS: Final = ".storageclass.storage.k8s.io/"
T = TypeVar("T")


class _Gatherer:
    """Reads, and notes what could not be read."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.unreadable: list[str] = []

    async def seen(self, read: Awaitable[T]) -> T | None:
        """Return what was read; None, with a note, when that failed."""
        try:
            return await read
        except ApiError as error:
            self.unreadable.append(describe(error))
            return None

    async def volume(self, name: str) -> Volume | None:
        """Read the volume; None without a note when there is none."""
        if not name:
            return None
        try:
            return await self.reader.volume(name)
        except NotFoundError:
            return None
        except ApiError as error:
            self.unreadable.append(describe(error))
            return None


async def read_facts(reader: Reader, claim: Claim, *, account: str = "") -> Facts:
    """Read everything an explanation of this claim may need."""
    gather = _Gatherer(reader)
    volume = await gather.volume(claim.volume_name)
    driver = volume.driver if volume is not None else ""
    class_, objects, leases, secret, quotas = await asyncio.gather(
        gather.seen(read_class(reader, claim.storage_class)),
        gather.seen(_driver_objects(reader, driver)),
        gather.seen(_leases(reader, driver)),
        gather.seen(_has_secret(reader, volume)),
        gather.seen(read_quotas(reader, claim)),
    )
    pods, attachments, events, rights = await asyncio.gather(
        gather.seen(reader.list(PODS, POD.decode, namespace=claim.namespace)),
        gather.seen(reader.list(ATTACHMENTS, ATTACHMENT.decode)),
        gather.seen(reader.events(claim.namespace, uid=claim.uid)),
        gather.seen(_rights(reader, account)),
    )
    users = None if pods is None else tuple(pod for pod in pods if mounts(pod, claim.name))
    return Facts(
        claim=claim,
        volume=volume,
        now_s=now_s(),
        storage_class=class_,
        driver=objects,
        leases=leases,
        is_secret_there=secret,
        rights=rights or (),
        quotas=quotas,
        pods=users,
        attachments=None if attachments is None else tuple(attachments),
        nodes=await gather.seen(_nodes(reader, users or ())),
        events=None if events is None else events.get(claim.uid, ()),
        rules=load_known_rules().rules_of(driver) if driver else (),
        unreadable=tuple(gather.unreadable),
    )


async def read_class(reader: Reader, name: str) -> ClassFacts | None:
    """Read a StorageClass; one that does not exist is an answer. Raises ApiError."""
    if not name:
        return None
    try:
        found = await reader.get(CLASSES, document, name=name)
    except NotFoundError:
        return ClassFacts(name, allows_growth=False, is_there=False)
    return ClassFacts(name, allows_growth=found.get("allowVolumeExpansion") is True)


async def read_quotas(reader: Reader, claim: Claim) -> tuple[Quota, ...]:
    """Read the storage limits that count this claim. Raises ApiError."""
    names = {_STORAGE, f"{claim.storage_class}{_OF_CLASS}{_STORAGE}"}
    found = []
    for quota in await reader.list(QUOTAS, document, namespace=claim.namespace):
        hard, used = part(quota, "status", "hard"), part(quota, "status", "used")
        for resource in sorted(names & hard.keys()):
            try:
                limit, there = parse_bytes(str(hard[resource])), parse_bytes(str(used.get(resource, "0")))
            except MalformedQuantityError:
                continue
            found.append(Quota(str(part(quota, "metadata").get("name", "")), resource, limit, there))
    return tuple(found)


async def _driver_objects(reader: Reader, driver: str) -> DriverObjects | None:
    if not driver:
        return None
    is_declared, needs_attach = True, True
    try:
        spec = part(await reader.get(_DRIVERS, document, name=driver), "spec")
        needs_attach = spec.get("attachRequired") is not False
    except NotFoundError:
        is_declared = False
    nodes = await reader.list(_CSI_NODES, document)
    have = frozenset(str(part(node, "metadata").get("name", "")) for node in nodes if driver in _drivers_on(node))
    return DriverObjects(is_declared=is_declared, needs_attach=needs_attach, nodes=have)


def _drivers_on(node: dict[str, Any]) -> set[str]:
    listed = part(node, "spec").get("drivers")
    return {str(part(entry).get("name", "")) for entry in listed} if isinstance(listed, list) else set()


async def _leases(reader: Reader, driver: str) -> tuple[Lease, ...]:
    if not driver:
        return ()
    found = await reader.list(LEASES, document, fieldSelector=f"metadata.name={lease_name(driver)}")
    return tuple(_lease(lease) for lease in found)


def _lease(found: dict[str, Any]) -> Lease:
    meta, spec = part(found, "metadata"), part(found, "spec")
    duration = spec.get("leaseDurationSeconds")
    return Lease(
        namespace=str(meta.get("namespace", "")),
        name=str(meta.get("name", "")),
        holder=str(spec.get("holderIdentity") or ""),
        renewed_s=parse_time(str(spec.get("renewTime") or "")),
        duration_s=float(duration) if isinstance(duration, int) else 15.0,
    )


async def _has_secret(reader: Reader, volume: Volume | None) -> bool | None:
    if volume is None or not volume.expand_secret_name:
        return None
    try:
        await reader.get(SECRETS, _nothing, namespace=volume.expand_secret_namespace, name=volume.expand_secret_name)
    except NotFoundError:
        return False
    return True


def _nothing(data: bytes | Raw) -> bool:
    """Take note that it is there; its content is not even decoded."""
    return bool(data)


async def _nodes(reader: Reader, users: tuple[Pod, ...]) -> dict[str, Node | None]:
    found: dict[str, Node | None] = {}
    for name in sorted({pod.node for pod in users if pod.node}):
        try:
            found[name] = await reader.get(NODES, functools.partial(decode_node, name), name=name)
        except NotFoundError:
            found[name] = None
    return found


async def _rights(reader: Reader, account: str) -> tuple[Right, ...]:
    if not account:
        return ()
    namespace, _, name = account.partition("/")
    user = f"system:serviceaccount:{namespace}:{name}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    found = []
    for verb, resource in sorted(REQUIRED):
        plural, _, subresource = resource.partition("/")
        asked = {"verb": verb, "group": "", "resource": plural, "subresource": subresource}
        answer = await reader.ask(_REVIEWS, {"spec": {"user": user, "groups": groups, "resourceAttributes": asked}})
        found.append(Right(f"ServiceAccount {account}", verb, resource, allowed=answer.get("allowed") is True))
    return tuple(found)
