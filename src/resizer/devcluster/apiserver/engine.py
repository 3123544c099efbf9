"""What a request does to the store: create, update, patch, delete, with every rule of the API between.

All of it is synchronous: a request is decided and applied in one step of the event loop, so no two writes ever
interleave. What comes in is a target and a decoded body; what goes out is the object's new version, or an
`ApiError`. The HTTP edge is in `server`, the rules of the kinds in `kinds`, cross-object rules in `admission`.
"""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from collections.abc import Callable
from typing import Any

from resizer.devcluster.apiserver import failure
from resizer.devcluster.apiserver.admission import Admission
from resizer.devcluster.apiserver.cause import Cause
from resizer.devcluster.apiserver.failure import ApiError, DecodeError
from resizer.devcluster.apiserver.names import check_name
from resizer.devcluster.apiserver.resource import Document, Resource
from resizer.devcluster.apiserver.shape import normalise, ordered, unknown_fields
from resizer.devcluster.apiserver.store import Collection, Key, Store, Version, encode
from resizer.devcluster.apiserver.target import DeleteOptions, Target, WriteOptions, Written
from resizer.model.timestamp import format_time

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_META_CONSTANT = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def timestamp(moment: dt.datetime) -> str:
    """Write a time as Kubernetes does, in whole seconds."""
    return format_time(moment.timestamp())


