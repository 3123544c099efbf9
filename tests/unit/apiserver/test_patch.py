import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resizer.devcluster.apiserver.failure import ApiError
from resizer.devcluster.apiserver.patch import json_patch, merge, strategic_merge

# RFC 7386, appendix A, as far as the target is an object.
RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=3), values, max_size=3)


@pytest.mark.parametrize(("doc", "patch", "result"), RFC_7386)
def test_merge_patch_follows_the_rfc(doc: dict, patch: dict, result: dict) -> None:
    """The RFC's own examples come out as it says."""
    assert merge(doc, patch) == result


@given(documents, documents)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
def test_merge_patch_is_idempotent(doc: dict, patch: dict) -> None:
    """Applying a merge patch twice changes nothing more."""
    once = merge(copy.deepcopy(doc), copy.deepcopy(patch))
    assert merge(copy.deepcopy(once), copy.deepcopy(patch)) == once


CONDITIONS = {"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]}
STRATEGIC = {
    "an element is merged by its key": (
        {"conditions": [{"type": "B", "status": "False"}]},
        {"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "False"}]},
    ),
    "a new element is appended": (
        {"conditions": [{"type": "C", "status": "True"}]},
        {"conditions": [*CONDITIONS["conditions"], {"type": "C", "status": "True"}]},
    ),
    "an element is deleted by directive": (
        {"conditions": [{"$patch": "delete", "type": "A"}]},
        {"conditions": [{"type": "B", "status": "True"}]},
    ),
    "a list is replaced by directive": (
        {"conditions": [{"$patch": "replace"}, {"type": "Z"}]},
        {"conditions": [{"type": "Z"}]},
    ),
    "elements are put in order": (
        {"$setElementOrder/conditions": [{"type": "B"}, {"type": "A"}]},
        {"conditions": [{"type": "B", "status": "True"}, {"type": "A", "status": "True"}]},
    ),
    "null removes the list": ({"conditions": None}, {}),
    "a map is replaced by directive": ({"$patch": "replace", "x": 1}, {"x": 1}),
    "only retained keys stay": ({"$retainKeys": ["x"], "x": 1}, {"x": 1}),
}


@pytest.mark.parametrize("name", STRATEGIC)
def test_strategic_merge(name: str) -> None:
    """Lists of objects are merged by their key, and the directives do what they say."""
    patch, result = STRATEGIC[name]
    doc = {"conditions": [dict(item) for item in CONDITIONS["conditions"]]}
    assert strategic_merge(doc, patch) == result


def test_strategic_merge_of_plain_lists() -> None:
    """Finalizers are a set, from which elements can be deleted; other plain lists are replaced."""
    doc = {"finalizers": ["a", "b"], "accessModes": ["RWO"]}
    patch = {"finalizers": ["b", "c"], "$deleteFromPrimitiveList/finalizers": ["a"], "accessModes": ["RWX"]}
    assert strategic_merge(doc, patch) == {"finalizers": ["b", "c"], "accessModes": ["RWX"]}


def test_strategic_merge_needs_the_key() -> None:
    """An element without its merge key is refused, not appended."""
    with pytest.raises(ApiError, match="does not contain declared merge key: type"):
        strategic_merge({}, {"conditions": [{"status": "True"}]})


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/l/1", "value": 9}], {"l": [1, 9, 2], "m": {"a/b": 1}}),
        ([{"op": "add", "path": "/l/-", "value": 9}], {"l": [1, 2, 9], "m": {"a/b": 1}}),
        ([{"op": "remove", "path": "/m/a~1b"}], {"l": [1, 2], "m": {}}),
        ([{"op": "replace", "path": "/l/0", "value": 5}], {"l": [5, 2], "m": {"a/b": 1}}),
        ([{"op": "move", "from": "/l/0", "path": "/x"}], {"l": [2], "m": {"a/b": 1}, "x": 1}),
        ([{"op": "copy", "from": "/m", "path": "/n"}], {"l": [1, 2], "m": {"a/b": 1}, "n": {"a/b": 1}}),
        ([{"op": "test", "path": "/l", "value": [1, 2]}], {"l": [1, 2], "m": {"a/b": 1}}),
    ],
)
def test_json_patch(operations: list, result: dict) -> None:
    """Each operation of RFC 6902, with escaped keys and both ends of a list."""
    assert json_patch({"l": [1, 2], "m": {"a/b": 1}}, operations) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/l", "value": []},
        {"op": "remove", "path": "/nope"},
        {"op": "replace", "path": "/nope", "value": 1},
        {"op": "add", "path": "/l/7", "value": 1},
        {"op": "add", "path": "/l/x", "value": 1},
        {"op": "dance", "path": "/l"},
        {"path": "/l"},
        {"op": "add", "path": "l", "value": 1},
    ],
)
def test_json_patch_refuses(operation: dict) -> None:
    """A failed test, a missing path and a malformed operation refuse the patch with 422."""
    with pytest.raises(ApiError) as refused:
        json_patch({"l": [1]}, [operation])
    assert refused.value.code == 422
