"""What each verb answers: from a request that may proceed to a status, a body and a form.

Synchronous, like everything below it; `server` reads the body beforehand and writes the answer afterwards.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from resizer.devcluster.apiserver import event, failure, patch
from resizer.devcluster.apiserver.apply import Applied
from resizer.devcluster.apiserver.body import media_type, read_object, read_options, read_patch
from resizer.devcluster.apiserver.catalogue import Catalogue
from resizer.devcluster.apiserver.engine import Engine
from resizer.devcluster.apiserver.identity import User
from resizer.devcluster.apiserver.present import Presenter, negotiate
from resizer.devcluster.apiserver.request import Attributes, find_resource, revision_of_list
from resizer.devcluster.apiserver.resource import Document, Resource
from resizer.devcluster.apiserver.review import REVIEW_GROUPS, Reviews
from resizer.devcluster.apiserver.selector import Selection, parse_selection
from resizer.devcluster.apiserver.store import CompactedError, Key, Version, decode, encode
from resizer.devcluster.apiserver.target import DeleteOptions, Target, WriteOptions, Written


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has been read, whose sender is known and may do what is asked."""

    asked: Attributes
    user: User
    query: Mapping[str, str]
    accept: str
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Handler:
    """Answers every verb but watch."""

    def __init__(self, catalogue: Catalogue, engine: Engine, reviews: Reviews) -> None:
        self._catalogue = catalogue
        self._engine = engine
        self._reviews = reviews
        self._applied = Applied()

    def answer(self, call: Call) -> Answer:
        """Answer a request about resources."""
        if call.asked.group in REVIEW_GROUPS:
            if call.asked.verb != "create":
                raise failure.method_not_allowed()
            review = self._reviews.answer(call.asked, _object_body(call), call.user)
            return Answer(201, encode(review))
        resource = find_resource(call.asked, self._catalogue)
        asked = call.asked
        target = Target(resource, asked.namespace, asked.name, asked.subresource)
        if asked.subresource in {"token", "binding", "finalize"}:
            return self._special(call, target)
        verbs = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        try:
            return verbs[asked.verb](call, target)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            # Rules read the fields that they know; one of another type than they expect ends up here.
            text = f"the object does not fit {resource.qualified_kind}: {type(error).__name__}: {error}"
            raise failure.bad_request(text) from error

    def _get(self, call: Call, target: Target) -> Answer:
        return _shown(call, target.resource, 200, self._engine.get(target).raw)

    def _list(self, call: Call, target: Target) -> Answer:
        form = negotiate(call.accept)
        presenter = Presenter(target.resource, form, include=call.query.get("includeObject", "Metadata"))
        selection = selection_of(call, target.resource)
        versions, meta = self._page(call, target.resource, selection)
        return Answer(200, form.encode(presenter.many(versions, meta)), form.content_type)

    def _page(self, call: Call, resource: Resource, selection: Selection) -> tuple[list[Version], Document]:
        """Find one page of a list: the objects and the list's metadata."""
        store, collection = self._engine.store, self._engine.store.collection(resource)
        limit = _number(call.query.get("limit"), "limit")
        start, revision = None, store.revision
        objects: Mapping[Key, Version] = collection.objects
        keys = collection.keys(selection.namespace)
        asked = revision_of_list(call.query.get("resourceVersion", ""))
        token = call.query.get("continue", "")
        if token:
            at, start = _read_token(token)
            revision = at if at > 0 else revision
        elif call.query.get("resourceVersionMatch") == "Exact" and asked:
            revision = asked
        elif asked > revision:
            text = f"Too large resource version: {asked}, current: {revision}"
            raise failure.ApiError(504, "Timeout", text, details={"retryAfterSeconds": 1})
        if revision != store.revision:
            try:
                objects = collection.snapshot(revision)
            except CompactedError as error:
                raise failure.expired("the version of this list is too old: start again without it") from error
            keys = sorted(key for key in objects if selection.namespace in {"", key[0]})
        if start is not None:
            keys = [key for key in keys if key > start]
        found = [objects[key] for key in keys]
        if selection.filters:
            found = [version for version in found if selection.matches(version)]
        meta: Document = {"resourceVersion": str(revision)}
        if limit and len(found) > limit:
            meta["continue"] = _write_token(revision, found[limit - 1].key)
            if not selection.filters:
                meta["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        return found, meta

    def _create(self, call: Call, target: Target) -> Answer:
        body = _object_body(call, target.resource)
        if target.resource.stored_as:
            body = event.to_core(body)
            target = self._stored(target)
        written = self._engine.create(target, body, _write_options(call))
        return self._written(call, written)

    def _update(self, call: Call, target: Target) -> Answer:
        body = _object_body(call, target.resource)
        if target.resource.stored_as:
            body, target = event.to_core(body), self._stored(target)
        return self._written(call, self._engine.update(target, body, _write_options(call)))

    def _patch(self, call: Call, target: Target) -> Answer:
        kind, content = read_patch(call.data, call.content_type)
        options = _write_options(call)
        stored = self._stored(target)
        if kind == "apply":
            written = self._applied.apply(self._engine, stored, content, options, call.query.get("fieldManager", ""))
            return self._written(call, written)

        def change(doc: Document) -> Document:
            if target.resource.stored_as:
                return event.to_core(_patched(kind, event.from_core(doc), content))
            return _patched(kind, doc, content)

        return self._written(call, self._engine.patch(stored, change, options))

    def _delete(self, call: Call, target: Target) -> Answer:
        options = _delete_options(call)
        written = self._engine.delete(self._stored(target), options)
        if written.gone and not target.resource.returns_deleted:
            details = {**failure.described(target.resource, target.name), "uid": written.uid}
            status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            return Answer(200, encode(status))
        return self._written(call, written)

    def _delete_collection(self, call: Call, target: Target) -> Answer:
        options = _delete_options(call)
        selection = selection_of(call, target.resource)
        stored = self._stored(target).resource
        collection = self._engine.store.collection(stored)
        chosen = [
            collection.objects[key]
            for key in collection.keys(selection.namespace)
            if selection.matches(collection.objects[key])
        ]
        for version in chosen:
            if version.key in collection.objects:
                self._engine.delete(Target(stored, *version.key), options)
        meta = {"resourceVersion": str(self._engine.store.revision)}
        return Answer(200, Presenter(target.resource, negotiate("")).many(chosen, meta))

    def _special(self, call: Call, target: Target) -> Answer:
        """Subresources that are no view of the object: tokens, bindings, the end of a namespace."""
        body = _object_body(call, None)
        if target.subresource == "token" and call.asked.verb == "create":
            self._engine.get(target)
            return Answer(201, encode(self._reviews.issue_token(target.namespace, target.name, body)))
        if target.subresource == "binding" and call.asked.verb == "create":
            self._engine.bind_pod(target, str((body.get("target") or {}).get("name", "")))
            status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
            return Answer(201, encode(status))
        if target.subresource == "finalize" and call.asked.verb == "update":
            return Answer(200, self._engine.get(target).raw)
        raise failure.method_not_allowed()

    def _stored(self, target: Target) -> Target:
        """Return the target under the resource that is stored (core v1 for events)."""
        if not target.resource.stored_as:
            return target
        core = self._engine.store.named(target.resource.stored_as).resource
        return Target(core, target.namespace, target.name, target.subresource)

    def _written(self, call: Call, written: Written) -> Answer:
        resource = find_resource(call.asked, self._catalogue)
        return _shown(call, resource, 201 if written.created else 200, written.raw)


def selection_of(call: Call, resource: Resource) -> Selection:
    """Read the selectors of a request. A watch or delete of one name is a selection, too."""
    fields = call.query.get("fieldSelector", "")
    if call.asked.name:
        fields = ",".join(filter(None, (fields, f"metadata.name={call.asked.name}")))
    labels = call.query.get("labelSelector", "")
    return parse_selection(resource, namespace=call.asked.namespace, labels=labels, fields=fields)


def _shown(call: Call, resource: Resource, status: int, raw: bytes) -> Answer:
    form = negotiate(call.accept)
    presenter = Presenter(resource, form, include=call.query.get("includeObject", "Metadata"))
    return Answer(status, form.encode(presenter.one(raw)), form.content_type)


def _patched(kind: str, doc: Document, content: object) -> Document:
    if isinstance(content, list):
        return patch.json_patch(doc, content)
    assert isinstance(content, dict)
    return patch.merge(doc, content) if kind == "merge" else patch.strategic_merge(doc, content)


_ANY_OBJECT = Resource(group="", version="v1", kind="Object", plural="objects", namespaced=False)


def _object_body(call: Call, resource: Resource | None = None) -> Document:
    if resource is None and not call.data.strip():
        return {}
    return read_object(resource or _ANY_OBJECT, call.data, media_type(call.content_type))


def _write_options(call: Call) -> WriteOptions:
    return WriteOptions(_is_dry(call.query.get("dryRun")), call.query.get("fieldValidation") == "Strict")


def _is_dry(value: str | None) -> bool:
    if value and value != "All":
        raise failure.bad_request(f'dryRun: Unsupported value: "{value}": supported values: "All"')
    return bool(value)


def _delete_options(call: Call) -> DeleteOptions:
    body = read_options(call.data, media_type(call.content_type))
    conditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
    dry = (body.get("dryRun") or [call.query.get("dryRun")])[0]
    return DeleteOptions(
        dry_run=_is_dry(dry),
        uid=str(conditions.get("uid") or ""),
        revision=str(conditions.get("resourceVersion") or ""),
        grace_s=None if grace is None else _number(str(grace), "gracePeriodSeconds"),
    )


def _number(text: str | None, name: str) -> int:
    try:
        return max(int(text or 0), 0)
    except ValueError as error:
        raise failure.bad_request(f'{name}: "{text}" is no number') from error


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: str


def _write_token(revision: int, last: Key) -> str:
    """Encode where a list goes on, in the form of the real server."""
    token = encode({"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(filter(None, last)) + "\0"})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def _read_token(text: str) -> tuple[int, Key]:
    """Decode a continue token into its version and the last key that was sent."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise failure.bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    try:
        token = msgspec.convert(decode(data), _Token)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        first = data[:1].decode("latin-1")
        shown = first if first.isascii() else f"\\x{ord(first):02x}"
        why = f"invalid character '{shown}' looking for beginning of value"
        raise failure.bad_request(f"invalid continue token: continue key is not valid: {why}") from error
    namespace, _, name = token.start.rstrip("\0").rpartition("/")
    return token.rv, (namespace, name)
