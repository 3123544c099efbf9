import pytest

from resizer.devcluster.apiserver.catalogue import Catalogue
from resizer.devcluster.apiserver.failure import ApiError
from resizer.devcluster.apiserver.selector import parse_selection
from resizer.devcluster.apiserver.store import Version

CATALOGUE = Catalogue()
CLAIMS = CATALOGUE.find("", "v1", "persistentvolumeclaims")
PODS = CATALOGUE.find("", "v1", "pods")
assert CLAIMS is not None
assert PODS is not None


def matches(labels: str = "", fields: str = "", *, resource=PODS, namespace: str = "") -> bool:
    have = {"app": "db", "tier": ""}
    values = {"metadata.name": "p", "metadata.namespace": "n", "spec.nodeName": "node-1", "status.phase": "Running"}
    values["spec.schedulerName"] = ""
    version = Version(("n", "p"), 1, "u", b"{}", have, values)
    return parse_selection(resource, namespace=namespace, labels=labels, fields=fields).matches(version)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=db", True),
        ("app==db", True),
        ("app = db", True),
        ("app=web", False),
        ("app!=db", False),
        ("app!=web", True),
        ("missing!=x", True),
        ("missing=x", False),
        ("app in (db, web)", True),
        ("app notin (db)", False),
        ("missing notin (db)", True),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("tier=", True),
        ("app=db,tier in (,x),!missing", True),
        ("app=db,missing", False),
        ("example.com/app!=x", True),
    ],
)
def test_label_selectors(text: str, *, expected: bool) -> None:
    """Equality, sets and existence, alone and joined by commas, as the API documents them."""
    assert matches(text) is expected


@pytest.mark.parametrize("text", ["app in db", "a b", "=x", "app in (db"])
def test_malformed_label_selectors(text: str) -> None:
    """What is no selector is refused with 400, never taken for an empty one."""
    with pytest.raises(ApiError) as refused:
        matches(text)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spec.nodeName=node-1", True),
        ("spec.nodeName=node-1,status.phase!=Running", False),
        ("metadata.name=p,metadata.namespace=n", True),
        ("status.phase!=Failed", True),
        ("spec.schedulerName=", True),
    ],
)
def test_field_selectors(text: str, *, expected: bool) -> None:
    """Fields are compared with = and !=; a field that is not set is empty."""
    assert matches(fields=text) is expected


def test_unknown_fields_are_refused() -> None:
    """A field that a kind has no selector for is a 400 in the words of that kind."""
    with pytest.raises(ApiError, match=r"^field label not supported: spec\.x$"):
        matches(fields="spec.x=1")
    with pytest.raises(ApiError, match=r'^"spec\.x" is not a known field selector: only "metadata\.name"'):
        matches(fields="spec.x=1", resource=CLAIMS)


def test_namespace_is_part_of_the_selection() -> None:
    """An object of another namespace never matches."""
    assert matches(namespace="n")
    assert not matches(namespace="other")
