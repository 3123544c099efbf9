import json
from pathlib import Path

import pytest

from resizer.core.node_label import node_label
from resizer.model.errors import DriverError
from resizer.model.objects import Claim, Condition
from resizer.node import status

LABEL = node_label("node-1")
NOW = "2026-11-23T12:00:00Z"
CASES = [json.loads(line) for line in Path("tests/data/kubelet-decisions/cases.jsonl").read_text().splitlines()]
REFUSED = [case for case in CASES if case["plan"].get("node_codes")]
RESIZING = Condition("Resizing", "True", last_transition_time=NOW)
FOREIGN = Condition("example.com/Checked", "True", reason="R", message="m", last_transition_time=NOW)


def claim(state="NodeResizePending", *, labels=(LABEL,), capacity="1Gi", allocated="2Gi", conditions=()):
    return Claim(
        "shop",
        "data",
        "c1",
        "9",
        phase="Bound",
        volume_name="pv",
        requested="2Gi",
        capacity=capacity,
        allocated=allocated,
        state=state,
        conditions=conditions,
        node_labels=labels,
    )


@pytest.mark.parametrize("case", REFUSED, ids=[case["case"] for case in REFUSED])
def test_an_error_is_reported_as_a_kubelet_reports_it(case):
    """State and condition, word for word, are those that a kubelet 1.36 was recorded to write for this answer."""
    code = case["plan"]["node_codes"][0]
    error = DriverError(code, f"planned {code.lower()}")
    recorded = [h for h in case["history"] if any(c.startswith("NodeResizeError") for c in h["conditions"])]
    said = next(c for c in recorded[0]["conditions"] if c.startswith("NodeResizeError"))
    assert said == f"NodeResizeError=True: {status.message_of(error)}"
    is_infeasible = status.refusal_of(error) == "infeasible"
    body = status.refuse(claim("NodeResizeInProgress"), status.message_of(error), is_infeasible=is_infeasible, now=NOW)
    written = body["status"].get("allocatedResourceStatuses", {}).get("storage", "NodeResizeInProgress")
    assert written == recorded[0]["state"]


@pytest.mark.parametrize(
    ("found", "turn"),
    [
        (claim(), "ours"),
        (claim("NodeResizeInProgress"), "ours"),
        (claim(labels=()), "not-ours"),
        (claim(labels=(node_label("node-2"),)), "not-ours"),
        (claim("NodeResizeInfeasible"), "not-ours"),
        (claim("ControllerResizeInProgress"), "not-ours"),
        (claim(""), "not-ours"),
        (claim("", capacity="2Gi"), "finished"),
        (claim("", capacity="2Gi", labels=()), "not-ours"),
    ],
)
def test_only_a_labelled_claim_in_the_nodes_hands_is_ours(found, turn):
    """Label and state decide, nothing else; a labelled claim that is finished only loses its label."""
    assert status.find_turn(found, label=LABEL) == turn


def test_the_last_patch_ends_it_in_one_write():
    """Capacity, state, conditions and label at once, with the version; foreign conditions and the target stay."""
    error = Condition("NodeResizeError", "True", message="x", last_transition_time=NOW)
    body = status.finish(claim(conditions=(FOREIGN, RESIZING, error)), "2Gi")
    assert body["metadata"] == {"labels": {LABEL: None}, "resourceVersion": "9"}
    assert body["status"]["capacity"] == {"storage": "2Gi"}
    assert body["status"]["allocatedResourceStatuses"] == {"storage": None}
    assert [one["type"] for one in body["status"]["conditions"]] == ["example.com/Checked"]
    assert "allocatedResources" not in body["status"]


def test_beginning_touches_the_state_only():
    """As a kubelet does: conditions stay; what is begun already is not written again."""
    body = status.begin(claim(conditions=(RESIZING,)))
    assert body["status"] == {"allocatedResourceStatuses": {"storage": "NodeResizeInProgress"}}
    assert status.begin(claim("NodeResizeInProgress")) == {}


def test_the_same_refusal_again_writes_nothing():
    """Silence: the condition that stands there is not rewritten, and its transition time stays."""
    refused = Condition("NodeResizeError", "True", message="no", last_transition_time="2026-01-01T00:00:00Z")
    found = claim("NodeResizeInProgress", conditions=(refused,))
    assert status.refuse(found, "no", is_infeasible=False, now=NOW) == {}
    (written,) = status.refuse(found, "worse", is_infeasible=False, now=NOW)["status"]["conditions"]
    assert (written["message"], written["lastTransitionTime"]) == ("worse", "2026-01-01T00:00:00Z")
