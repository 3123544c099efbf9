import datetime as dt

import pytest

from resizer.devcluster.apiserver.failure import ApiError
from resizer.devcluster.apiserver.present import Form, negotiate
from resizer.devcluster.apiserver.table import age


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400 + 3600, "8d"),
        (730 * 86400, "2y0d"),
        (-5, "0s"),
    ],
)
def test_age_as_kubectl_shows_it(seconds: int, shown: str) -> None:
    """Ages get coarser as they grow, at the same steps as kubectl's."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    then = (now - dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert age(then, now=now) == shown


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form()),
        ("*/*", Form()),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form("table")),
        ("application/json;as=Table;v=v1beta1;g=other.io,application/json", Form()),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Form("metadata")),
        ("application/vnd.kubernetes.protobuf,application/json", Form()),
        ("application/yaml", Form("plain", yaml=True)),
    ],
)
def test_negotiation(accept: str, form: Form) -> None:
    """The first media type that can be written wins; protobuf is passed over."""
    assert negotiate(accept) == form


def test_nothing_acceptable() -> None:
    """A client that takes protobuf only is told 406."""
    with pytest.raises(ApiError) as refused:
        negotiate("application/vnd.kubernetes.protobuf")
    assert refused.value.code == 406