class Engine:
    """Applies requests to one store. `now` gives the time for timestamps.

    `dropped_fields` (dotted paths by plural) are lost from every write, as a server loses the fields of a feature
    that it has not got: `{"persistentvolumeclaims": ("status.allocatedResources",)}` is Kubernetes before 1.32.
    """

    def __init__(self, store: Store, *, now: Callable[[], dt.datetime]) -> None:
        self.store = store
        self._now = now
        self._admission = Admission(store)
        self.dropped_fields: dict[str, tuple[str, ...]] = {}

    def get(self, target: Target) -> Version:
        """Return an object, or raise 404."""
        version = self.store.collection(target.resource).objects.get(target.key)
        if version is None:
            raise failure.not_found(target.resource, target.name)
        return version

    def create(self, target: Target, body: Document, options: WriteOptions) -> Written:
        """Create an object in a collection."""
        resource, collection = target.resource, self.store.collection(target.resource)
        self._check_body(resource, body, options)
        _shaped(resource, body, _as_request(resource))
        meta = body["metadata"]
        if resource.namespaced:
            if meta.setdefault("namespace", target.namespace) != target.namespace:
                text = "the namespace of the provided object does not match the namespace sent on the request"
                raise failure.bad_request(text)
        else:
            meta.pop("namespace", None)
        self._admission.check_namespace(resource, target.namespace, str(meta.get("name", "")))
        if meta.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        self._admission.mutate(resource, body)
        self._begin(resource, body, suffix=_is_free(collection, target.namespace))
        key = (target.namespace, str(meta.get("name", "")))
        causes = [*check_name(resource, meta), *resource.rules.validate(body)]
        if causes:
            raise failure.invalid(resource, key[1], causes)
        if key in collection.objects:
            raise failure.already_exists(resource, key[1])
        self._admission.validate(resource, body, None)
        if options.dry_run:
            return Written(encode(ordered(body)), created=True)
        version = self.store.put(collection, key, ordered(body))
        self._admission.after_write(resource, key)
        return Written(version.raw, created=True, uid=version.uid)

    def update(self, target: Target, body: Document, options: WriteOptions) -> Written:
        """Replace an object, or its status."""
        self._check_body(target.resource, body, options)
        old = self.get(target)
        named = body.setdefault("metadata", {}).setdefault("name", target.name)
        if named != target.name:
            text = f"the name of the object ({named}) does not match the name on the URL ({target.name})"
            raise failure.bad_request(text)
        if target.resource.needs_version and not body["metadata"].get("resourceVersion"):
            cause = Cause.invalid("metadata.resourceVersion", "0x0", "must be specified for an update")
            raise failure.invalid(target.resource, target.name, [cause])
        return self._replace(target, old, body, options, wrong=_as_request(target.resource))

    def patch(self, target: Target, apply: Callable[[Document], Document], options: WriteOptions) -> Written:
        """Change an object, or its status, by a function of its document."""
        old = self.get(target)
        body = apply(old.document())
        self._check_body(target.resource, body, options)
        return self._replace(target, old, body, options, wrong=_as_patch(body))

    def delete(self, target: Target, options: DeleteOptions) -> Written:
        """Delete an object, or mark it when finalizers or a node hold it."""
        old = self.get(target)
        doc = old.document()
        meta = doc["metadata"]
        _check_preconditions(target, old, options)
        self._admission.check_delete(target.resource, target.name)
        grace_s = _grace(target.resource, doc, options.grace_s)
        held = bool(meta.get("finalizers")) or self._admission.holds(target.resource, target.key) or grace_s > 0
        marked = "deletionTimestamp" in meta
        if held and marked and grace_s >= meta.get("deletionGracePeriodSeconds", 0):
            return Written(old.raw, uid=old.uid)
        if options.dry_run:
            return Written(old.raw, gone=not held, uid=old.uid)
        collection = self.store.collection(target.resource)
        if held:
            moment = self._now() + dt.timedelta(seconds=grace_s)
            meta.setdefault("deletionTimestamp", timestamp(moment))
            meta["deletionGracePeriodSeconds"] = grace_s
            self._admission.mark(target.resource, doc)
            version = self.store.put(collection, target.key, ordered(doc))
            if target.resource.plural == "namespaces":
                self._empty_namespace(target.name)
            return Written(version.raw, gone=target.key not in collection.objects, uid=old.uid)
        version = self._remove(target.resource, target.key, doc)
        return Written(version.raw, gone=True, uid=old.uid)

    def expire_events(self, *, older_than: dt.timedelta) -> None:
        """Forget events that nobody has touched for a while, as a cluster does after an hour."""
        events = self.store.named("events")
        limit = timestamp(self._now() - older_than)
        for version in list(events.objects.values()):
            doc = version.document()
            series = doc.get("series") or {}
            last = doc.get("lastTimestamp") or series.get("lastObservedTime") or doc["metadata"]["creationTimestamp"]
            if max(last, doc["metadata"]["creationTimestamp"]) < limit:
                self._remove(events.resource, version.key, doc)

    def _let_go(self, resource: Resource, key: Key) -> None:
        """Remove an object that is marked as deleted, if nothing holds it any longer."""
        version = self.store.collection(resource).objects.get(key)
        if version is None:
            return
        doc = version.document()
        meta = doc["metadata"]
        if "deletionTimestamp" in meta and not meta.get("finalizers") and not self._admission.holds(resource, key):
            self._remove(resource, key, doc)

    def bind_pod(self, target: Target, node: str) -> None:
        """Give a pod its node, once."""
        doc = self.get(target).document()
        if doc["spec"].get("nodeName"):
            text = f'pod {target.name} is already assigned to node "{doc["spec"]["nodeName"]}"'
            raise ApiError(409, "Conflict", text, details=failure.described(target.resource, target.name))
        doc["spec"]["nodeName"] = node
        self.store.put(self.store.collection(target.resource), target.key, doc)

    def _empty_namespace(self, namespace: str) -> None:
        """Delete everything in a namespace; what finalizers hold stays until it is let go."""
        for collection in self.store:
            if collection.resource.namespaced:
                for key in list(collection.keys(namespace)):
                    self.delete(Target(collection.resource, *key), DeleteOptions(grace_s=0))

    def _remove(self, resource: Resource, key: Key, doc: Document) -> Version:
        version = self.store.remove(self.store.collection(resource), key, ordered(doc))
        self._admission.after_write(resource, key)
        home = self._admission.going_namespace(resource, key)
        if home is not None:
            self._let_go(self.store.named("namespaces").resource, home)
        return version

    def _check_body(self, resource: Resource, body: Document, options: WriteOptions) -> None:
        kind, version = body.get("kind", resource.kind), body.get("apiVersion", resource.api_version)
        what = f'{kind} in version "{version.rpartition("/")[2]}" cannot be handled as a {resource.kind}'
        if kind != resource.kind or version != resource.api_version:
            short = version.rpartition("/")[2]
            internal = (resource.group or "core").partition(".")[0]
            text = f"converting ({short}.{kind}) to ({internal}.{resource.kind}): unknown conversion"
            raise failure.bad_request(f"{what}: {text}")
        unknown = unknown_fields(resource, body, drop=not options.strict)
        if unknown and options.strict:
            text = ", ".join(f'unknown field "{name}"' for name in unknown)
            raise failure.bad_request(f"{what}: strict decoding error: {text}")
        for path in self.dropped_fields.get(resource.plural, ()):
            _drop(body, path)

    def _begin(self, resource: Resource, body: Document, *, suffix: Callable[[str], bool]) -> None:
        """Give a new object its name, uid, times and what its kind starts with."""
        meta, now = body["metadata"], timestamp(self._now())
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = _generated(meta["generateName"], suffix)
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"):
            meta.pop(name, None)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = now
        if resource.generation:
            meta["generation"] = 1
        if resource.finalizer and resource.finalizer not in meta.get("finalizers", []):
            meta["finalizers"] = [*meta.get("finalizers", []), resource.finalizer]
        if meta.get("name"):
            resource.rules.prepare_create(body, now)
        resource.rules.default(body)

    def _replace(
        self, target: Target, old: Version, body: Document, options: WriteOptions, *, wrong: _Wording
    ) -> Written:
        resource, before = target.resource, old.document()
        _shaped(resource, body, wrong)
        _check_version(target, body, old)
        for name in _META_CONSTANT:
            _restore(body["metadata"], before["metadata"], name)
        if resource.has_status and target.subresource == "status":
            _restore(body, before, "spec")
            resource.rules.prepare_status(body, before, timestamp(self._now()))
        elif resource.has_status:
            _restore(body, before, "status")
            resource.rules.prepare_update(body, before)
        else:
            resource.rules.prepare_update(body, before)
        resource.rules.default(body)
        self._count_generation(resource, body, before)
        self._validate(target, body, before)
        return self._store(target, old, body, before, options)

    def _count_generation(self, resource: Resource, body: Document, before: Document) -> None:
        if not resource.generation:
            return
        count = before["metadata"].get("generation", 1)
        body["metadata"]["generation"] = count + (body.get("spec") != before.get("spec"))

    def _validate(self, target: Target, body: Document, before: Document) -> None:
        resource, rules = target.resource, target.resource.rules
        if resource.has_status and target.subresource == "status":
            causes = rules.validate_status(body, before)
        else:
            causes = [*rules.validate(body), *rules.validate_update(body, before)]
        if causes:
            raise failure.invalid(resource, target.name, causes)
        if not target.subresource:
            self._admission.validate(resource, body, before)

    def _store(self, target: Target, old: Version, body: Document, before: Document, options: WriteOptions) -> Written:
        body["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        if body == before:
            return Written(old.raw, uid=old.uid)
        body = ordered(body)
        meta = body["metadata"]
        held = meta.get("finalizers") or self._admission.holds(target.resource, target.key)
        gone = "deletionTimestamp" in meta and not held and not meta.get("deletionGracePeriodSeconds")
        if options.dry_run:
            return Written(encode(body), uid=old.uid)
        if gone:
            # Watchers see the last state that was stored, the writer sees what it wrote.
            self._remove(target.resource, target.key, before)
            return Written(encode(body), gone=True, uid=old.uid)
        version = self.store.put(self.store.collection(target.resource), target.key, body)
        self._admission.after_write(target.resource, target.key)
        return Written(version.raw, uid=old.uid)


_Wording = Callable[[DecodeError], ApiError]


def _as_request(resource: Resource) -> _Wording:
    def wording(error: DecodeError) -> ApiError:
        what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        return failure.bad_request(f"{what}: {error}")

    return wording


def _as_patch(body: Document) -> _Wording:
    return lambda error: failure.invalid_patch(encode(body).decode(), str(error))


def _shaped(resource: Resource, body: Document, wrong: _Wording) -> None:
    try:
        normalise(resource, body)
    except DecodeError as error:
        raise wrong(error) from error


def _restore(after: Document, before: Document, name: str) -> None:
    after.pop(name, None)
    if name in before:
        after[name] = before[name]


def _check_version(target: Target, body: Document, old: Version) -> None:
    meta = body["metadata"]
    asked, uid = meta.get("resourceVersion"), meta.get("uid")
    if uid and uid != old.uid:
        text = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.uid}"
        raise failure.precondition_failed(target.resource, target.name, text)
    if asked and asked != str(old.revision):
        raise failure.conflict(target.resource, target.name)


