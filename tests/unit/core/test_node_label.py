import hashlib

import pytest

from resizer.core.machine import advance
from resizer.core.node_label import has_stale_labels, label_changes, node_label, with_labels
from resizer.core.state import Instant, Memory, Policy, RecordClaim, Settle, Snapshot, Started
from resizer.core.triggers import wants_attention
from resizer.model.driver import DriverFacts
from resizer.model.objects import Claim, Volume

A, B = node_label("node-a"), node_label("node-b")


def claim(state="NodeResizePending", labels=(), **more):
    fields = {"phase": "Bound", "volume_name": "pv", "requested": "4Gi", "capacity": "3Gi", "allocated": "4Gi", **more}
    return Claim("shop", "data", "c1", "9", state=state, node_labels=labels, **fields)


def test_the_label_is_a_valid_one_for_any_node():
    """The first 32 hex digits of the name's sha256: at most 63 characters whatever the node is called."""
    name = "n" * 253
    assert node_label(name) == f"csi-resizer.dev/node-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    assert len(node_label(name).partition("/")[2]) <= 63


@pytest.mark.parametrize(
    ("labels", "nodes", "changes"),
    [
        ((), {"node-a"}, {A: ""}),
        ((A,), {"node-a"}, {}),
        ((A,), {"node-b"}, {A: None, B: ""}),
        ((A,), set(), {A: None}),
        ((A,), {"node-a", "node-b"}, {A: None}),
        ((), {"node-a", "node-b"}, {}),
    ],
)
def test_exactly_one_node_is_named(labels, nodes, changes):
    """One node: its label. None or several: no label, the kubelets' turn. What is right already is not written."""
    assert label_changes(claim(labels=labels), nodes) == changes


def test_labels_join_what_a_patch_says_already():
    """The patch keeps its version, its annotations and its other labels."""
    body = {"metadata": {"resourceVersion": "9", "labels": {"x": None}}, "status": {"a": 1}}
    joined = with_labels(body, {A: ""})
    assert joined == {"metadata": {"resourceVersion": "9", "labels": {"x": None, A: ""}}, "status": {"a": 1}}
    assert with_labels(body, {}) is body


@pytest.mark.parametrize("state", ["", "NodeResizeInfeasible", "ControllerResizeInProgress"])
def test_a_label_left_behind_is_taken_off(state):
    """A claim that waits for no node loses the label by one patch; then nothing is left to do for it."""
    finished = claim(state, labels=(A,), capacity="4Gi")
    volume = Volume(
        "pv", "v1", "5", capacity="4Gi", claim_namespace="shop", claim_name="data", claim_uid="c1", driver="d"
    )
    assert has_stale_labels(finished)
    assert wants_attention(finished), "found again after a restart"
    facts, now = DriverFacts("d"), Instant(1.0, 1.0)
    step = advance(Snapshot(finished, volume, facts, now), Memory(), Started(), Policy())
    assert isinstance(step.effect, RecordClaim)
    assert step.effect.body == {"metadata": {"labels": {A: None}, "resourceVersion": "9"}}
    after = claim("", capacity="4Gi")
    assert isinstance(advance(Snapshot(after, volume, facts, now), Memory(), Started(), Policy()).effect, Settle)


def test_a_label_of_a_claim_that_waits_stays():
    """The agent is at work: nobody takes its label away."""
    assert not has_stale_labels(claim(labels=(A,)))
    assert not has_stale_labels(claim("NodeResizeInProgress", labels=(A,)))
