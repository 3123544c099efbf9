"""kubectl's way to write switches works for the commands that stand beside it."""

import pytest

from resizer.cli.kubectl_switches import plain_switches


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("status --watch=false data", "status --no-watch data"),
        ("status --watch=true -A", "status --watch -A"),
        ("status --all-namespaces=false", "status"),
        ("grow data --to 5Gi --wait=true --keep-going=f", "grow data --to 5Gi --wait"),
        ("grow data --to 5Gi --dry-run=client", "grow data --to 5Gi --dry-run"),
        ("grow data --to 5Gi --dry-run=none", "grow data --to 5Gi"),
    ],
)
def test_a_switch_takes_a_value(given, read):
    """As in `kubectl rollout status --watch=false`; --dry-run=client must never change anything."""
    assert plain_switches(given.split()) == read.split()


@pytest.mark.parametrize(
    "line",
    [
        "status --watch=perhaps",
        "grow --dry-run=yes",
        "status -o=json --selector=app=db",
        "status -- --watch=false",
        "run",
    ],
)
def test_the_rest_is_left_as_it_is(line):
    """A value that is none, other flags, what stands behind "--", and `run`, which reads Go's flags itself."""
    assert plain_switches(line.split()) == line.split()
