"""The admission policies of deploy/install.yaml, evaluated: what they let through and what they refuse.

The expressions run in the CEL library of Google (cel-expr-python), with the variables and in the order in which an API
server does it. Whether the API server asks them at all is its own business: that was tried on a kube-apiserver 1.36.
"""

import copy
from typing import Any

import pytest

from resizer.model.objects import NODE_EXPANSION_NOT_REQUIRED, NODE_LABEL_PREFIX, NUDGED_AT, RETRY
from tests.unit.deploy.chart import of_kind, read_all

cel = pytest.importorskip("cel_expr_python.cel", reason="cel-expr-python, which evaluates CEL, is not installed")

INSTALL = read_all("deploy/install.yaml")
POLICIES = {p["metadata"]["name"]: p["spec"] for p in of_kind(INSTALL, "ValidatingAdmissionPolicy")}
OURS = "system:serviceaccount:resizer:resizer"
POD = {
    "metadata": {
        "name": "db-0",
        "labels": {"app": "db"},
        "annotations": {"owner": "team-a"},
        "ownerReferences": [{"kind": "StatefulSet", "name": "db", "uid": "1"}],
    },
    "spec": {"nodeName": "node-1"},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}
CLAIM = {
    "metadata": {
        "name": "data",
        "labels": {"app": "db", f"{NODE_LABEL_PREFIX}0": ""},
        "annotations": {"pv.kubernetes.io/bind-completed": "yes", RETRY: "{}"},
        "finalizers": ["kubernetes.io/pvc-protection"],
    },
    "spec": {"resources": {"requests": {"storage": "5Gi"}}, "volumeName": "pv-data"},
    "status": {"phase": "Bound", "capacity": {"storage": "3Gi"}},
}


