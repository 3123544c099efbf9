import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resizer.devcluster.apiserver.catalogue import RESOURCES
from resizer.devcluster.apiserver.store import Collection, CompactedError, Store


def store(history: int = 100) -> tuple[Store, Collection]:
    made = Store(RESOURCES, history=history)
    return made, made.named("persistentvolumeclaims")


def put(made: Store, collection: Collection, name: str, mark: str = "", namespace: str = "n") -> int:
    labels = {"mark": mark}
    doc = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}}
    return made.put(collection, (namespace, name), doc).revision


def remove(made: Store, collection: Collection, name: str) -> int:
    return made.remove(collection, ("n", name), collection.objects["n", name].document()).revision


def test_one_counter_for_all() -> None:
    """Versions grow by one with every write of any resource."""
    made, claims = store()
    nodes = made.named("nodes")
    first = put(made, claims, "a")
    assert made.put(nodes, ("", "x"), {"metadata": {"name": "x"}}).revision == first + 1
    assert remove(made, claims, "a") == first + 2


def test_documents_are_nobody_elses() -> None:
    """Changing a document that was read changes nothing in the store."""
    made, claims = store()
    put(made, claims, "a", "x")
    claims.objects["n", "a"].document()["metadata"]["labels"]["mark"] = "changed"
    assert claims.objects["n", "a"].document()["metadata"]["labels"] == {"mark": "x"}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.data())
def test_snapshots_undo_exactly(steps: list[tuple[str, bool]], data: st.DataObject) -> None:
    """The state at any remembered version comes back as it was, whatever has happened since."""
    made, claims = store()
    past = {made.revision: dict(claims.objects)}
    for number, (name, deletes) in enumerate(steps):
        if deletes and ("n", name) in claims.objects:
            remove(made, claims, name)
        else:
            put(made, claims, name, str(number))
        past[made.revision] = dict(claims.objects)
    revision = data.draw(st.sampled_from(sorted(past)))
    assert claims.snapshot(revision) == past[revision]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.integers(min_value=1, max_value=12), st.integers(min_value=0, max_value=60))
def test_history_is_bounded_and_honest(history: int, writes: int) -> None:
    """From any version that is not refused all later changes come, in order, and the ring holds its bounds."""
    made, claims = store(history)
    versions = [made.revision, *(put(made, claims, "a", str(number)) for number in range(writes))]
    kept = 0
    for index, revision in enumerate(versions):
        try:
            found = claims.changes_from(claims.position_after(revision))
        except CompactedError:
            continue
        assert [change.revision for change in found] == versions[index + 1 :]
        kept = max(kept, len(found))
    assert min(history, writes) <= kept <= 2 * history


def test_compaction_forgets_all_but_the_present() -> None:
    """After compaction older versions are refused, the present one is not."""
    made, claims = store()
    old = put(made, claims, "a")
    now = put(made, claims, "b")
    made.compact()
    with pytest.raises(CompactedError):
        claims.position_after(old)
    with pytest.raises(CompactedError):
        claims.snapshot(old)
    assert claims.changes_from(claims.position_after(now)) == []


def test_compaction_leaves_quiet_collections_alone() -> None:
    """A collection in which nothing happened answers from any version: nothing of it has been lost."""
    made, claims = store()
    start = made.revision
    put(made, claims, "a")
    made.compact()
    assert made.named("nodes").changes_from(made.named("nodes").position_after(start)) == []


def test_keys_of_one_namespace() -> None:
    """Namespaces that begin alike are kept apart, and keys come in order."""
    made, claims = store()
    for namespace in ("a", "a-b", "ab", "a.b"):
        for name in ("y", "x"):
            put(made, claims, name, namespace=namespace)
    assert claims.keys("a") == [("a", "x"), ("a", "y")]
    assert claims.keys("a-b") == [("a-b", "x"), ("a-b", "y")]
    assert len(claims.keys("")) == 8
