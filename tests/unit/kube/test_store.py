import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from resizer.kube.store import MAX_MARKERS, Shelf, Store
from resizer.model.objects import Claim


def claim(version, *, name="data", uid="u1", size=""):
    return Claim("shop", name, uid, str(version), requested=size)


def shelf():
    return Shelf(key_of=lambda c: c.key, uid_of=lambda c: c.uid)


def test_an_older_event_never_takes_back_what_a_write_answered():
    """The answer of a write is newer than the events that led to it."""
    made = shelf()
    made.put(claim(5))
    made.put(claim(8, size="2Gi"))
    assert made.put(claim(6)) is False
    assert made.get("shop/data").requested == "2Gi"


def test_versions_are_compared_as_numbers():
    """Version 10 is newer than 9, though its text sorts before."""
    made = shelf()
    made.put(claim(9))
    assert made.put(claim(10))


def test_a_late_event_does_not_bring_a_deleted_object_back():
    """After a deletion, older events and later events of the same uid are refused; a new uid is welcome."""
    made = shelf()
    made.put(claim(5))
    made.remove(claim(7))
    assert made.put(claim(6)) is False
    assert made.put(claim(8)) is False
    assert made.put(claim(9, uid="u2"))


def test_a_late_deletion_spares_the_object_that_came_after():
    """The deletion of the first incarnation arrives after the second was created."""
    made = shelf()
    made.put(claim(9, uid="u2"))
    assert made.remove(claim(7, uid="u1")) is False
    assert made.get("shop/data").uid == "u2"


def test_a_read_that_finds_nothing_forgets_that_incarnation_only():
    """404 removes the object that was read, not one made meanwhile."""
    made = shelf()
    made.put(claim(9, uid="u2"))
    made.forget("shop/data", uid="u1")
    assert made.get("shop/data") is not None
    made.forget("shop/data", uid="u2")
    assert made.get("shop/data") is None
    assert made.put(claim(11, uid="u2")) is False


def test_a_fresh_list_deletes_what_it_lacks_but_not_what_is_newer():
    """What was written while the list was on its way is not in the list, and stays."""
    made, told = shelf(), []
    made.put(claim(5, name="gone"))
    made.put(claim(5, name="stays"))
    made.subscribe(lambda old, new: told.append((old and old.name, new and new.name)))
    made.begin_list()
    made.put(claim(5, name="stays"))
    made.put(claim(12, name="written"))
    assert made.end_list(10) == 1
    assert sorted(c.name for c in made.values()) == ["stays", "written"]
    assert told == [(None, "written"), ("gone", None)]


def test_the_late_answer_of_a_write_does_not_count_as_listed():
    """The object was deleted unseen; an answer to a write before that arrives while everything is listed afresh."""
    made = shelf()
    made.put(claim(5))
    made.begin_list()
    assert made.put_answer(claim(7))
    assert made.end_list(10) == 1
    assert made.get("shop/data") is None


def test_an_unreadable_object_may_come_back():
    """What was dropped because it could not be read is no deletion: the same uid is taken again."""
    made = shelf()
    made.put(claim(5))
    made.drop_unreadable("shop/data")
    made.begin_list()
    made.end_list(6)
    assert made.get("shop/data") is None
    assert made.put(claim(7))


def test_restored_history_is_taken_as_it_is():
    """After etcd was restored, versions are lower than before; all is forgotten and read afresh."""
    made = shelf()
    made.put(claim(900))
    assert made.begin_list() == 900
    made.history_went_back()
    assert made.put(claim(50))


def test_listeners_see_old_and_new_after_the_cache_holds_it():
    """A listener that looks into the cache finds what it is told; one that unsubscribed hears nothing."""
    made, told = shelf(), []
    end = made.subscribe(lambda old, new: told.append((old, new, made.get("shop/data"))))
    one, two = claim(1), claim(2)
    made.put(one)
    made.put(one)
    made.put(two)
    made.remove(claim(3))
    end()
    made.put(claim(4, uid="u2"))
    assert told == [(None, one, one), (one, two, two), (two, None, None)]


def test_deletion_markers_are_bounded():
    """A million deletions do not fill the memory."""
    made = shelf()
    for number in range(MAX_MARKERS + 50):
        made.remove(claim(number + 1, name=f"c{number}", uid=f"u{number}"))
    assert made.statistics()["deletion_markers"] == MAX_MARKERS


def test_what_is_not_wanted_is_let_pass_and_leaves_no_marker():
    """Pods without claims, thousands a day in some namespaces, take no memory and push out no marker of others."""
    made = Shelf(key_of=lambda c: c.key, uid_of=lambda c: c.uid, is_wanted=lambda c: bool(c.requested))
    told = []
    made.subscribe(lambda old, new: told.append((old, new)))
    made.begin_list()
    assert made.put(claim(1)) is False
    assert made.end_list(5) == 0
    assert made.remove(claim(6)) is False
    assert (len(made), made.statistics()["deletion_markers"], told) == (0, 0, [])


def test_what_is_not_wanted_takes_the_place_of_what_was():
    """A pod that was made again under its name, without the claim: nobody may go on believing in the first one."""
    made = Shelf(key_of=lambda c: c.key, uid_of=lambda c: c.uid, is_wanted=lambda c: bool(c.requested))
    made.put(claim(1, size="2Gi"))
    assert made.put(claim(5, uid="u2"))
    assert made.get("shop/data").uid == "u2"
    assert made.remove(claim(6, uid="u2"))
    assert made.get("shop/data") is None


def test_a_snapshot_is_not_disturbed_by_changes():
    """Iterating over claims while they change is safe."""
    store = Store()
    store.claim_shelf.put(claim(1))
    seen = store.claims()
    store.claim_shelf.remove(claim(2))
    assert len(list(seen)) == 1


def test_an_object_that_left_a_selection_may_return():
    """A watch by label reports a deletion when the label goes; with the label the same uid comes back."""
    store = Store(selected=True)
    store.claim_shelf.put(claim(1))
    store.claim_shelf.remove(claim(2))
    assert store.claim_shelf.put(claim(3))


@st.composite
def histories(draw):
    """A real history of one name: incarnations with rising versions, each deleted before the next is created."""
    version, steps = itertools.count(1), []
    for incarnation in range(draw(st.integers(1, 3))):
        uid = f"u{incarnation}"
        steps += [("put", claim(next(version), uid=uid)) for _ in range(draw(st.integers(1, 4)))]
        steps.append(("remove", claim(next(version), uid=uid)))
    if draw(st.booleans()):
        steps.append(("put", claim(next(version), uid="last")))
    return steps


@settings(max_examples=300, deadline=None)
@given(histories(), st.data())
def test_any_interleaving_ends_in_the_newest_state(history, data):
    """Events and answers in any order, any of them twice: the cache ends with what the server has."""
    order = data.draw(st.permutations(history + data.draw(st.lists(st.sampled_from(history), max_size=6))))
    made, told = shelf(), []
    made.subscribe(lambda old, new: told.append((old, new)))
    for step, state in order:
        getattr(made, step)(state)
    kind, newest = history[-1]
    assert made.get("shop/data") == (newest if kind == "put" else None)
    for old, new in told:
        assert old is None or new is None or int(new.version) > int(old.version)