class Reviewer:
    """Evaluates one policy for one request, as an API server does: conditions, variables, validations."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._env = cel.NewEnv(variables=dict.fromkeys(("object", "oldObject", "request", "variables"), cel.Type.DYN))

    def _eval(self, expression: str, data: dict[str, Any]) -> Any:
        return self._env.compile(expression).eval(data=data).plain_value()

    def refusals(self, old: dict, new: dict, *, user: str = OURS) -> list[str]:
        """Messages of the validations that do not hold; none for a request that the policy does not concern."""
        data = {"object": new, "oldObject": old, "request": {"userInfo": {"username": user}}, "variables": {}}
        conditions = [self._eval(c["expression"], data) for c in self._spec["matchConditions"]]
        assert all(isinstance(holds, bool) for holds in conditions)
        if not all(conditions):
            return []
        for variable in self._spec["variables"]:
            data["variables"][variable["name"]] = self._eval(variable["expression"], data)
        held = [(self._eval(v["expression"], data), v["message"]) for v in self._spec["validations"]]
        assert all(isinstance(holds, bool) for holds, _ in held)
        return [message for holds, message in held if not holds]


def _changed(document: dict, path: str, value: Any) -> dict:
    """A copy with one field set, or removed where the value is None. `/` separates: annotations have dots."""
    new = copy.deepcopy(document)
    *parents, last = path.split("|")
    place = new
    for name in parents:
        place = place.setdefault(name, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return new


ANNOTATIONS, LABELS = "metadata|annotations", "metadata|labels"
PODS = [
    (f"{ANNOTATIONS}|{NUDGED_AT}", "1", ""),
    (f"{ANNOTATIONS}|other", "1", "csi-resizer.dev/nudged-at and no other"),
    (f"{ANNOTATIONS}|{RETRY}", "1", "csi-resizer.dev/nudged-at and no other"),
    (f"{ANNOTATIONS}|owner", "team-b", "csi-resizer.dev/nudged-at and no other"),
    (f"{ANNOTATIONS}|owner", None, "csi-resizer.dev/nudged-at and no other"),
    (ANNOTATIONS, None, "csi-resizer.dev/nudged-at and no other"),
    (f"{LABELS}|app", "other", "the pod's labels"),
    (f"{LABELS}|more", "1", "the pod's labels"),
    (LABELS, None, "the pod's labels"),
    ("metadata|finalizers", ["example.com/mine"], "the pod's finalizers"),
    ("metadata|ownerReferences", [], "the pod's owners"),
    ("status|phase", "Failed", "the pod's status"),
    ("status|conditions", [], "the pod's status"),
    ("status|podIP", "10.0.0.1", "the pod's status"),
]
CLAIMS = [
    ("status|capacity|storage", "5Gi", ""),
    ("status|conditions", [{"type": "Resizing", "status": "True"}], ""),
    ("status|allocatedResourceStatuses", {"storage": "NodeResizePending"}, ""),
    (f"{ANNOTATIONS}|{RETRY}", '{"class": "quota"}', ""),
    (f"{ANNOTATIONS}|{RETRY}", None, ""),
    (f"{ANNOTATIONS}|{NODE_EXPANSION_NOT_REQUIRED}", "true", ""),
    (f"{LABELS}|{NODE_LABEL_PREFIX}1", "", ""),
    (f"{LABELS}|{NODE_LABEL_PREFIX}0", None, ""),
    (f"{ANNOTATIONS}|volume.kubernetes.io/storage-resizer", "x", "annotations below csi-resizer.dev/"),
    (f"{ANNOTATIONS}|pv.kubernetes.io/bind-completed", "no", "annotations below csi-resizer.dev/"),
    (f"{ANNOTATIONS}|pv.kubernetes.io/bind-completed", None, "annotations below csi-resizer.dev/"),
    (f"{ANNOTATIONS}|csi-resizer.device", "x", "annotations below csi-resizer.dev/"),
    (f"{LABELS}|app", "other", "labels below csi-resizer.dev/"),
    (f"{LABELS}|app", None, "labels below csi-resizer.dev/"),
    (LABELS, None, "labels below csi-resizer.dev/"),
    (f"{LABELS}|more", "1", "labels below csi-resizer.dev/"),
    ("metadata|finalizers", [], "the claim's finalizers"),
    ("metadata|finalizers", None, "the claim's finalizers"),
    ("metadata|ownerReferences", [{"kind": "Pod", "name": "x", "uid": "1"}], "the claim's owners"),
    ("spec|volumeName", "pv-other", "the claim's spec"),
    ("spec|resources|requests|storage", "9Gi", "the claim's spec"),
]
CASES = [("resizer-pods", POD, *case) for case in PODS] + [("resizer-claims", CLAIM, *case) for case in CLAIMS]


@pytest.mark.parametrize(
    ("policy", "old", "path", "value", "refusal"), CASES, ids=[f"{c[0]} {c[2]}={c[3]}" for c in CASES]
)
def test_what_a_growth_writes_passes_and_nothing_else(policy, old, path, value, refusal):
    """One changed field: our own passes, any other is refused by exactly the validation that is about it."""
    refusals = Reviewer(POLICIES[policy]).refusals(old, _changed(old, path, value))
    assert len(refusals) == (1 if refusal else 0), refusals
    assert all(refusal in message for message in refusals)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_others_are_none_of_our_business(policy):
    """Kubelets, controllers and people change what they like: the policy binds our account alone."""
    reviewer = Reviewer(POLICIES[policy])
    spoiled = _changed(CLAIM, "metadata|finalizers", None)
    for user in ("system:node:node-1", "admin", "system:serviceaccount:other:resizer", f"{OURS}-2"):
        assert reviewer.refusals(CLAIM, spoiled, user=user) == []
    assert reviewer.refusals(CLAIM, spoiled)


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_objects_without_any_metadata_are_looked_at_too(policy):
    """No labels, annotations, finalizers, owners on either side: an expression that trips would refuse every write."""
    bare = {"metadata": {"name": "x"}, "spec": {}, "status": {"phase": "Bound"}}
    assert Reviewer(POLICIES[policy]).refusals(bare, bare) == []


def test_each_policy_asks_about_its_subresource_and_fails_closed():
    """UPDATE of the status only (a patch is one), Deny, and refused when the policy itself cannot be evaluated."""
    for name, spec in POLICIES.items():
        [rule] = spec["matchConstraints"]["resourceRules"]
        kind = {"resizer-pods": "pods/status", "resizer-claims": "persistentvolumeclaims/status"}[name]
        assert (rule["resources"], rule["operations"], spec["failurePolicy"]) == ([kind], ["UPDATE"], "Fail")
    bindings = of_kind(INSTALL, "ValidatingAdmissionPolicyBinding")
    assert [b["spec"]["validationActions"] for b in bindings] == [["Deny"], ["Deny"]]
