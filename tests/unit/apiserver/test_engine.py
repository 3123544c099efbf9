import datetime as dt
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resizer.devcluster.apiserver import patch
from resizer.devcluster.apiserver.catalogue import RESOURCES, Catalogue
from resizer.devcluster.apiserver.engine import Engine
from resizer.devcluster.apiserver.failure import ApiError
from resizer.devcluster.apiserver.handler import Call, Handler
from resizer.devcluster.apiserver.identity import Tokens, User
from resizer.devcluster.apiserver.rbac import Authorizer
from resizer.devcluster.apiserver.request import Attributes
from resizer.devcluster.apiserver.review import Reviews
from resizer.devcluster.apiserver.store import Store, decode, encode
from resizer.devcluster.apiserver.target import Target, WriteOptions

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

odd = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "1Gi", "x", "kubernetes.io/x"])
odder = st.recursive(
    odd,
    lambda below: (
        st.lists(below, max_size=2) | st.dictionaries(st.sampled_from(["storage", "name", "a"]), below, max_size=2)
    ),
)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock: Clock) -> Engine:
    made = Engine(Store(RESOURCES, history=100), now=clock)
    namespaces = made.store.named("namespaces").resource
    made.create(Target(namespaces), {"metadata": {"name": "default"}}, WriteOptions())
    return made


def new_engine() -> tuple[Engine, Handler]:
    made = Engine(Store(RESOURCES, history=100), now=lambda: NOW)
    made.create(Target(made.store.named("namespaces").resource), {"metadata": {"name": "default"}}, WriteOptions())
    reviews = Reviews(Authorizer(made.store), Tokens(clock=lambda: 0.0), now=lambda: NOW)
    return made, Handler(Catalogue(), made, reviews)


def post(handler: Handler, plural: str, body: Any, group: str = "") -> None:
    asked = Attributes(verb="create", group=group, version="v1", plural=plural, namespace="default")
    handler.answer(Call(asked, User("u"), {}, "", "application/json", encode(body)))


FIELDS = ["accessModes", "resources", "storageClassName", "volumeName", "volumeMode", "hard", "containers", "capacity"]


@given(
    plural=st.sampled_from(["persistentvolumeclaims", "pods", "resourcequotas", "events", "secrets", "services"]),
    meta=st.dictionaries(
        st.sampled_from(["labels", "annotations", "finalizers", "ownerReferences"]), odder, max_size=2
    ),
    spec=odder | st.dictionaries(st.sampled_from(FIELDS), odder, max_size=4),
    status=odder,
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
def test_odd_objects_are_refused_or_stored(plural: str, meta: Any, spec: Any, status: Any) -> None:
    """Whatever the types in a body, the answer is a Status or an object, and a refusal leaves nothing behind."""
    engine, handler = new_engine()
    before = engine.store.revision
    body = {"metadata": {"name": "x", **meta}, "spec": spec, "status": status}
    try:
        post(handler, plural, body)
    except ApiError as error:
        assert 400 <= error.code < 500
        assert engine.store.revision == before
    else:
        assert decode(engine.store.named(plural).objects["default", "x"].raw)["kind"]


def claim(storage: str = "1Gi") -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}, "volumeName": "pv"}
    return {"metadata": {"name": "c", "namespace": "default"}, "spec": spec}


def test_growing_needs_a_bound_claim_of_a_class_that_allows_it(engine: Engine) -> None:
    """The four answers to growth: unbound 422, no class 403, class silent 403, class willing 200."""
    claims, classes = (
        engine.store.named("persistentvolumeclaims").resource,
        engine.store.named("storageclasses", group="storage.k8s.io"),
    )
    body = claim()
    body["spec"]["storageClassName"] = "s"
    engine.create(Target(claims, "default"), body, WriteOptions())
    target = Target(claims, "default", "c")
    grow = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}

    def code() -> int:
        try:
            engine.patch(target, lambda doc: patch.merge(doc, grow), WriteOptions(dry_run=True))
        except ApiError as error:
            return error.code
        return 200

    assert code() == 422
    status = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    engine.patch(Target(claims, "default", "c", "status"), lambda doc: patch.merge(doc, status), WriteOptions())
    assert code() == 403
    engine.create(Target(classes.resource), {"metadata": {"name": "s"}, "provisioner": "p"}, WriteOptions())
    assert code() == 403
    allow = {"allowVolumeExpansion": True}
    engine.patch(Target(classes.resource, "", "s"), lambda doc: patch.merge(doc, allow), WriteOptions())
    assert code() == 200


def test_events_go_after_an_hour(engine: Engine, clock: Clock) -> None:
    """Events that nobody has touched for an hour are forgotten; one that is counted on stays."""
    events = engine.store.named("events")
    for name in ("old", "counted"):
        about = {"kind": "Pod", "namespace": "default", "name": "p"}
        body = {"metadata": {"name": name, "namespace": "default"}, "involvedObject": about}
        engine.create(Target(events.resource, "default"), body, WriteOptions())
    clock.now += dt.timedelta(minutes=50)
    again = {"count": 2, "lastTimestamp": "2026-01-01T00:50:00Z"}
    engine.patch(Target(events.resource, "default", "counted"), lambda doc: patch.merge(doc, again), WriteOptions())
    clock.now += dt.timedelta(minutes=20)
    engine.expire_events(older_than=dt.timedelta(hours=1))
    assert [name for _, name in events.objects] == ["counted"]


def test_dry_run_changes_nothing(engine: Engine) -> None:
    """A dry run answers as the real thing would, and the store stays as it was."""
    claims = engine.store.named("persistentvolumeclaims").resource
    before = engine.store.revision
    written = engine.create(Target(claims, "default"), claim(), WriteOptions(dry_run=True))
    assert decode(written.raw)["status"] == {"phase": "Pending"}
    assert (engine.store.revision, dict(engine.store.named("persistentvolumeclaims").objects)) == (before, {})