def _check_preconditions(target: Target, old: Version, options: DeleteOptions) -> None:
    if options.uid and options.uid != old.uid:
        text = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({old.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise failure.precondition_failed(target.resource, target.name, text)
    if options.revision and options.revision != str(old.revision):
        text = (
            f"the ResourceVersion in the precondition ({options.revision}) does not match the ResourceVersion in "
            f"record ({old.revision}). The object might have been modified"
        )
        raise failure.precondition_failed(target.resource, target.name, text)


def _is_free(collection: Collection, namespace: str) -> Callable[[str], bool]:
    return lambda name: (namespace, name) not in collection.objects


def _drop(doc: Document, path: str) -> None:
    *steps, last = path.split(".")
    node: Any = doc
    for step in steps:
        node = node.get(step) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(last, None)


def _generated(prefix: str, is_free: Callable[[str], bool]) -> str:
    while True:
        name = prefix + "".join(secrets.choice(_SUFFIX) for _ in range(5))
        if is_free(name):
            return name


def _grace(resource: Resource, doc: Document, asked_s: int | None) -> int:
    """Find how long a pod may take to go: 0 unless a node runs it."""
    spec, phase = doc.get("spec", {}), doc.get("status", {}).get("phase")
    if not resource.graceful or not spec.get("nodeName") or phase in {"Succeeded", "Failed"}:
        return 0
    return int(spec.get("terminationGracePeriodSeconds", 30)) if asked_s is None else max(asked_s, 0)
