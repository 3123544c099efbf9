"""Each cause by itself, then which of several is said first."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resizer.core.machine import UNSUPPORTED
from resizer.core.verdict import Rule, short_answer
from resizer.explain.explanation import explain
from resizer.explain.facts import ClassFacts, DriverObjects, Quota, Right
from resizer.model.objects import Attachment, Condition, Node, PodMount
from tests.unit.explain.situations import NOW, RESIZING, at_the_node, claim, facts, failed, lease, pod, rpc, volume

GIB = 2**30
IDLE = {"requested": "300Gi", "allocated": "", "state": "", "conditions": ()}
FRESH = {"allocated": "", "state": "", "conditions": ()}


def node_error(message):
    return (Condition("NodeResizeError", "True", message=message),)


def rule(class_, pattern):
    return Rule(class_=class_, pattern=re.compile(pattern))


CASES = {
    "not-bound": facts(claim=claim(phase="Pending", volume_name="", capacity=""), volume=None),
    "volume-lost": facts(claim=claim(phase="Lost"), volume=None),
    "volume-missing": facts(volume=None),
    "volume-of-another-claim": facts(volume=volume(claim_uid="older")),
    "in-tree-unsupported": facts(volume=volume(driver="", in_tree_source="rbd", untranslatable="rbd is gone")),
    "no-csi-driver": facts(volume=volume(driver="", in_tree_source="hostPath")),
    "not-handed-over": facts(volume=volume(in_tree_source="gcePersistentDisk")),
    "driver-unknown": facts(driver=DriverObjects(is_declared=False, nodes=frozenset())),
    "class-forbids": facts(claim=claim(**IDLE), storage_class=ClassFacts("slow", allows_growth=False)),
    "class-missing": facts(claim=claim(**IDLE, storage_class="")),
    "quota-exhausted": facts(claim=claim(**IDLE), quotas=(Quota("team", "requests.storage", 300 * GIB, 300 * GIB),)),
    "nothing-asked": facts(claim=claim(**IDLE), quotas=(Quota("team", "requests.storage", 900 * GIB, 300 * GIB),)),
    "infeasible": facts(claim=claim(state="ControllerResizeInfeasible"), events=(rpc("OutOfRange", "at most 350Gi"),)),
    "controller-away": facts(leases=(lease(renewed_s=NOW - 300),)),
    "no-controller": facts(claim=claim(**FRESH), leases=()),
    "not-taken-up": facts(claim=claim(**FRESH)),
    "forbidden": facts(rights=(Right("x", "patch", "persistentvolumes", allowed=False),)),
    "secret-missing": facts(
        volume=volume(expand_secret_namespace="default", expand_secret_name="orain-test"), is_secret_there=False
    ),
    "in-use": facts(events=(rpc("FailedPrecondition", "volume is published"),)),
    "detaching": facts(events=(rpc("FailedPrecondition", "volume is published"),), pods=()),
    "offline-required": facts(events=(rpc("FailedPrecondition", "published"),), pods=(), attachments=()),
    "driver-busy": facts(events=(rpc("DeadlineExceeded", "too slow"),)),
    "rate-limited": facts(events=(rpc("Internal", "slow down"),), rules=(rule("rate-limited", "slow down"),)),
    "backend-quota": facts(events=(rpc("Internal", "pool is full"),), rules=(rule("quota", "pool is full"),)),
    "driver-bug": facts(events=(failed(short_answer(400 * GIB, 300 * GIB).message),)),
    "denied": facts(events=(rpc("PermissionDenied", "bad token"),)),
    "driver-cannot-grow": facts(events=(rpc("Unimplemented", "no"),)),
    "driver-error": facts(events=(rpc("Internal", "oops"),)),
    "driver-down": facts(events=(failed("driver x is not connected: nobody answers on its socket"),)),
    "not-called": facts(events=(failed("access mode ReadWriteMany is not supported"),)),
    "unsupported-cluster": facts(events=(failed(UNSUPPORTED),)),
    "in-progress": facts(),
    "no-pod": at_the_node(pods=()),
    "read-only": at_the_node(pods=(pod(mounts=(PodMount("data-0", read_only=True),)),)),
    "not-scheduled": at_the_node(pods=(pod(phase="Pending", node=""),)),
    "pod-not-running": at_the_node(pods=(pod(phase="Pending"),)),
    "not-attached": at_the_node(attachments=(Attachment("a", "7", volume_name="pv-1", node="other", attached=True),)),
    "node-not-ready": at_the_node(nodes={"node-1": Node("node-1", False)}),
    "kubelet-too-old": at_the_node(nodes={"node-1": Node("node-1", True, "v1.31.2")}),
    "driver-not-on-node": at_the_node(driver=DriverObjects(is_declared=True, nodes=frozenset({"node-2"}))),
    "node-refused": at_the_node(claim=claim(state="NodeResizeInfeasible", conditions=node_error("bad superblock"))),
    "node-error": at_the_node(claim=claim(state="NodeResizeInProgress", conditions=node_error("busy"))),
    "node-in-progress": at_the_node(claim=claim(state="NodeResizeInProgress")),
    "waiting-for-kubelet": at_the_node(),
}


@pytest.mark.parametrize("cause", CASES)
def test_each_cause_is_named_with_a_next_step(cause):
    """Every cause is found by its own name, and no answer leaves one without a next step."""
    found = explain(CASES[cause])
    assert found.cause == cause
    assert found.says
    assert found.next_step
    assert "\n" not in found.says + found.next_step


FIRST = {
    # A refusal for good comes before a controller that is away: none would help.
    "infeasible": facts(claim=claim(state="ControllerResizeInfeasible"), leases=(lease(renewed_s=0),)),
    # Who is away cannot try again, whatever it said last.
    "controller-away": facts(leases=(lease(holder=""),), events=(rpc("Aborted", "x"),)),
    # The cause rather than its consequence: the missing secret is why the driver was not called.
    "secret-missing": facts(
        volume=volume(expand_secret_namespace="d", expand_secret_name="s"),
        is_secret_there=False,
        events=(failed("error getting secret s in namespace d: not found"),),
    ),
    # The controller's side is over once it is the node's turn.
    "no-pod": at_the_node(pods=(), leases=(), is_secret_there=False, events=(rpc("Internal", "earlier"),)),
    # A class that forbids is no obstacle for a request that stands already.
    "in-progress": facts(storage_class=ClassFacts("slow", allows_growth=False)),
    # Asking for something else after a refusal is a new growth.
    "not-taken-up": facts(claim=claim(state="ControllerResizeInfeasible", allocated="900Gi")),
}


@pytest.mark.parametrize("cause", FIRST)
def test_of_several_the_first_blocker_is_said(cause):
    """Of several things in the way the one that has to be mended first is the answer."""
    assert explain(FIRST[cause]).cause == cause


def test_what_could_not_be_read_is_never_taken_for_absence():
    """Without the right to read, nothing is called missing, and the answer says what was not seen."""
    blind = facts(
        driver=None,
        leases=None,
        pods=None,
        attachments=None,
        nodes=None,
        events=None,
        quotas=None,
        storage_class=None,
    )
    assert explain(blind).cause == "in-progress"
    hidden = explain(facts(volume=None, unreadable=("get persistentvolumes: forbidden",)))
    assert hidden.cause == "unknown"
    assert "forbidden" in hidden.says


def test_an_earlier_growths_failure_is_not_todays():
    """A failure from before this growth began, or before a later success, is not reported."""
    old = facts(events=(failed("rpc error: code = Internal desc = x", at_s=NOW - 3000),))
    assert explain(old).cause == "in-progress"
    mended = failed("rpc error: code = Internal desc = x", at_s=NOW - 60)
    succeeded = type(mended)("Normal", "FileSystemResizeRequired", "ok", NOW - 30)
    assert explain(facts(events=(mended, succeeded))).cause == "in-progress"


def test_the_remembered_wait_says_when_and_which_class():
    """The retry annotation's class wins over the code's, and the next try's time is told."""
    retry = json.dumps({"class": "rate-limited", "target": "400Gi", "notBefore": "2027-01-15T08:10:00Z"})
    found = explain(facts(claim=claim(retry=retry), events=(rpc("Internal", "slow down"),)))
    assert found.cause == "rate-limited"
    assert "2027-01-15T08:10:00Z" in found.next_step


@given(st.text(max_size=300))
def test_hostile_text_is_one_bounded_line(said):
    """Whatever a driver says, an answer is one bounded line without control characters."""
    hostile = facts(events=(rpc("Internal", said + "\x1b[2J\n<script>" + "x" * 100_000),))
    at_node = at_the_node(claim=claim(state="NodeResizeInfeasible", conditions=(*node_error(said * 999), RESIZING)))
    annotated = facts(volume=volume(in_tree_source="gcePersistentDisk"), claim=claim(storage_resizer=said * 999 + "\n"))
    led = facts(leases=(lease(holder=f"{said}\x1b[1m{'y' * 100_000}"),))
    for situation in (hostile, at_node, annotated, led, facts(volume=volume(claim_uid=said + "\x1b"))):
        found = explain(situation)
        for text in (found.says, found.next_step, *(check.text for check in found.checks)):
            assert len(text) < 1000
            assert "\x1b" not in text
            assert "\n" not in text
